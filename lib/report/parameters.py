"""What `make report` takes, and the name of the report."""

import difflib
import re
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from lib import _files
from lib._errors import UserError
from lib.data.dataset import SYNTHETIC, Dataset
from lib.data.reading import load_dataset
from lib.runs.plan import Request
from lib.training import Precision

RESERVED = (SYNTHETIC, "reference")  # names of reports that are no folder's
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
    workers: int = Field(default_factory=_files.cores, ge=1, le=1024)
    study: bool = False  # all experiments, not the variants alone; given by `make study`
    name: str = ""  # of the report's folder; the dataset's by default

    def of_notebooks(self, data_key: str = "") -> dict[str, Any]:
        """Returns the values that are injected into every notebook, with the key of the data that they share."""
        return self.model_dump(exclude={"name"}) | {"data_key": data_key}

    def of_runs(self) -> Request:
        """Returns the runs that the report asks for."""
        return Request(
            seeds=self.seeds,
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            precision=self.precision,
            workers=self.workers,
            full=self.study,
        )

    def load(self) -> Dataset:
        """Loads the dataset."""
        return load_dataset(self.dataset, size=self.size or None, stain=self.stain, test_fraction=self.test_fraction)


def parse_parameters(arguments: Sequence[str]) -> Parameters:
    """Reads NAME=value arguments.

    Raises:
        UserError: for an unknown name (with the nearest known one), a value of another type or out of range.
    """
    given = dict(argument.partition("=")[::2] for argument in arguments)
    known = [name.upper() for name in Parameters.model_fields]
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name.upper(), known, n=1)
            hint = f"did you mean {near[0]}?" if near else "known: " + ", ".join(known)
            raise UserError(f"{name}: unknown parameter; {hint}")
    if "STUDY" in given:
        given.setdefault("SEEDS", str(STUDY_SEEDS))
    try:
        return Parameters.model_validate({name.lower(): text for name, text in given.items()})
    except ValidationError as error:
        problem = error.errors()[0]
        expected = problem["msg"].removeprefix("Input should be ").split(", unable")[0]
        raise UserError(f"{str(problem['loc'][0]).upper()}: expected {expected}, found {problem['input']!r}") from None


def report_name(parameters: Parameters, dataset: Dataset) -> str:
    """Returns the name of the report's folder; raises UserError for one that cannot be used."""
    name = parameters.name or dataset.name
    taken = name in RESERVED and not name == parameters.dataset == SYNTHETIC
    if taken or name.endswith(("-study", ".failed")) or not re.fullmatch(r"[^/\\\0-\x1f.][^/\\\0-\x1f]{0,99}", name):
        raise UserError(
            f"NAME={name}: expected a folder name that starts with no dot, is none of {', '.join(RESERVED)} "
            "and does not end in -study or .failed; choose one with NAME="
        )
    name += "-study" * parameters.study
    target = _files.REPORTS / name
    if target.is_symlink() or (target.exists() and not (target / "results.json").is_file()):
        raise UserError(f"reports/{name}: expected a report or nothing, found something else; move it away")
    return name
