"""Finished runs and checkpoints on disk: named by what decides them, believed only where their checksum agrees.

The folder of a run is also its lock: whoever trains the run holds a lock on the folder itself, which ends with the
process and leaves no file behind.
"""

import fcntl
import hashlib
import io
import json
import os
import sys
import tokenize
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import torch

from lib.data import ROOT, Dataset
from lib.training import TrainingConfig

STORE = Path(os.environ.get("REPORT_RUNS", ROOT / "data" / "runs"))
RUN, CHECKPOINT = "run.pt", "checkpoint.pt"
_DIGEST_BYTES = 32


@cache
def code_hash(*modules: str) -> str:
    """Returns a hash of modules of lib as they run: comments, docstrings and blank lines do not count."""
    digest = hashlib.sha256()
    for module in modules:
        text = (ROOT / "lib" / f"{module}.py").read_text()
        before_statement = True
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            silent = (tokenize.COMMENT, tokenize.NL, *((tokenize.STRING, tokenize.NEWLINE) if before_statement else ()))
            if token.type in silent:
                continue
            before_statement = token.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
            digest.update(f"{token.type} {token.string}\0".encode())
    return digest.hexdigest()


def training_code() -> str:
    """Returns what, besides configuration and data, decides the weights of a run: our code and torch's version."""
    return f"{code_hash('models', 'training')} torch {torch.__version__}"


def scoring_code() -> str:
    """Returns what, besides weights and data, decides the scores of a run."""
    return code_hash("metrics", "evaluation")


def folder_of(config: TrainingConfig, dataset: Dataset) -> Path:
    """Returns the folder of the run of a configuration on a dataset, named by a hash of all that decides it."""
    decisive = [asdict(config), dataset.sha256, training_code()]
    return STORE / hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:32]


def to_bytes(state: Any) -> bytes:
    """Returns tensors, numbers, strings, lists and dicts of them as bytes, to be kept or sent."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def from_bytes(payload: bytes) -> Any:
    """Returns what `to_bytes` was given; executes nothing that the bytes may hold."""
    return torch.load(io.BytesIO(payload), weights_only=True)


def write(path: Path, payload: bytes) -> None:
    """Writes a file that is there whole or not at all, behind its checksum; the caller holds the run's lock."""
    partial = path.with_suffix(".partial")
    partial.write_bytes(hashlib.sha256(payload).digest() + payload)
    partial.replace(path)


def read(path: Path) -> bytes | None:
    """Returns what `write` was given, or None where nothing is; a damaged file is said, and removed."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    checksum, payload = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(payload).digest() == checksum:
        return payload
    print(f"{path.parent.name}/{path.name}: damaged, computed again", file=sys.stderr)
    path.unlink(missing_ok=True)
    return None


def lock(folder: Path) -> int | None:
    """Makes a folder and locks it; returns what `unlock` needs, or None where another process has it."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), folder.stat()):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:  # who had it removed it between our two steps
            pass
        os.close(descriptor)


def unlock(descriptor: int) -> None:
    """Lets other processes have the folder."""
    os.close(descriptor)
