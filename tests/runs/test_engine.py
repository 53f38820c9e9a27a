"""The engine with real processes: killed, raising, holding locks, and under a real Dask scheduler."""

import json
import multiprocessing
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from trained import lend_this_process, trained_runs

from lib._errors import FailedRun, UserError
from lib._files import ROOT, lock, unlock
from lib.data.dataset import Dataset
from lib.runs import finish, store, workers
from lib.runs.finish import TrainingError, finish_runs
from lib.runs.plan import VARIANTS, Planned, Variant, variant_config
from lib.runs.run import stored_run
from lib.runs.task import continue_run
from lib.training import TrainingConfig, train


@pytest.fixture(autouse=True)
def runs_folder(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setattr(store, "STORE", tmp_path / "runs")
    monkeypatch.setattr(workers, "TASK_SECONDS", 0.1)
    return tmp_path / "runs"


@pytest.fixture
def here(monkeypatch) -> None:
    """Trains in this process, where no other is what a test is about."""
    monkeypatch.setattr(finish, "lend_workers", lend_this_process)


def files(folder: Path) -> list[str]:
    """What lies in the folders of runs; the locks lie beside them."""
    return sorted(path.name for path in folder.glob("*/*") if path.is_file())


def worker_processes() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


def same_weights(config: TrainingConfig, dataset: Dataset) -> bool:
    """Whether the stored run has the bits of an uninterrupted training in this process."""
    run, expected = stored_run(Planned(config), dataset), train(config, dataset.train.images, dataset.train.masks)
    return all(run.weights[name].equal(value) for name, value in expected.network.state_dict().items())


def when(condition, act) -> threading.Thread:
    """Does something in a thread of its own as soon as a condition holds."""

    def watch() -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            if condition():
                act()
                break
            time.sleep(0.02)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def test_a_run_whose_worker_is_killed_goes_on_from_its_last_state(discs: Dataset, runs_folder: Path, monkeypatch):
    monkeypatch.setattr(finish, "SAVE_SECONDS", 0)
    config = variant_config("dropout", 0, 60)
    killed = []

    def kill() -> None:
        for worker in worker_processes():
            killed.append(worker.pid)
            os.kill(worker.pid, signal.SIGKILL)

    thread = when(lambda: files(runs_folder) == ["checkpoint.pt"], kill)
    trained_runs(discs, ["dropout"], seeds=1, epochs=60)
    thread.join()
    assert killed
    assert same_weights(config, discs)
    assert files(runs_folder) == ["run.pt"]
    assert worker_processes() == []


@pytest.mark.slow
def test_a_killed_engine_is_continued_from_its_checkpoint_bit_for_bit(
    discs: Dataset, runs_folder: Path, monkeypatch, here
):
    """The killed one is another process; what it left half written does not matter."""
    config = variant_config("noise", 3, 120)
    folder = store.folder_of(config, discs)
    other = multiprocessing.get_context("spawn").Process(target=finish_and_save_often, args=(folder, config, discs))
    other.start()
    while store.read(folder / store.CHECKPOINT) is None:
        time.sleep(0.02)
    other.kill()
    other.join()
    (folder / "checkpoint.partial").write_bytes(b"half of a check")
    trained = len(store.from_bytes(store.read(folder / store.CHECKPOINT))["training"]["seconds"])
    assert 0 < trained < 120
    taken_up, claim = [], finish._Job.claim
    monkeypatch.setattr(finish._Job, "claim", lambda job: claim(job) and (taken_up.append(job.epochs) or True))
    finish_runs({folder: Planned(config)}, discs, workers=1)
    assert taken_up[0] == trained
    assert same_weights(config, discs)
    assert files(runs_folder) == ["run.pt"]


def finish_and_save_often(folder: Path, config: TrainingConfig, dataset: Dataset) -> None:
    workers.TASK_SECONDS, finish.SAVE_SECONDS = 0.1, 0
    finish_runs({folder: Planned(config)}, dataset, workers=1)


def dies_with_seed_0(dataset, planned, *arguments):
    """In place of `continue_run`, in a worker: one run is always killed, as by a machine without memory for it."""
    if planned.config.seed == 0:
        with open(os.environ["DEATHS"], "a") as file:  # noqa: PTH123
            file.write("died\n")
        os.kill(os.getpid(), signal.SIGKILL)
    return continue_run(dataset, planned, *arguments)


def test_a_run_that_kills_its_worker_every_time_is_given_up_and_the_others_are_finished(
    discs: Dataset, runs_folder: Path, monkeypatch
):
    monkeypatch.setattr(workers, "continue_run", dies_with_seed_0)
    monkeypatch.setenv("DEATHS", str(runs_folder.parent / "deaths"))
    with pytest.raises(
        TrainingError, match=r"1 of 3 runs, the first of them:\nPlanned\(.* seed=0,.*: its worker died .* 3 times"
    ):
        trained_runs(discs, ["baseline"], seeds=3, epochs=20, workers=2)
    assert (runs_folder.parent / "deaths").read_text().count("died") == 1 + finish.REPEATS
    assert files(runs_folder) == ["run.pt", "run.pt"]
    assert worker_processes() == []


def test_a_run_that_raises_is_reported_with_configuration_and_traceback_and_the_others_are_finished(
    discs: Dataset, runs_folder: Path, monkeypatch, here
):
    monkeypatch.setitem(VARIANTS, "bad", Variant("Bad", {"batch_size": 2**70}))  # torch cannot split by that
    with pytest.raises(
        TrainingError, match=r"1 of 2 runs, the first of them:\nPlanned\(.*batch_size=1180591620717411303424"
    ) as got:
        trained_runs(discs, ["bad", "baseline"], seeds=1, epochs=1)
    assert "in train_epoch" in str(got.value)
    assert files(runs_folder) == ["run.pt"]


@pytest.mark.parametrize("damage", ["truncated", "one bit"])
def test_a_damaged_run_is_said_and_computed_again(damage, discs: Dataset, runs_folder: Path, capsys, here):
    first = trained_runs(discs, ["baseline"], seeds=1, epochs=1)["baseline"][0]
    (path,) = runs_folder.rglob("run.pt")
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    path.write_bytes({"truncated": whole[:20_000], "one bit": bytes(flipped)}[damage])
    again = trained_runs(discs, ["baseline"], seeds=1, epochs=1)["baseline"][0]
    assert (
        capsys.readouterr().err.count(f"{path.parent.name}/run.pt: damaged, or the file of another run; moved to ") == 1
    )
    assert again.weights["conv2.weight"].equal(first.weights["conv2.weight"])


def test_a_damaged_checkpoint_is_said_and_the_run_begins_again(discs: Dataset, runs_folder: Path, capsys, here):
    config = variant_config("baseline", 0, 5)
    folder = store.folder_of(config, discs)
    folder.mkdir(parents=True)
    (folder / store.CHECKPOINT).write_bytes(b"x" * 100)
    trained_runs(discs, ["baseline"], seeds=1, epochs=5)
    assert "checkpoint.pt: damaged, or the file of another run; moved to " in capsys.readouterr().err
    assert same_weights(config, discs)


def test_a_store_file_that_would_run_code_is_refused(tmp_path: Path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/ran",)

    with pytest.raises(pickle.UnpicklingError):
        store.from_bytes(store.to_bytes({"state": Evil()}))
    assert not (tmp_path / "ran").exists()


def other_state(kind: str, planned: Planned, discs: Dataset) -> bytes:
    """A state with the right checksum that is not the run's."""
    code = store.training_code(planned.config), store.scoring_code()
    if kind == "another network":
        planned = Planned(variant_config("dropout", 0, planned.config.epochs))
    state, *_ = continue_run(discs, planned, None, code, seconds=60)
    if kind == "another network":
        return state
    if kind == "keys missing":
        return store.to_bytes({"training": store.from_bytes(state)["training"]})
    if kind == "a snapshot missing":
        content = store.from_bytes(state)
        content["training"]["snapshots"] = {}
        return store.to_bytes(content)
    return pickle.dumps({"a pickle": os.system})  # that torch refuses


@pytest.mark.parametrize(
    "wrong",
    ["another run", "another network", "keys missing", "a snapshot missing", "a pickle", "a folder", "a file above"],
)
@pytest.mark.parametrize("name", [store.RUN, store.CHECKPOINT])
def test_what_cannot_be_the_run_is_set_aside_and_said_and_the_run_computed_again(
    name, wrong, discs: Dataset, runs_folder: Path, capsys, here
):
    planned = Planned(variant_config("baseline", 0, 5))
    folder = planned.folder(discs)
    if wrong == "a folder":
        (folder / name).mkdir(parents=True)
    elif wrong == "a file above":
        runs_folder.mkdir()
        folder.write_text("not a folder")
    elif wrong == "another run":
        trained_runs(discs, ["baseline"], seeds=2, epochs=5)
        (folder / store.RUN).unlink()
        (other,) = runs_folder.rglob(store.RUN)
        other.rename(folder / name)
    else:
        store.write(folder, other_state(wrong, planned, discs), finished=name == store.RUN)
    capsys.readouterr()
    assert stored_run(planned, discs) is None
    trained_runs(discs, ["baseline"], seeds=1, epochs=5)
    said = capsys.readouterr().err
    reported = store.RUN if wrong == "a file above" else name
    assert (
        len(re.findall(rf"{folder.name}/{reported}: .*; moved to .*set-aside.*, the run is computed again", said)) == 1
    )
    assert len(list((runs_folder / "set-aside").iterdir())) == 1
    assert same_weights(planned.config, discs)


def test_a_run_that_cannot_be_saved_keeps_no_other_run_locked(discs: Dataset, runs_folder: Path, monkeypatch):
    """A full disk, while all runs are saved at the end: the next cell of a notebook would wait for ever."""
    folders = {Planned(variant_config("baseline", seed, 2000)).folder(discs): seed for seed in range(3)}
    write, watched = store.write, []

    def disk_full(folder, *arguments):
        if folders[folder] == 1:
            raise OSError(28, "No space left on device")
        write(folder, *arguments)

    def interrupt(loop, seconds):
        watched.append(1)
        if all(job.epochs for job in loop.jobs):
            raise KeyboardInterrupt

    monkeypatch.setattr(finish, "SAVE_SECONDS", 1e9)  # at the end only
    monkeypatch.setattr(store, "write", disk_full)
    monkeypatch.setattr(finish._Loop, "watch", interrupt)
    with pytest.raises(OSError, match="No space left"):
        trained_runs(discs, ["baseline"], seeds=3, epochs=2000, workers=3)
    for folder, seed in folders.items():
        held = lock(folder)
        assert held is not None, seed
        unlock(held)
        assert (store.read(folder / store.CHECKPOINT) is None) == (seed == 1)


@pytest.mark.slow
def test_a_worker_that_stands_still_is_ended_and_its_run_goes_on(
    discs: Dataset, runs_folder: Path, monkeypatch, capsys
):
    monkeypatch.setattr(finish, "SAVE_SECONDS", 0)
    monkeypatch.setattr(finish, "IDLE_LIMIT", 1.0)
    monkeypatch.setattr(finish, "WORD_SECONDS", 0.5)
    stopped = when(
        lambda: files(runs_folder) == ["checkpoint.pt"], lambda: [worker.suspend() for worker in worker_processes()]
    )
    trained_runs(discs, ["baseline"], seeds=1, epochs=120)
    stopped.join()
    assert same_weights(variant_config("baseline", 0, 120), discs)
    said = capsys.readouterr().err
    assert "its worker does not move; it is ended" in said
    assert "nothing has moved for" in said
    assert worker_processes() == []


def test_where_no_process_can_be_started_the_command_says_so_and_ends(
    discs: Dataset, runs_folder: Path, monkeypatch, capsys
):
    """The only worker dies, and the machine has no room for another."""
    new_process, started = workers.LocalWorkers._new_process, []

    def only_once(local):
        if started:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        started.append(1)
        return new_process(local)

    monkeypatch.setenv("DEATHS", str(runs_folder.parent / "deaths"))
    monkeypatch.setattr(workers, "continue_run", dies_with_seed_0)
    monkeypatch.setattr(workers.LocalWorkers, "_new_process", only_once)
    monkeypatch.setattr(workers.LocalWorkers, "patience", 1.0)
    monkeypatch.setattr(finish, "WORD_SECONDS", 0.5)
    with pytest.raises(FailedRun, match=r"no process can be started \(.*temporarily unavailable\), for 1 seconds"):
        trained_runs(discs, ["baseline"], seeds=1, epochs=5)
    assert "nothing has moved for 0 min: no process can be started" in capsys.readouterr().err
    held = lock(Planned(variant_config("baseline", 0, 5)).folder(discs))
    assert held is not None
    unlock(held)


def test_workers_end_while_a_large_state_is_on_its_way_to_one_that_does_not_read(discs: Dataset):
    with workers.local_workers(1, discs) as local:
        psutil.Process(local.submit(os.getpid).result()).suspend()
        local.submit(len, bytes(10**7))
        time.sleep(0.5)
        ending = threading.Thread(target=local.close, daemon=True)
        ending.start()
        ending.join(20)
        assert not ending.is_alive()  # or it would be for ever
    assert worker_processes() == []


def test_workers_end_while_one_is_sending_a_large_result(discs: Dataset):
    with workers.local_workers(1, discs) as local:
        worker = psutil.Process(local.submit(os.getpid).result())
        before, this_process = worker.io_counters().write_chars, psutil.Process()
        read = this_process.io_counters().read_chars
        local.submit(bytes, 5 * 10**8)
        while this_process.io_counters().read_chars < read + 10**6:  # it has begun
            time.sleep(0.001)
        worker.suspend()
        assert worker.io_counters().write_chars < before + 5 * 10**8  # and has not ended
        ending = threading.Thread(target=local.close, daemon=True)
        ending.start()
        ending.join(20)
        assert not ending.is_alive()
    assert worker_processes() == []


def test_ctrl_c_ends_training_within_five_seconds_even_if_its_worker_is_stopped(discs: Dataset, runs_folder: Path):
    config = variant_config("baseline", 0, 10_000)
    folder = store.folder_of(config, discs)
    other = multiprocessing.get_context("spawn").Process(target=finish_and_save_often, args=(folder, config, discs))
    other.start()
    while not (folder / store.CHECKPOINT).exists():
        time.sleep(0.02)
    (worker,) = psutil.Process(other.pid).children()
    worker.suspend()
    time.sleep(1)
    interrupted = time.monotonic()
    os.kill(other.pid, signal.SIGINT)
    other.join(20)
    seconds, code = time.monotonic() - interrupted, other.exitcode
    other.kill()  # or pytest would wait for one that did not end
    assert seconds < 5
    assert code == 1
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE
    held = lock(folder)
    assert held is not None
    unlock(held)


def test_two_processes_that_want_one_run_do_not_both_train_it(discs: Dataset, runs_folder: Path, monkeypatch, capsys):
    """The other process is this test: it holds the run's lock, and finishes the run before it lets go."""
    monkeypatch.setattr(finish, "WORD_SECONDS", 0.2)
    config = variant_config("baseline", 0, 5)
    folder = store.folder_of(config, discs)
    held = lock(folder)
    ended, said, until = [], "", time.monotonic() + 60
    waiter = threading.Thread(target=lambda: ended.append(trained_runs(discs, ["baseline"], 1, 5)), daemon=True)
    waiter.start()
    while "nothing has moved for 0 min: other processes have the runs that are left" not in said:
        assert time.monotonic() < until, said
        time.sleep(0.05)
        said += capsys.readouterr().err
    assert not ended
    state, _, finished = continue_run(
        discs, Planned(config), None, (store.training_code(config), store.scoring_code()), seconds=60
    )
    assert finished
    store.write(folder, state, finished=True)
    written = (folder / store.RUN).read_bytes()
    unlock(held)
    waiter.join(60)
    assert ended
    assert (folder / store.RUN).read_bytes() == written  # with the seconds that it took here


def test_a_lock_ends_with_its_process(tmp_path: Path):
    code = "from lib._files import lock; from pathlib import Path; held = lock(Path(input())); print(1); input()"
    holder = subprocess.Popen((sys.executable, "-uc", code), stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    holder.stdin.write(f"{tmp_path}\n".encode())
    holder.stdin.flush()
    holder.stdout.readline()
    assert lock(tmp_path) is None
    holder.kill()
    holder.wait()
    holder.stdin.close()
    holder.stdout.close()
    held = lock(tmp_path)
    assert held is not None
    unlock(held)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["wait", "store.write", "submit"])
@pytest.mark.slow
def test_interrupted_training_keeps_what_it_has_and_lets_go_of_it(
    where, discs: Dataset, runs_folder: Path, monkeypatch
):
    monkeypatch.setattr(finish, "SAVE_SECONDS", 0)
    config = variant_config("baseline", 0, 400)
    folder = store.folder_of(config, discs)
    owner, name = {"wait": (finish, "wait"), "store.write": (store, "write")}.get(
        where, (workers.LocalWorkers, "submit")
    )
    original, calls = getattr(owner, name), []

    def interrupted(*arguments, **options):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            finish_runs({folder: Planned(config)}, discs, workers=1)
    assert worker_processes() == []
    kept = store.read(folder / store.CHECKPOINT)
    assert kept is not None or where == "wait"  # it came before the first state did
    finish_runs({folder: Planned(config)}, discs, workers=1)  # would wait for ever for a lock that was not let go
    assert same_weights(config, discs)
    assert files(runs_folder) == ["run.pt"]


@pytest.mark.slow
def test_ending_the_engine_leaves_other_child_processes_of_the_caller_alone(discs: Dataset, runs_folder: Path):
    other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    other.start()
    trained_runs(discs, ["baseline"], seeds=1, epochs=1)
    assert other.is_alive()
    other.kill()
    other.join()


def test_a_run_is_known_by_its_configuration_data_code_and_torch(discs: Dataset, monkeypatch):
    config = variant_config("baseline", 0, 60)
    others = [
        store.folder_of(variant_config("baseline", 1, 60), discs),
        store.folder_of(variant_config("baseline", 0, 60, precision="bf16"), discs),
        store.folder_of(replace(config, threads=2), discs),
        store.folder_of(variant_config("l2", 0, 60), discs),
        store.folder_of(config, Dataset("discs", discs.test, discs.train)),
    ]
    same = store.folder_of(config, Dataset("another name", discs.train, discs.test))
    assert same == store.folder_of(config, discs)
    with monkeypatch.context() as patch:
        patch.setattr(store, "code_hash", lambda *modules: "a changed loss" if "training" in modules else "the same")
        others.append(store.folder_of(config, discs))
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "2.99")
        others.append(store.folder_of(config, discs))
    assert len({same, *others}) == 8


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("x = 1\n", "x = 2\n", False),
        ("x = 1\n", '"""What x is."""\n\n# a comment\nx = 1  # another\n', True),
        ("def f():\n    return 1\n", 'def f():\n    """Returns one."""\n    return 1\n', True),
        ('x = "a"\n', 'x = "b"\n', False),
        ('f("a")\n', 'f("b")\n', False),
    ],
)
def test_comments_and_docstrings_do_not_change_the_code_and_all_else_does(before, after, same, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "ROOT", tmp_path)
    (tmp_path / "lib").mkdir()
    hashes = []
    for text in (before, after):
        (tmp_path / "lib" / "module.py").write_text(text)
        store.code_hash.cache_clear()
        hashes.append(store.code_hash("module"))
    store.code_hash.cache_clear()
    assert (hashes[0] == hashes[1]) == same


def test_a_worker_with_other_code_refuses_to_work(discs: Dataset):
    with pytest.raises(RuntimeError, match=r"worker on .*: expected the code \('other', 'code'\), found"):
        continue_run(discs, Planned(variant_config("baseline", 0, 1)), None, ("other", "code"), seconds=1)


def test_the_callers_environment_is_as_it_was_and_workers_have_the_allocators_settings(discs: Dataset, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MALLOC_TOP_PAD_", raising=False)
    with workers.local_workers(1, discs) as executor:
        assert executor.submit(os.getenv, "MALLOC_TOP_PAD_").result() == str(2**28)
        assert executor.submit(os.getenv, "OMP_NUM_THREADS").result() == "1"
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MALLOC_TOP_PAD_" not in os.environ


def test_the_readme_gives_dask_workers_the_same_environment():
    (given,) = re.findall(r"PRE_SPAWN_ENVIRON='(\{.*\})'", (ROOT / "docs" / "cluster.md").read_text())
    assert json.loads(given) == workers.WORKER_ENVIRONMENT


# Under a real Dask scheduler with worker processes of its own.


@pytest.fixture
def start_worker(tmp_path: Path, monkeypatch) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts a worker process of a scheduler on loopback, as one would by hand."""
    environment = {**os.environ, **workers.WORKER_ENVIRONMENT, "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "2"}
    file = tmp_path / "scheduler.json"
    with ExitStack() as stack:
        log = stack.enter_context((tmp_path / "dask.log").open("w"))

        def dask(role: str, *arguments: str) -> subprocess.Popen[bytes]:
            command = (sys.executable, "-m", f"distributed.cli.dask_{role}", *arguments, "--no-dashboard")
            process = stack.enter_context(subprocess.Popen(command, cwd=ROOT, env=environment, stderr=log))
            stack.callback(process.kill)
            return process

        dask("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file))
        while not (file.exists() and file.read_text().endswith("}")):
            time.sleep(0.1)
        address = json.loads(file.read_text())["address"]
        monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", address)
        options = ("--nthreads", "1", "--no-nanny", "--local-directory", str(tmp_path))
        yield lambda: dask("worker", address, *options)


@pytest.fixture
def scheduler(start_worker) -> list[subprocess.Popen[bytes]]:
    """The two workers of a scheduler, both there, so that both get tasks."""
    from distributed import Client  # not above: processes that import what this file defines need not

    both = [start_worker() for _ in range(2)]
    with Client(os.environ["DASK_SCHEDULER_ADDRESS"]) as client:
        client.wait_for_workers(2, timeout=60)
    return both


@pytest.mark.slow
def test_dask_workers_give_the_same_bits_and_the_runs_of_one_that_dies_go_to_the_other(
    scheduler, discs: Dataset, runs_folder: Path, monkeypatch
):
    monkeypatch.setattr(finish, "SAVE_SECONDS", 0)
    killed = when(lambda: "checkpoint.pt" in files(runs_folder), scheduler[0].kill)
    trained_runs(discs, ["baseline", "dropout"], seeds=1, epochs=60)
    killed.join()
    assert scheduler[0].wait() == -signal.SIGKILL
    assert same_weights(variant_config("baseline", 0, 60), discs)
    assert same_weights(variant_config("dropout", 0, 60), discs)
    assert files(runs_folder) == ["run.pt", "run.pt"]
    assert worker_processes() == []


@pytest.mark.slow
def test_a_run_outlives_the_only_dask_worker(scheduler, discs: Dataset, runs_folder: Path, monkeypatch, start_worker):
    """With it the data are lost that it had been sent; the next worker gets them again."""
    monkeypatch.setattr(finish, "SAVE_SECONDS", 0)
    first, second = scheduler
    second.terminate()
    second.wait()

    def replace_worker() -> None:
        first.kill()
        first.wait()
        start_worker()

    replaced = when(lambda: "checkpoint.pt" in files(runs_folder), replace_worker)
    trained_runs(discs, ["baseline"], seeds=1, epochs=300)
    replaced.join()
    assert first.returncode == -signal.SIGKILL
    assert same_weights(variant_config("baseline", 0, 300), discs)


@pytest.mark.slow
def test_if_all_dask_workers_are_gone_the_command_says_so_and_ends(
    scheduler, discs: Dataset, runs_folder: Path, monkeypatch, capsys
):
    monkeypatch.setattr(finish, "SAVE_SECONDS", 0)
    monkeypatch.setattr(finish, "WORD_SECONDS", 1.0)
    monkeypatch.setattr(workers.DaskWorkers, "patience", 3.0)
    monkeypatch.setattr(finish, "TASK_LIMIT", 10.0)

    def kill() -> None:
        for worker in scheduler:
            worker.kill()

    killed = when(lambda: "checkpoint.pt" in files(runs_folder), kill)
    with pytest.raises(FailedRun, match=r"no worker is there, for 3 seconds"):
        trained_runs(discs, ["baseline"], seeds=1, epochs=10_000)
    killed.join()
    assert "nothing has moved for" in capsys.readouterr().err


@pytest.mark.slow
def test_dask_workers_with_other_code_are_refused(scheduler, discs: Dataset, runs_folder: Path, monkeypatch):
    monkeypatch.setattr(store, "scoring_code", lambda: "ours")
    with pytest.raises(TrainingError, match=r"worker on .*: expected the code .*ours"):
        trained_runs(discs, ["baseline"], seeds=1, epochs=1)
    assert files(runs_folder) == []


@pytest.mark.slow
def test_a_scheduler_that_is_not_there_is_named(discs: Dataset, monkeypatch):
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "tcp://127.0.0.1:1")
    with pytest.raises(UserError, match=r"DASK_SCHEDULER_ADDRESS=tcp://127.0.0.1:1: expected a running scheduler"):
        trained_runs(discs, ["baseline"], seeds=1, epochs=1)
