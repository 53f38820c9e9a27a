import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lib.data.dataset import Dataset, Split
from tests.tools.compare_sets import describe_glands, describe_images, main, spectra, table


def a_dataset(image: np.ndarray, mask: np.ndarray) -> Dataset:
    split = Split(("image_01",), image[None].astype(np.uint8), mask[None])
    return Dataset("drawn", split, split)


def test_statistics_of_an_image_drawn_by_hand():
    mask = np.zeros((8, 8), bool)
    mask[:2, :4] = mask[6:, :] = True  # two glands of 8 and 16 pixels
    image = np.where(mask[..., None], (10, 20, 30), (250, 250, 250))
    row = describe_images(a_dataset(image, mask)).iloc[0]
    assert row["red, mean"] == pytest.approx((24 * 10 + 40 * 250) / 64)
    assert row["blue, glands less the rest"] == pytest.approx(-220)
    assert row["white pixels, share"] == row["foreground, share"] + 0.25 == 0.625
    assert row["glands"] == 2
    glands = describe_glands(a_dataset(image, mask))
    assert sorted(glands["gland, area (px)"]) == [8, 8, 16, 16]  # of both splits
    assert (glands["gland, solidity"] == 1).all()


def test_an_image_without_glands_has_no_contrast_and_takes_no_part_in_its_distance():
    image = np.full((8, 8, 3), 100)
    none = describe_images(a_dataset(image, np.zeros((8, 8), bool)))
    assert np.isnan(none["red, glands less the rest"]).all()


def test_the_spectrum_of_a_wave_peaks_at_its_frequency():
    wave = 100 + 50 * np.sin(2 * np.pi * 6 * np.arange(64) / 64)
    image = np.broadcast_to(wave[:, None, None], (64, 64, 3)).astype(np.uint8)
    assert spectra(image[None]).argmax() == 6 - 1  # the first ring is of 1 cycle


def test_the_distance_of_two_columns_is_0_if_equal_and_1_if_apart():
    first, second = (
        pd.DataFrame({"a": [1.0, 2, 3], "b": [1.0, 2, 3]}),
        pd.DataFrame({"a": [1.0, 2, 3], "b": [7.0, 8, 9]}),
    )
    result = table([first, second], ["one", "other"])
    assert list(result["distance", ""]) == [0, 1]
    assert list(result.loc["b", "other"]) == [8, 1]


@pytest.mark.slow
def test_a_folder_is_compared_on_one_page_without_other_files(tmp_path: Path, capsys):
    rng = np.random.default_rng(0)
    for split in ("Train", "Test"):
        (tmp_path / "mine" / split).mkdir(parents=True)
        for name in ("image_01", "image_02"):
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(tmp_path / "mine" / split / f"{name}.png")
            mask = Image.fromarray((np.indices((32, 32))[0] < 9).astype(np.uint8) * 255)
            mask.save(tmp_path / "mine" / split / f"{name.replace('image', 'label')}.png")
    assert main(["--compare", str(tmp_path / "mine"), "--out", str(tmp_path / "out")]) == 0
    page = Path(capsys.readouterr().out.strip()).read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 2
    assert not any(outside in page for outside in ('src="http', "<link", "<script"))
    sheets, _, key = page.partition("<details>")
    told = re.sub(r"data:image/png;base64,[^\"]*", "", sheets[: sheets.index("<table")])  # may hold any four letters
    assert "mine" not in told
    assert "mine" in key


def test_what_is_no_dataset_is_refused_in_one_line(tmp_path: Path, capsys):
    assert main(["--compare", str(tmp_path / "nothing")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_page_that_cannot_be_written_is_refused_in_one_line(tmp_path: Path, capsys):
    (tmp_path / "file").touch()
    assert main(["--compare", "synthetic", "--out", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
