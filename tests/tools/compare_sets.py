"""The embedded set beside a real folder: `python tests/tools/compare_sets.py --compare DIR [--out FOLDER]`.

One page: two contact sheets, which of them is real (said at its end), what tells the two sets apart in numbers,
and their power spectra. It shows real images: the folder it goes to is not for committing.
"""

import argparse
import base64
import html
import io
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from jaxtyping import Float64, UInt8
from matplotlib.figure import Figure
from PIL import Image
from scipy.signal.windows import hann
from scipy.stats import ks_2samp
from skimage.measure import label, regionprops_table

from lib._errors import UserError
from lib._files import ROOT
from lib.data.dataset import SIZE, SYNTHETIC, Dataset
from lib.data.reading import load_dataset
from lib.figures.style import COLOURS, STYLE

ROWS, COLUMNS = 8, 5  # of a contact sheet
SHAPE = "area", "eccentricity", "solidity"
WHITE = 225  # mean of the channels, of slide, lumen and mucin


def describe_images(dataset: Dataset) -> pd.DataFrame:
    """Returns a table of the images of both splits: colours and gradients in 0..255, shares in [0, 1]."""
    images = np.concatenate([dataset.train.images, dataset.test.images]).astype(float)
    masks = np.concatenate([dataset.train.masks, dataset.test.masks])
    grey = images.mean(axis=3)
    gradient = np.hypot(*np.gradient(grey, axis=(1, 2)))
    glands = np.where(masks[..., None], images, np.nan), np.where(masks[..., None], np.nan, images)
    with np.errstate(invalid="ignore"):
        inside, outside = (np.nansum(part, axis=(1, 2)) / np.isfinite(part).sum(axis=(1, 2)) for part in glands)
    columns = {}
    for channel, name in enumerate(("red", "green", "blue")):
        columns[f"{name}, mean"] = images[..., channel].mean(axis=(1, 2))
        columns[f"{name}, sd within the image"] = images[..., channel].std(axis=(1, 2))
        columns[f"{name}, glands less the rest"] = (inside - outside)[:, channel]
    return pd.DataFrame(
        columns
        | {
            "white pixels, share": (grey > WHITE).mean(axis=(1, 2)),
            "gradient, mean": gradient.mean(axis=(1, 2)),
            "gradient, sd within the image": gradient.std(axis=(1, 2)),
            "foreground, share": masks.mean(axis=(1, 2)),
            "glands": [label(mask).max() for mask in masks],
        }
    )


def describe_glands(dataset: Dataset) -> pd.DataFrame:
    """Returns a table of the glands of both splits (connected parts of a mask, also cut off by the image's edge)."""
    masks = np.concatenate([dataset.train.masks, dataset.test.masks])
    tables = [pd.DataFrame(regionprops_table(label(mask), properties=SHAPE)) for mask in masks]
    return pd.concat(tables, ignore_index=True).rename(columns={"area": "area (px)"}).add_prefix("gland, ")


def spectra(images: UInt8[np.ndarray, "image side side 3"]) -> Float64[np.ndarray, "image frequency"]:
    """Returns the power of each image's grey values, averaged over rings of 1, 2 .. side/2 - 1 cycles an image."""
    side = images.shape[1]
    grey = images.mean(axis=3)
    window = np.outer(hann(side), hann(side))
    power = abs(np.fft.fft2((grey - grey.mean(axis=(1, 2), keepdims=True)) * window)) ** 2 / (window**2).sum()
    frequency = np.fft.fftfreq(side, 1 / side)
    ring = np.hypot(frequency[:, None], frequency).round().astype(int)
    return np.stack([power[:, ring == k].mean(axis=1) for k in range(1, side // 2)], axis=1)


def table(sets: Sequence[pd.DataFrame], names: Sequence[str]) -> pd.DataFrame:
    """Returns mean and sd of every column of two tables, and the Kolmogorov-Smirnov distance (0..1) between them."""
    parts = [part.agg(["mean", "std"]).T.set_axis(["mean", "sd"], axis=1) for part in sets]
    result = pd.concat(parts, axis=1, keys=names)
    first, second = sets
    result["distance", ""] = [ks_2samp(first[name].dropna(), second[name].dropna()).statistic for name in first]
    return result


@mpl.rc_context(STYLE)
def figure_spectra(sets: Sequence[Float64[np.ndarray, "_ frequency"]], names: Sequence[str]) -> Figure:
    """Draws the median spectrum of each set over a band from its 10th to its 90th percentile."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    ax = figure.add_subplot(xscale="log", yscale="log")
    for spectrum, name, colour in zip(sets, names, COLOURS.values(), strict=True):
        low, median, high = np.quantile(spectrum, (0.1, 0.5, 0.9), axis=0)
        cycles = np.arange(1, len(median) + 1)
        ax.plot(cycles, median, color=colour, label=name)
        ax.fill_between(cycles, low, high, color=colour, alpha=0.2, linewidth=0)
    ax.set(xlabel="frequency (cycles per image side)", ylabel="power of grey values (0..255, squared)")
    ax.legend()
    return figure


def _picture(dataset: Dataset) -> str:
    """A contact sheet of training images, evenly chosen, as an element of a page."""
    chosen = np.linspace(0, len(dataset.train) - 1, ROWS * COLUMNS).astype(int)
    tiles = dataset.train.images[chosen].reshape(ROWS, COLUMNS, SIZE, SIZE, 3)
    buffer = io.BytesIO()
    Image.fromarray(tiles.swapaxes(1, 2).reshape(ROWS * SIZE, COLUMNS * SIZE, 3)).save(buffer, "png")
    return f'<img alt="contact sheet" src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}">'


def page(drawn: Dataset, real: Dataset) -> str:
    """Returns the page, HTML that needs no other file; the data decide which sheet is A, and none can guess it."""
    pair, names = (drawn, real), (drawn.name, real.name)
    tables = [table([describe(one) for one in pair], names) for describe in (describe_images, describe_glands)]
    numbers = "".join(part.to_html(float_format="%.2f") for part in tables)
    svg = io.StringIO()
    figure_spectra([spectra(np.concatenate([s.images for s in (one.train, one.test)])) for one in pair], names).savefig(
        svg, format="svg", metadata={"Date": None}
    )
    order = pair if int(real.sha256, 16) % 2 else pair[::-1]
    sheets = "".join(f"<div><h2>{letter}</h2>{_picture(one)}</div>" for letter, one in zip("AB", order, strict=True))
    key = ", ".join(f"{letter}: {html.escape(one.name)}" for letter, one in zip("AB", order, strict=True))
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Comparison</title><style>body{font-family:'
        "sans-serif;margin:2em}td,th{text-align:right;padding:.1em .8em}.sheets{display:flex;gap:2em}.sheets *"
        f'{{width:100%}}</style><h1>One of them is real</h1><div class="sheets">{sheets}</div><h2>In numbers</h2>'
        "<p>Means and standard deviations over images, then over glands; the distance is that of Kolmogorov and "
        f"Smirnov, from 0 (equally distributed) to 1.</p>{numbers}"
        f"<h2>Power spectrum</h2>{svg.getvalue()[svg.getvalue().index('<svg') :]}"
        f"<details><summary>Which sheet is which</summary><p>{key}</p></details></html>"
    )


def main(arguments: Sequence[str]) -> int:
    """Writes the page and prints where it is; returns the exit code."""
    parser = argparse.ArgumentParser(description="The embedded set beside a real one.")
    parser.add_argument("--compare", metavar="DIR", required=True, help="a dataset's folder")
    parser.add_argument("--out", metavar="FOLDER", type=Path, default=ROOT / "reports/.comparison")
    options = parser.parse_args(arguments)
    try:
        real = load_dataset(options.compare, size=SIZE)
        options.out.mkdir(parents=True, exist_ok=True)
        file = options.out / "comparison.html"
        file.write_text(page(load_dataset(SYNTHETIC), real), encoding="utf-8")
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(file)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
