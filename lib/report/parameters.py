"""What `make report` takes, and the name of the report."""

import hashlib
import json
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from lib import _files
from lib._errors import UserError, did_you_mean, printable
from lib.data.dataset import SYNTHETIC, Dataset
from lib.data.reading import load_dataset
from lib.runs.plan import REPEATS, Request
from lib.training import Precision

RESERVED = (SYNTHETIC, "reference", "compared")  # names of reports that are no folder's
STUDY_SEEDS = 20  # of a full study, unless it is asked for others


class Parameters(BaseModel, frozen=True, extra="forbid"):
    """What `make report` takes, in lower case; all but `name` are also the parameters of the notebooks."""

    dataset: str = SYNTHETIC
    seeds: int = Field(3, ge=1, le=1000)
    epochs: int = Field(60, ge=1, le=10_000)
    learning_rate: float = Field(1e-3, ge=1e-8, le=1)
    precision: Precision = "fp32"
    stain: Literal["rgb", "unmixed"] = "rgb"
    size: int = Field(0, ge=0, le=1024)  # pixels; 0 leaves it to `load_dataset`
    test_fraction: float = Field(0.4, gt=0, lt=1)
    foreground: str = ""  # values of masks, such as "1,2"; empty leaves it to `load_dataset`
    workers: int = Field(default_factory=_files.cores, ge=1, le=1024)
    study: bool = False  # all experiments, not the variants alone; given by `make study`
    repeats: int = Field(REPEATS, ge=0, le=100)  # of the division of all images into folds, in a full study
    until: Literal["", "decided"] = ""  # "decided" adds divisions while they can decide an open verdict
    possible: bool = True  # also the network of today
    name: str = ""  # of the report's folder; the dataset's by default

    def of_notebooks(self, data_key: str = "") -> dict[str, Any]:
        """Returns the values that are injected into every notebook, with the key of the data that they share."""
        return self.model_dump(exclude={"name"}) | {"data_key": data_key}

    def of_runs(self) -> Request:
        """Returns the runs that the report asks for."""
        alike = {"seeds", "epochs", "learning_rate", "precision", "workers", "repeats", "possible"}
        return Request(full=self.study, **self.model_dump(include=alike))

    def load(self) -> Dataset:
        """Loads the dataset."""
        size, fraction = self.size or None, self.test_fraction
        return load_dataset(
            self.dataset, size=size, stain=self.stain, test_fraction=fraction, foreground=self.foreground
        )


def parse_parameters(arguments: Sequence[str]) -> Parameters:
    """Reads NAME=value arguments.

    Raises:
        UserError: for an unknown name (with the nearest known one), a value of another type or out of range.
    """
    given = dict(argument.partition("=")[::2] for argument in arguments)
    known = [name.upper() for name in Parameters.model_fields]
    for name in given:
        if name not in known:
            raise UserError(f"{name}: unknown parameter; {did_you_mean(name, known)}")
    try:
        parameters = Parameters.model_validate({name.lower(): text for name, text in given.items()})
    except ValidationError as error:
        problem = error.errors()[0]
        expected = problem["msg"].removeprefix("Input should be ").split(", unable")[0]
        raise UserError(f"{str(problem['loc'][0]).upper()}: expected {expected}, found {problem['input']!r}") from None
    if parameters.until and (not parameters.study or "REPEATS" in given):
        found = "make report" if not parameters.study else f"REPEATS={parameters.repeats} as well"
        raise UserError(f"UNTIL=decided: expected make study, which then chooses REPEATS itself, found {found}")
    if parameters.study and "SEEDS" not in given:
        return parameters.model_copy(update={"seeds": STUDY_SEEDS})
    return parameters


def report_folder(name: str, parameters: Parameters) -> Path:
    """Returns the folder of a report of that name; raises UserError for a name that cannot be used."""
    taken = name in RESERVED and not name == parameters.dataset == SYNTHETIC
    if taken or name.endswith((".failed", "-study")) or not re.fullmatch(r"[^/\\\0-\x1f.][^/\\\0-\x1f]{0,99}", name):
        raise UserError(
            f"NAME={printable(name)}: expected a folder name that starts with no dot, is none of {', '.join(RESERVED)} "
            "and does not end in -study or .failed; choose one with NAME="
        )
    return _files.REPORTS / (name + "-study" * parameters.study)


def source_of(dataset: str) -> str:
    """Returns what tells the source of a dataset from another of the same name: a hash, since paths are private."""
    folder = _files.user_path(dataset).resolve()
    inside = folder.relative_to(_files.ROOT) if folder.is_relative_to(_files.ROOT) else folder
    return hashlib.sha256(os.fsencode(inside)).hexdigest()[:16]


def report_target(parameters: Parameters, dataset: Dataset) -> Path:
    """Returns the folder to make a report in; raises UserError where something else than its last version is there.

    A report of other data from another folder is replaced only where NAME= asks for that.
    """
    target = report_folder(parameters.name or dataset.name, parameters)
    failed = target.with_name(f"{target.name}.failed")
    if target.is_symlink() or (target.exists() and not (target / "results.json").is_file()):
        raise UserError(f"reports/{target.name}: expected a report or nothing, found something else; move it away")
    if failed.is_symlink() or (failed.exists() and not failed.is_dir()):
        raise UserError(f"reports/{failed.name}: expected a folder or nothing, found a file; move it away")
    if target.exists() and not parameters.name:
        theirs: dict[str, Any] = {}
        with suppress(OSError, ValueError, KeyError):  # a damaged report is replaced
            theirs = json.loads((target / "results.json").read_bytes())["provenance"]
        source, data = theirs.get("source"), theirs.get("dataset_sha256")
        if source and source != source_of(parameters.dataset) and data != dataset.sha256:
            raise UserError(
                f"reports/{target.name}: expected a report of DATASET={printable(parameters.dataset)}, found one of "
                f"another folder called {dataset.name}; give this one a name with NAME="
            )
    return target
