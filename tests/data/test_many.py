"""Ten thousand images: how long they take and how much memory."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib._files import ROOT

# Prints the seconds that loading takes, the peak of this process's own memory in MiB, and a hash.
LOAD = """
import re, sys, time
from pathlib import Path
from lib.data.reading import load_dataset
started = time.monotonic()
dataset = load_dataset(sys.argv[1])
seconds = time.monotonic() - started
peak = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]  # not ru_maxrss: it holds the parent's
print(seconds, int(peak) / 1024, dataset.sha256, len(dataset.train))
"""


@pytest.mark.slow
def test_ten_thousand_images_are_decoded_once_and_stay_under_a_gigabyte(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("REPORT_CACHE", str(tmp_path / "cache"))
    for kind in ("images", "masks"):
        (tmp_path / "many" / kind).mkdir(parents=True)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (200, 128, 128, 3), np.uint8)
    for i in range(10_000):
        image = noise[i % 200]
        image[0, 0] = i % 256, i // 256, 0
        Image.fromarray(image).save(tmp_path / f"many/images/{i:05d}.jpg", quality=80)
        Image.fromarray((image[..., 0] > 127) * np.uint8(255)).save(
            tmp_path / f"many/masks/{i:05d}.png", compress_level=1
        )
    command = (sys.executable, "-c", LOAD, tmp_path / "many")
    first, again = (
        subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split() for _ in "ab"
    )
    print(first, again)
    assert first[2:] == again[2:]
    assert float(again[0]) < float(first[0]) / 2  # seconds, here about 13 and 1: the machine's speed is no test result
    assert max(float(first[1]), float(again[1])) < 1024
