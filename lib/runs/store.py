"""Finished runs and checkpoints on disk, in folders named by a hash of all that decides them.

The checksum of a file includes the name of its folder: a file that was damaged, or belongs to another run, is no run.
Only the process that holds a folder's lock (`lib._files.lock`) writes to it.
"""

import hashlib
import io
import json
import os
import sys
import tempfile
import tokenize
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import torch

from lib._files import ROOT, RUNS
from lib.data.dataset import Dataset, Fold
from lib.training import TrainingConfig

STORE = RUNS
RUN, CHECKPOINT = "run.pt", "checkpoint.pt"
_DIGEST_BYTES = 32


@cache
def code_hash(*modules: str) -> str:
    """Returns a hash of modules of lib as they run: comments, docstrings and blank lines do not count.

    It is one for one minor version of Python, where a text has the same tokens.
    """
    digest = hashlib.sha256()
    for module in modules:
        text = (ROOT / "lib" / f"{module}.py").read_text()
        before_statement = True
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            silent = (tokenize.COMMENT, tokenize.NL, *((tokenize.STRING, tokenize.NEWLINE) if before_statement else ()))
            if token.type in silent:
                continue
            before_statement = token.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
            digest.update(f"{tokenize.tok_name[token.type]} {token.string}\0".encode())
    return digest.hexdigest()


def training_code(config: TrainingConfig) -> str:
    """Returns what, besides configuration and data, decides the weights of a run: our code and torch's version.

    Of our code the modules that a run of this configuration uses, so that another recipe leaves its runs valid.
    """
    modules = ["models", "training"] if type(config) is TrainingConfig else ["models", "recipe", "training"]
    return f"{code_hash(*modules)} torch {torch.__version__}"


def scoring_code() -> str:
    """Returns what, besides weights and data, decides the scores of a run."""
    return code_hash("metrics", "evaluation")


def folder_of(config: TrainingConfig, dataset: Dataset, fold: Fold | None = None) -> Path:
    """Returns the folder of the run of a configuration on a dataset, named by a hash of all that decides it.

    Settings at their defaults are no part of it: those decide with the code, and a new setting leaves old runs valid.
    """
    if fold and fold not in dataset.fold_hashes:
        dataset.fold_hashes[fold] = fold.of_dataset(dataset).sha256
    settings = {field.name: getattr(config, field.name) for field in fields(config)}
    changed = {name: value for name, value in settings.items() if value != getattr(type(config), name)}
    decisive = [changed, dataset.fold_hashes[fold] if fold else dataset.sha256, training_code(config)]
    return STORE / hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:32]


def to_bytes(state: Any) -> bytes:
    """Returns tensors, numbers, strings, lists and dicts of them as bytes, to be kept or sent."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def from_bytes(payload: bytes) -> Any:
    """Returns what `to_bytes` was given; executes nothing that the bytes may hold."""
    return torch.load(io.BytesIO(payload), weights_only=True)


class UnusableError(ValueError):
    """What lies in the place of a run is no state of it: why."""


def _checksum(folder: Path, payload: bytes) -> bytes:
    """Returns the checksum of a state as the one of the run in a folder."""
    return hashlib.sha256(folder.name.encode() + payload).digest()


def write(folder: Path, payload: bytes, finished: bool) -> None:
    """Writes a checkpoint or the finished run, behind its checksum; the caller holds the lock.

    The file is there whole or not at all. A finished run takes the place of its checkpoint, so that after a death at
    any moment there is one file, and what was half written is overwritten by the next.
    """
    folder.mkdir(parents=True, exist_ok=True)
    partial, checkpoint = folder / "checkpoint.partial", folder / CHECKPOINT
    with partial.open("wb") as file:
        file.write(_checksum(folder, payload) + payload)
        file.flush()
        os.fsync(file.fileno())  # or a power failure could leave an empty file under the final name
    partial.replace(checkpoint)
    if finished:
        checkpoint.replace(folder / RUN)


def read(path: Path) -> bytes | None:
    """Returns what `write` was given for a run, or None where nothing is.

    Raises:
        UnusableError: the file is damaged or was written for another run, or there is no file but something else.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except (IsADirectoryError, NotADirectoryError):
        raise UnusableError("expected a file in a folder, found something else") from None
    checksum, payload = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if _checksum(path.parent, payload) != checksum:
        raise UnusableError("damaged, or the file of another run")
    return payload


def set_aside(path: Path, cause: UnusableError) -> None:
    """Moves a file of a run away and says why; the caller holds the lock.

    Where a file lies in place of the run's folder, that is moved.
    """
    wrong = path if path.parent.is_dir() else path.parent
    kept = STORE / "set-aside"
    kept.mkdir(exist_ok=True)
    target = Path(tempfile.mkdtemp(prefix=f"{path.parent.name}-", dir=kept)) / wrong.name
    wrong.rename(target)
    where = f"{path.parent.name}/{path.name}"
    print(f"{where}: {cause}; moved to {target}, the run is computed again", file=sys.stderr)
