"""`make predict`: masks of any pictures, at their own size, by the network of a report."""

import csv
import json
from concurrent.futures import CancelledError
from dataclasses import asdict
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import torch
from conftest import tree
from PIL import Image
from torch import nn

from lib import _files
from lib.recipe import Recipe, UNet
from lib.report import predict
from lib.report.predict import OVERLAP, TILE, foreground_of, load_network, main
from lib.runs.store import to_bytes
from lib.training import TrainingConfig, build_network

DICE = {"baseline": (0.5, 0.7), "noise": (0.65, 0.65), "possible": (0.9, 0.2)}  # of two runs on test images
SIZES = {"a.png": (40, 24), "b.jpg": (16, 16), "c.bmp": (33, 57), "d.png": (66, 42)}


@pytest.fixture
def report(tmp_path: Path, monkeypatch) -> Path:
    """A report's models, as they were initialised, on images at half of their size."""
    monkeypatch.setattr(_files, "REPORTS", tmp_path / "reports")
    models = tmp_path / "reports" / "discs" / "models"
    models.mkdir(parents=True)
    recipe = Recipe(epochs=1, network="UNet", normalized=True, scales=(0.75,))
    configs = {
        f"{name}-seed-{seed}.pt": recipe if name == "possible" else TrainingConfig() for name in DICE for seed in (0, 1)
    }
    for name, config in configs.items():
        (models / name).write_bytes(to_bytes(build_network(config).state_dict()))
    kept = {"scale": [0.5, 0.5], "stain": "rgb", "models": {name: asdict(config) for name, config in configs.items()}}
    write_dice(models.parent, DICE)
    (models / "configurations.json").write_text(json.dumps(kept))
    return models


def write_dice(report: Path, dice: dict[str, tuple[float | None, ...]]) -> None:
    of = {name: {"label": name, "runs": [{"test": {"dice": one}} for one in runs]} for name, runs in dice.items()}
    side = {"possible": {"possible": of.pop("possible")}} if "possible" in of else {}
    (report / "results.json").write_text(json.dumps({"variants": of, "side": side}))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed, (name, (width, height)) in enumerate(SIZES.items()):
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


def test_every_picture_has_a_mask_of_its_size_an_overlay_and_a_row(report: Path, images: Path, tmp_path: Path):
    assert main([f"IMAGES={images}", f"OUT={tmp_path / 'out'}", "NAME=discs"]) == 0
    with (tmp_path / "out" / "table.csv").open(newline="") as table:
        rows = {row["image"]: row for row in csv.DictReader(table)}
    assert list(rows) == list(SIZES)
    for name, size in SIZES.items():
        stem = Path(name).stem
        with Image.open(tmp_path / "out" / f"{stem}_mask.png") as file:
            mask = np.asarray(file)
        with Image.open(tmp_path / "out" / f"{stem}_overlay.png") as file:
            assert mask.shape[::-1] == file.size == size
        assert set(np.unique(mask)) <= {0, 255}
        assert float(rows[name]["foreground"]) == pytest.approx((mask > 0).mean(), abs=1e-4)
        assert (int(rows[name]["width"]), int(rows[name]["height"])) == size


@pytest.mark.parametrize(
    ("dice", "best"),
    [
        (DICE, "noise (noise-seed-0.pt)"),
        (DICE | {"possible": (0.9, 0.5)}, "possible (possible-seed-0.pt)"),
        ({"baseline": (None,), "noise": (0.1,)}, "noise (noise-seed-0.pt)"),
    ],
)
def test_the_network_is_the_one_that_is_best_over_its_runs(dice: dict, best: str, report: Path):
    write_dice(report.parent, dice)
    network, _, _, told = load_network(report.parent)
    assert told.startswith(f"{best}, whose mean Dice")
    assert isinstance(network, UNet) == best.startswith("possible")


def test_what_is_wrong_is_one_line_and_nothing_is_overwritten(report: Path, images: Path, tmp_path: Path, capsys):
    (tmp_path / "there").mkdir()
    (tmp_path / "empty").mkdir()
    out = f"OUT={tmp_path / 'out'}"
    for arguments, said in (
        ([f"IMAGES={images}", f"OUT={tmp_path / 'there'}", "NAME=discs"], "found something"),
        ([f"IMAGES={tmp_path / 'empty'}", out, "NAME=discs"], "expected pictures"),
        ([f"IMAGES={tmp_path / 'none'}", out, "NAME=discs"], "expected a folder"),
        ([f"IMAGES={images}", out, "NAME=none"], "make report first"),
        ([f"IMAGES={images}", out, "NAME=../discs"], "found a path"),
        ([f"IMAGE={images}", out, "NAME=discs"], "did you mean IMAGES?"),
    ):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
    (images / "z.png").write_bytes(b"no picture")
    assert main([f"IMAGES={images}", out, "NAME=discs"]) == 2
    assert "z.png" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert not any((tmp_path / "there").iterdir())


class Bright(nn.Module):
    """Calls bright pixels foreground, if it has seen no more than a tile at once."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert max(x.shape[2:]) <= TILE
        return x[:, 0]


@pytest.mark.parametrize("shape", [(TILE, TILE), (TILE + 1, 40), (2 * TILE, 3 * TILE - OVERLAP), (9, 2 * TILE + 77)])
def test_tiles_cover_every_pixel_where_it_is(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert np.array_equal(foreground_of(Bright(), "fp32", image, Event()), image[..., 0] > 127)


def test_pictures_of_16_bits_are_scaled_by_one_number_as_in_training(report: Path, tmp_path: Path, capsys):
    deep, shallow = tmp_path / "deep", tmp_path / "shallow"
    pixels = np.random.default_rng(0).integers(0, 4096, (24, 40), dtype=np.uint16)  # a camera's 12 bits
    for folder, divisor, kind in ((deep, 1, np.uint16), (shallow, 16, np.uint8)):
        folder.mkdir()
        for name, values in (("bright", pixels), ("dark", pixels // 4)):
            Image.fromarray((values // divisor).astype(kind)).save(folder / f"{name}.png")
    tables = []
    for folder in (deep, shallow):
        assert main([f"IMAGES={folder}", f"OUT={folder}-out", "NAME=discs"]) == 0
        tables.append(Path(f"{folder}-out/table.csv").read_bytes())
    assert "16 bits: 2 pictures, of which 12 bits are used, divided by 16" in capsys.readouterr().out
    assert tables[0] == tables[1]


def test_masks_do_not_depend_on_how_many_are_made_at_once(report: Path, images: Path, tmp_path: Path, monkeypatch):
    write_dice(report.parent, DICE | {"possible": (0.9, 0.9)})
    for name, cores in (("one", 1), ("four", 4)):
        monkeypatch.setattr(_files, "cores", lambda cores=cores: cores)
        assert main([f"IMAGES={images}", f"OUT={tmp_path / name}", "NAME=discs"]) == 0
    assert tree(tmp_path / "one") == tree(tmp_path / "four")


@pytest.mark.parametrize("cause", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_ends_it_leaves_nothing(cause, report: Path, images: Path, tmp_path: Path, monkeypatch):
    told = []

    def ends(network, precision, image, stop):
        if image.shape == (16, 20, 3):  # the first
            raise cause
        told.append(stop.wait(60))  # another picture, which is at work until it is told
        raise CancelledError

    monkeypatch.setattr(_files, "cores", lambda: 2)
    monkeypatch.setattr(predict, "foreground_of", ends)
    assert main([f"IMAGES={images}", f"OUT={tmp_path / 'out'}", "NAME=discs"]) in (1, 130)
    assert all(told)
    assert not (tmp_path / "out").exists()


def test_a_report_of_another_version_is_told_of(report: Path, images: Path, capsys):
    arguments = [f"IMAGES={images}", "NAME=discs"]
    kept = report / "configurations.json"
    before = kept.read_text()
    write_dice(report.parent, DICE | {"possible": (0.9, 0.9)})
    kept.write_text(before.replace('"scales"', '"symmetries"'))
    assert main(arguments) == 2
    assert "expected networks of this version" in capsys.readouterr().err
    kept.write_text(before)
    for weights in report.glob("*.pt"):
        weights.write_bytes(to_bytes({"conv.weight": torch.zeros(1)}))
    assert main(arguments) == 2
    assert "expected networks of this version" in capsys.readouterr().err
    assert not images.with_name("pictures-masks").exists()
