"""What one task costs a Dask scheduler, its client and the network: the figures behind docs/cluster.md.

Real scheduler and worker processes on loopback; the tasks return at once, so that all that is measured is not training.
"""

import copy
import os
import pickle
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import psutil
from distributed import Client

from lib._files import ROOT
from lib.data.reading import load_dataset
from lib.runs import store, workers
from lib.runs.plan import Planned, variant_config
from lib.runs.task import continue_run
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
    config = variant_config("baseline", 0, 60)
    code = store.training_code(config), store.scoring_code()
    state: bytes | None = None
    epochs = 0
    while epochs < config.snapshot_every + 1:  # until the first snapshot is scored
        state, epochs, _ = continue_run(dataset, Planned(config), state, code, seconds=0)
    # The state at the end has as many snapshots and scores as a run of 60 epochs takes.
    full = store.from_bytes(state)
    for part in (full["training"]["snapshots"], full["scores"]):
        only = part[config.snapshot_every]
        part.update({epoch: copy.deepcopy(only) for epoch in range(5, 61, 5)})
    sizes = len(state), len(store.to_bytes(full))
    started = time.perf_counter()
    for _ in range(20):
        training = Training(config)
        training.load_state_dict(store.from_bytes(state)["training"])
        store.to_bytes(training.state_dict())
    turn = (time.perf_counter() - started) / 20
    final = sizes[1]
    sent = len(pickle.dumps(dataset))
    print(f"state of a run: {sizes[0] / 1e3:.0f} kB after {epochs} epochs, {final / 1e3:.0f} kB after 60")
    print(f"dataset, sent once to a worker: {sent / 1e6:.1f} MB")
    print(f"a worker's time to take a state up and hand it back: {1e3 * turn:.0f} ms")

    payload = os.urandom(final)
    environment = {**os.environ, **workers.WORKER_ENVIRONMENT}
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

        before, asked = cpu_seconds(scheduler), []
        time.sleep(20)
        idle = (cpu_seconds(scheduler) - before) / 20 / 2
        for _ in range(50):
            started = time.perf_counter()
            len(client.nthreads())
            asked.append(time.perf_counter() - started)
        print(f"an idle worker: {1e3 * idle:.1f} ms of the scheduler's CPU a second")
        print(f"asking the scheduler how many workers there are: median {1e3 * median(asked):.1f} ms")


if __name__ == "__main__":
    main()
