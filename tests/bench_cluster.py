"""What one task costs a Dask scheduler, its client and the network: the figures behind docs/cluster.md.

Real scheduler and worker processes on loopback; the tasks return at once, so that all that is measured is not training.
"""

import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import psutil
from distributed import Client, LocalCluster
from distributed.protocol import serialize

from lib import engine, store
from lib.data import ROOT, load_dataset
from lib.experiments import variant_config
from lib.training import Training

TASKS = 400


def echo(_dataset: object, state: bytes) -> bytes:
    """Receives and returns a state, as `continue_run` does."""
    return state[::-1]


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def main() -> None:
    dataset = load_dataset("synthetic")
    code = store.training_code(), store.scoring_code()
    config = variant_config("baseline", 0, 60)
    state, sizes = None, []
    for _ in range(3):  # 15 epochs tell how a state grows
        state, epochs, _ = engine.continue_run(dataset, config, state, code, seconds=5)
        sizes.append((epochs, len(state)))
    started = time.perf_counter()
    for _ in range(20):
        training = Training(config)
        training.load_state_dict(store.from_bytes(state)["training"])
        store.to_bytes(training.state_dict())
    turn = (time.perf_counter() - started) / 20
    growth = (sizes[-1][1] - sizes[0][1]) / (sizes[-1][0] - sizes[0][0])
    final = round(sizes[-1][1] + growth * (60 - sizes[-1][0]))
    sent = sum(len(frame) for frame in serialize(dataset)[1])
    print(f"state of a run: {sizes[0][1] / 1e3:.0f} kB after {sizes[0][0]} epochs, about {final / 1e3:.0f} kB after 60")
    print(f"dataset, sent once to a worker: {sent / 1e6:.1f} MB")
    print(f"a worker's time to take a state up and hand it back: {1e3 * turn:.0f} ms")

    payload = os.urandom(final)
    environment = {**os.environ, **engine.WORKER_ENVIRONMENT}
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scheduler.json"

        def dask(role: str, *arguments: str) -> subprocess.Popen[bytes]:
            command = (sys.executable, "-m", f"distributed.cli.dask_{role}", *arguments, "--no-dashboard")
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        scheduler = psutil.Process(
            dask("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file)).pid
        )
        for _ in range(2):
            dask("worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-nanny", "--local-directory", folder)
        while not file.exists():
            time.sleep(0.1)
        time.sleep(1)
        client = stack.enter_context(Client(scheduler_file=str(file)))
        client.wait_for_workers(2)
        executor, data = client.get_executor(pure=False), client.scatter(dataset, broadcast=True)
        executor.submit(echo, data, payload).result()
        here, latencies = psutil.Process(), []
        before = cpu_seconds(scheduler), cpu_seconds(here), psutil.net_io_counters(pernic=True)["lo"].bytes_sent
        for _ in range(TASKS):
            started = time.perf_counter()
            executor.submit(echo, data, payload).result()
            latencies.append(time.perf_counter() - started)
        after = cpu_seconds(scheduler), cpu_seconds(here), psutil.net_io_counters(pernic=True)["lo"].bytes_sent
        per_task = [(b - a) / TASKS for a, b in zip(before, after, strict=True)]
        print(
            f"a task of {final / 1e3:.0f} kB there and back: median {1e3 * median(latencies):.0f} ms, "
            f"{1e3 * per_task[0]:.1f} ms of the scheduler's CPU, {1e3 * per_task[1]:.1f} ms of the client's, "
            f"{per_task[2] / 1e6:.1f} MB sent"
        )

    # Many workers in one process: their heartbeats, and what the client asks of the scheduler before every task.
    for workers in (50, 200):
        cluster = LocalCluster(n_workers=workers, threads_per_worker=1, processes=False, dashboard_address=None)
        with cluster, Client(cluster) as client:
            here, asked = psutil.Process(), []
            for _ in range(20):
                started = time.perf_counter()
                sum(client.nthreads().values())
                asked.append(time.perf_counter() - started)
            before, started = cpu_seconds(here), time.perf_counter()
            time.sleep(10)
            idle = (cpu_seconds(here) - before) / (time.perf_counter() - started)
            print(
                f"{workers} idle workers: {1e3 * median(asked):.1f} ms to ask for their number; "
                f"{1e3 * idle / workers:.2f} ms of CPU a second and worker, of scheduler and worker together"
            )


if __name__ == "__main__":
    main()
