"""What a report was made with."""

import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import torch

from lib._files import ROOT, cpu
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
