"""`make bench`: what training costs on this machine, against a plain loop; ratios within one run are what counts.

Everything is measured round by round, so that a machine that slows down slows down all alike; ratios are
of one round. Medians over ROUNDS, from the least to the greatest in brackets.
"""

import json
import multiprocessing
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from lib._files import ROOT, cores, cpu
from lib.data.dataset import Dataset, Split
from lib.data.reading import load_dataset
from lib.figures.style import COLOURS, STYLE
from lib.models import shallower_CNN_segment
from lib.runs import finish, store, task, workers
from lib.runs.plan import Planned, variant_config
from lib.training import Training, TrainingConfig, build_network, generator

ROUNDS = 5
EPOCHS = 3  # of one measurement, the first of which is not counted
SEEDS = (1, 2, 4, 8, 16)
IMAGES = (85, 170, 340, 680, 1360)


def plain_epochs(split: Split, threads: int, epochs: int) -> tuple[list[float], dict[str, torch.Tensor]]:
    """The loop as the study's author would write it: float images in memory, torch's defaults, all cores.

    It starts from the engine's weights and takes its batches, so that results can be compared; returns the seconds
    of each epoch, and the weights after the first.
    """
    torch.set_num_threads(threads)
    images, masks = (
        torch.from_numpy(split.images).permute(0, 3, 1, 2).contiguous() / 255,
        torch.tensor(split.masks).float(),
    )
    network, loss = shallower_CNN_segment(), nn.BCELoss()
    network.load_state_dict(build_network(TrainingConfig()).state_dict())
    optimizer, order = torch.optim.Adam(network.parameters(), lr=1e-3), generator(0, "order")
    seconds, first = [], {}
    for epoch in range(epochs):
        started = time.perf_counter()
        for batch in torch.randperm(len(images), generator=order).split(8):
            optimizer.zero_grad()
            loss(network(images[batch]), masks[batch]).backward()
            optimizer.step()
        seconds.append(time.perf_counter() - started)
        if epoch == 0:
            first = {name: value.clone() for name, value in network.state_dict().items()}
    return seconds, first


def engine_epochs(config: TrainingConfig, images: int, epochs: int) -> tuple[list[float], dict[str, torch.Tensor]]:
    """The same by the engine, in one of its workers."""
    training, split = Training(config), task._dataset.train
    index = np.arange(images) % len(split)
    data, first = (split.images[index], split.masks[index]), {}
    for epoch in range(epochs):
        training.advance(*data)
        if epoch == 0:
            first = {name: value.clone() for name, value in training.network.state_dict().items()}
    return training.seconds, first


def matmul_rate(precision: str) -> float:
    """Returns GFLOP/s of one thread in products of square matrices, the fastest of ten."""
    torch.set_num_threads(1)
    a = torch.randn(1024, 1024).to(torch.bfloat16 if precision == "bf16" else torch.float32)
    seconds = []
    for _ in range(10):
        started = time.perf_counter()
        a @ a
        seconds.append(time.perf_counter() - started)
    return 2 * 1024**3 / min(seconds) / 1e9


def finish_seconds(dataset: Dataset, seeds: int, epochs: int, workers: int) -> float:
    """Seconds of the whole engine for some runs, from an empty store to a full one."""
    store.STORE = Path(tempfile.mkdtemp(prefix="bench-"))
    planned = [Planned(variant_config("baseline", seed, epochs)) for seed in range(seeds)]
    started = time.perf_counter()
    finish.finish_runs({run.folder(dataset): run for run in planned}, dataset, workers)
    seconds = time.perf_counter() - started
    shutil.rmtree(store.STORE)
    return seconds


def rounds(measurements: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Takes all measurements in turn, ROUNDS times."""
    taken: dict[str, list[float]] = {name: [] for name in measurements}
    for number in range(ROUNDS):
        for name, measure in measurements.items():
            print(f"\r\033[Kround {number + 1} of {ROUNDS}: {name}", end="", flush=True)
            taken[name].append(measure())
    print("\r\033[K", end="")
    return taken


def epochs_table(dataset: Dataset) -> tuple[dict[str, list[float]], float]:
    """Seconds per epoch over all runs in every way of training, and how far plain and engine weights lie apart."""
    plain = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    assert plain.submit(os.getenv, "MALLOC_TOP_PAD_").result() is None  # it starts here, with the author's environment
    with plain, workers.local_workers(cores(), dataset) as pool:
        for future in [pool.submit(time.sleep, 5) for _ in range(cores())]:  # until all have started
            future.result()

        def by_engine(variant: str, precision: str, count: int) -> Callable[[], float]:
            config = variant_config(variant, 0, EPOCHS, precision=precision)

            def measure() -> float:
                futures = [pool.submit(engine_epochs, config, len(dataset.train), EPOCHS) for _ in range(count)]
                return float(np.mean([future.result()[0][1:] for future in futures])) / count

            return measure

        def by_plain_loop() -> float:
            return float(np.mean(plain.submit(plain_epochs, dataset.train, cores(), EPOCHS).result()[0][1:]))

        ways = {f"plain loop, {cores()} threads": by_plain_loop}
        for precision in ("fp32", "bf16"):
            for count in sorted({1, cores()}):
                ways[f"engine {precision}, {count} worker{'s' * (count > 1)}"] = by_engine("baseline", precision, count)
        ways |= {f"{variant}, fp32, 1 worker": by_engine(variant, "fp32", 1) for variant in ("noise", "dropout", "l2")}
        _, theirs = plain.submit(plain_epochs, dataset.train, cores(), 1).result()
        _, ours = pool.submit(engine_epochs, TrainingConfig(), len(dataset.train), 1).result()
        apart = max((theirs[name] - ours[name]).abs().max().item() for name in ours)
        return rounds(ways), apart


def images_table(dataset: Dataset) -> dict[str, list[float]]:
    """Seconds of one epoch of one worker against the number of images."""
    with workers.local_workers(1, dataset) as pool:
        return rounds(
            {str(n): lambda n=n: pool.submit(engine_epochs, TrainingConfig(), n, 1).result()[0][0] for n in IMAGES}
        )


def told(values: list[float], digits: int = 2) -> str:
    return f"{median(values):.{digits}f} [{min(values):.{digits}f}, {max(values):.{digits}f}]"


def ratio(slow: list[float], fast: list[float]) -> list[float]:
    return [a / b for a, b in zip(slow, fast, strict=True)]


def draw(epochs: dict[str, list[float]], seeds: dict[str, list[float]], images: dict[str, list[float]]) -> Figure:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11, 3.6))
        bars, by_seeds, by_images = figure.subplots(1, 3, width_ratios=(1.3, 1, 1))
        names = list(epochs)
        middle = [median(epochs[name]) for name in names]
        spread = np.abs(np.array([(min(epochs[n]), max(epochs[n])) for n in names]).T - middle)
        bars.barh(names, middle, xerr=spread, color=COLOURS["train"], ecolor="#444444")
        bars.invert_yaxis()
        bars.set_xlabel("seconds per epoch over all runs")
        for ax, table, label in ((by_seeds, seeds, "seeds"), (by_images, images, "images")):
            ax.plot(
                [int(n) for n in table for _ in range(ROUNDS)], [v for t in table.values() for v in t], "o", alpha=0.4
            )
            ax.plot([int(n) for n in table], [median(t) for t in table.values()], color=COLOURS["train"])
            ax.set(xlabel=label, xlim=(0, None), ylim=(0, None))
        by_seeds.set_ylabel("seconds until all runs of one epoch are stored")
        by_images.set_ylabel("seconds of an epoch, 1 worker")
        return figure


def main() -> None:
    dataset = load_dataset("synthetic")
    started = time.time()
    epochs, apart = epochs_table(dataset)
    images = images_table(dataset)
    seeds = rounds({str(n): lambda n=n: finish_seconds(dataset, n, 1, cores()) for n in SEEDS})
    tiny = Dataset(
        "tiny", *(Split(s.names[:8], s.images[:8, :16, :16], s.masks[:8, :16, :16]) for s in dataset.splits.values())
    )
    few, many = 2, 42
    overhead = rounds({str(n): lambda n=n: finish_seconds(tiny, n, 1, 1) for n in (few, many)})
    per_run = [(b - a) / (many - few) for a, b in zip(*overhead.values(), strict=True)]

    plain, names = epochs[f"plain loop, {cores()} threads"], list(epochs)
    base = epochs["engine fp32, 1 worker"]
    print(f"{cpu()}, {cores()} cores, torch {torch.__version__}; {ROUNDS} rounds of {EPOCHS - 1} epochs of 85 images\n")
    print(f"{'training':<28}{'seconds per epoch, all runs':<30}{'plain loop / this':<24}{'this / baseline, 1 worker'}")
    for name in names:
        variant = ratio(epochs[name], base) if "1 worker" in name and "fp32" in name else None
        against_plain, against_baseline = told(ratio(plain, epochs[name])), told(variant) if variant else ""
        print(f"{name:<28}{told(epochs[name]):<30}{against_plain:<24}{against_baseline}")
    results: dict[str, Any] = {
        "cpu": cpu(), "cores": cores(), "torch": torch.__version__, "platform": platform.platform(), "rounds": ROUNDS,
        "seconds_per_epoch": epochs, "weights_apart_after_one_epoch": apart,
        "matmul_gflops": {precision: matmul_rate(precision) for precision in ("fp32", "bf16")},
        "seconds_by_seeds": seeds, "seconds_by_images": images, "overhead_seconds_per_run": per_run,
    }  # fmt: skip
    for precision in ("fp32", "bf16"):
        one, all_of_them = (epochs[f"engine {precision}, {n} worker{'s' * (n > 1)}"] for n in (1, cores()))
        print(f"{cores()} workers / 1 worker, work done, {precision}: {told(ratio(one, all_of_them))}")
    print(f"weights of plain loop and engine after one epoch: at most {apart:.1e} apart")
    for table, what in ((seeds, "seeds"), (images, "images")):
        counts = np.array([int(n) for n in table])
        middle = np.array([median(values) for values in table.values()])
        fit = np.polyfit(counts, middle, 1)
        off = np.abs(np.polyval(fit, counts) - middle).max()
        print(f"seconds against {what}: {', '.join(f'{n}: {m:.1f}' for n, m in zip(counts, middle, strict=True))}; "
              f"{fit[1]:.1f} + {fit[0]:.3f} n fits to {off:.1f} s")  # fmt: skip
    print(f"overhead per run beyond the first: {told(per_run, 3)} s")
    print("matmul, one thread: " + ", ".join(f"{p} {r:.0f} GFLOP/s" for p, r in results["matmul_gflops"].items()))
    (ROOT / "reports").mkdir(exist_ok=True)
    (ROOT / "reports" / "bench.json").write_text(json.dumps(results, indent=1) + "\n")
    draw(epochs, seeds, images).savefig(ROOT / "reports" / "bench.png", dpi=120)
    print(f"reports/bench.json and reports/bench.png, after {time.time() - started:.0f} s")


if __name__ == "__main__":
    main()
