"""What a report was made with."""

import hashlib
import platform
import re
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from lib._errors import FailedRun
from lib._files import ROOT
from lib.data.dataset import Dataset
from lib.report.parameters import Parameters
from lib.training import TrainingConfig

PACKAGES = ("torch", "numpy", "scipy", "pandas", "matplotlib", "pillow", "papermill", "nbconvert", "nbclient")


def _git(*arguments: str) -> str | None:
    try:
        output = subprocess.run(("git", *arguments), cwd=ROOT, capture_output=True, text=True, check=True).stdout
        return output.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def cpu() -> str:
    """Returns the processor's name, with the numbers that tell models of one name apart where they are known."""
    cpuinfo = Path("/proc/cpuinfo")
    told = cpuinfo.read_text(encoding="utf-8", errors="replace") if cpuinfo.exists() else ""
    names = re.findall(r"model name\s*:\s*(.+)", told)
    numbers = [
        f"{kind} {found[0]}" for kind in ("family", "model") if (found := re.findall(rf"{kind}\s*: (\d+)", told))
    ]
    return f"{names[0]} ({', '.join(numbers)})" if names else platform.processor()


def machine(parameters: Parameters) -> dict[str, Any]:
    """Returns what, beside code and data, decides the bits of a run."""
    return {
        "packages": {package: version(package) for package in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": TrainingConfig().threads,
        "precision": parameters.precision,
    }


def source_hashes() -> dict[str, str]:
    """Returns the SHA-256 of each file, beside the data, that a report is made of, by its path in the project."""
    made_of = (
        "lib/**/*.py",
        "lib/**/*.mplstyle",
        "lib/report/template/*",
        "notebooks/*.ipynb",
        "reports/reference/**/*.json",
    )
    files = sorted({file for pattern in made_of for file in ROOT.glob(pattern)})
    return {str(file.relative_to(ROOT)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def check_unchanged(before: Mapping[str, str]) -> None:
    """Raises FailedRun for files that changed while a report was made, whose parts would contradict each other."""
    after = source_hashes()
    if changed := sorted(file for file in before.keys() | after.keys() if before.get(file) != after.get(file)):
        raise FailedRun(f"{', '.join(changed)}: expected to stay as it was at the start, found it changed; start again")


def provenance(parameters: Parameters, dataset: Dataset, started: datetime, command: str) -> dict[str, Any]:
    """Returns what is needed to regenerate the report, and what it was made with."""
    ours = _git("rev-parse", "--show-toplevel") == str(ROOT)  # not of a repository that this folder lies in
    status = _git("status", "--porcelain") if ours else None
    return {
        "git_commit": _git("rev-parse", "HEAD") if ours else None,
        "git_dirty": None if status is None else bool(status),
        **machine(parameters),
        "workers": parameters.workers,
        "dataset_sha256": dataset.sha256,
        "started": started.isoformat(timespec="seconds"),
        "seconds": round((datetime.now(UTC) - started).total_seconds(), 1),
        "command": command,
    }
