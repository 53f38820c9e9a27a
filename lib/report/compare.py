"""`python -m lib.report.compare A=reports/x B=reports/y`: one page that says in what two reports differ."""

import base64
import itertools
import json
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from statistics import mean, variance
from typing import Any

import jinja2

from lib import _files
from lib._errors import UserError, did_you_mean, run_command
from lib.figures.style import METRIC_NAMES

TIMES = {"started", "seconds", "seconds_by_section"}  # of a report or a run: never the same twice, and no finding
SCATTERS = 2.0  # standard errors of a difference of means beyond which it is more than the scatter of seeds
DECISIVE = ("effect", "ci_low", "ci_high", "verdict_seeds", "seed_low", "seed_high", "n_seeds")


@dataclass(frozen=True)
class Score:
    """A score of one variant in both reports: means over runs, their difference, and whether seeds explain it."""

    name: str
    a: float | None
    b: float | None
    beyond: bool | None  # None where one run, or none, shows no scatter

    @property
    def difference(self) -> float | None:
        return None if self.a is None or self.b is None else self.b - self.a


class _Gallery(HTMLParser):
    """Collects name, DSC and Dice of the test images from a report's page."""

    def __init__(self) -> None:
        super().__init__()
        self.images: dict[str, tuple[float, float]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "li" and found.get("data-dsc"):
            self.images[str(found["data-name"])] = float(found["data-dsc"] or 0), float(found["data-dice"] or 0)


def read_report(given: str, parameter: str) -> tuple[Path, dict[str, Any]]:
    """Returns a report's folder and the content of its results.json; raises UserError if it is none."""
    folder = _files.user_path(given)
    try:
        results = json.loads((folder / "results.json").read_bytes())
        if not isinstance(results["schema_version"], int):
            raise KeyError("schema_version")
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{parameter}={given}: expected a report, found no readable results.json in it") from None
    return folder, results


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yields every number and text of nested results by its name; a list of numbers is one."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        keys = ("id", "metric") if "id" in value[0] else ("seed", "fold")
        value = {" ".join(str(one[key]) for key in keys if one.get(key) is not None): one for one in value}
    if not isinstance(value, dict):
        yield name, value
        return
    for key, inner in value.items():
        if key not in TIMES:
            yield from _leaves(inner, f"{name}.{key}" if name else key)


def differences(a: Any, b: Any) -> list[tuple[str, Any, Any]]:
    """Returns name and both values of everything that differs but times; None where one has no such thing."""
    first, second = dict(_leaves(a)), dict(_leaves(b))
    names = [*first, *(name for name in second if name not in first)]
    return [(name, first.get(name), second.get(name)) for name in names if first.get(name) != second.get(name)]


def compare_scores(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Score]:
    """Returns every final score of every variant that either report has, side experiments included."""
    scores = []
    for name, (first, second) in _paired(_runs(a), _runs(b)).items():
        sides = [[run for run in runs or () if math.isfinite(run)] for runs in (first, second)]
        means = [mean(side) if side else None for side in sides]
        beyond = None
        if all(len(side) > 1 for side in sides):
            error = math.sqrt(sum(variance(side) / len(side) for side in sides))
            beyond = abs(mean(sides[1]) - mean(sides[0])) > SCATTERS * error
        scores.append(Score(name, means[0], means[1], beyond))
    return scores


def _runs(results: Mapping[str, Any]) -> dict[str, list[float]]:
    """Returns the scores of all runs by "variant, split, metric"."""
    experiments = {"": results.get("variants", {})} | {f"{key}: ": of for key, of in results.get("side", {}).items()}
    found: dict[str, list[float]] = {}
    for experiment, variants in experiments.items():
        for variant in variants.values():
            for run in variant["runs"]:
                for split, metric in itertools.product(("train", "test", "testB"), METRIC_NAMES):
                    value = run.get(split, {}).get(metric)
                    if value is not None:
                        name = (
                            f"{experiment}{variant['label']}, {split}, {metric.upper() if metric == 'dsc' else 'Dice'}"
                        )
                        found.setdefault(name, []).append(value)
    return found


def _paired(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {name: (a.get(name), b.get(name)) for name in dict.fromkeys((*a, *b))}


def compare_verdicts(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the claims whose verdicts differ, with what decided them in both: estimate, interval, number of runs."""
    sides = [{(claim["id"], claim["metric"]): claim for claim in results.get("claims", [])} for results in (a, b)]
    changed = []
    for key in dict.fromkeys(itertools.chain(*sides)):
        first, second = (side.get(key, {}) for side in sides)
        words = {"verdict", "verdict_seeds"} & (first.keys() & second.keys() if first and second else {"verdict"})
        if any(first.get(word) != second.get(word) for word in words):
            why = [f"{name}: {_text(x)} → {_text(y)}" for name, x, y in differences(first, second) if name in DECISIVE]
            statement = second.get("statement", first.get("statement"))
            verdicts = [claim.get("verdict", "no such claim") for claim in (first, second)]
            changed.append({"key": " ".join(key), "statement": statement, "verdicts": verdicts, "why": why})
    return changed


def _text(value: Any) -> str:
    """Returns a value in few words: a hash by its start, a list of numbers by its length and mean."""
    if isinstance(value, str) and re.fullmatch("[0-9a-f]{40,}", value):
        return value[:12]
    if isinstance(value, float):
        return f"{value:.4g}".replace("-", "−")
    if isinstance(value, list) and len(value) > 4:
        numbers = [one for one in value if isinstance(one, int | float)]
        return f"{len(value)} values" + (f", mean {mean(numbers):.6g}" if numbers else "")
    return "—" if value is None else str(value)


def _figures(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Returns the figures of both reports by name, each as a data URI, or with none where both are the same."""
    sides = [{file.stem: file.read_bytes() for file in sorted(folder.glob("figures/*.svg"))} for folder in folders]
    return [
        {"name": name, "uris": [content and _uri(content) for content in both] if both[0] != both[1] else None}
        for name, both in _paired(*sides).items()
    ]


def _uri(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"


def _images(folders: Sequence[Path]) -> list[tuple[str, float, float]]:
    """Returns the test images of both reports whose scores differ, with B minus A in DSC and Dice, worst first."""
    galleries = []
    for folder in folders:
        gallery = _Gallery()
        page = folder / "report.html"
        gallery.feed(page.read_text(encoding="utf-8") if page.is_file() else "")
        galleries.append(gallery.images)
    a, b = galleries
    both = [(name, b[name][0] - a[name][0], b[name][1] - a[name][1]) for name in a if name in b]
    return sorted((one for one in both if any(one[1:])), key=lambda one: one[2])


def _sources(folder: Path) -> dict[str, str]:
    """Returns the source of each notebook of a report, without its injected parameters."""
    sources = {}
    for file in sorted(folder.glob("notebooks/*.ipynb")):
        cells = json.loads(file.read_bytes())["cells"]
        kept = (cell for cell in cells if "injected-parameters" not in cell["metadata"].get("tags", []))
        sources[file.stem] = "\n".join("".join(cell["source"]) for cell in kept)
    return sources


def compare_reports(a: str, b: str) -> Path:
    """Writes the page that compares two reports, and returns it."""
    (first, ours), (second, theirs) = read_report(a, "A"), read_report(b, "B")
    setting = ("schema_version", "provenance", "parameters", "dataset")
    sources = _paired(_sources(first), _sources(second))
    everything = differences(ours, theirs)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("template")), autoescape=True, trim_blocks=True
    )
    environment.filters["text"] = _text
    page = environment.get_template("compare.html.j2").render(
        names=(first.name, second.name),
        style=(Path(__file__).with_name("template") / "style.css").read_text(encoding="utf-8"),
        setting=[one for one in everything if one[0].split(".")[0] in setting],
        others=[one for one in everything if one[0].split(".")[0] not in setting],
        notebooks=[name for name, both in sources.items() if both[0] != both[1]],
        scores=compare_scores(ours, theirs),
        verdicts=compare_verdicts(ours, theirs),
        figures=_figures((first, second)),
        images=_images((first, second)),
        same_data=ours["provenance"].get("dataset_sha256") == theirs["provenance"].get("dataset_sha256"),
    )
    target = _files.REPORTS / "compared" / f"{first.name}-and-{second.name}.html"
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    partial.write_text(page, encoding="utf-8")
    partial.replace(target)
    return target


def main(arguments: Sequence[str]) -> int:
    """Runs the command line and returns its exit code."""

    def compare() -> None:
        given = dict(argument.partition("=")[::2] for argument in arguments)
        for name in given:
            if name not in ("A", "B"):
                raise UserError(f"{name}: unknown parameter; {did_you_mean(name, ('A', 'B'))}")
        if set(given) != {"A", "B"}:
            raise UserError("make compare: expected A=reports/x and B=reports/y")
        print(f"comparison: {compare_reports(given['A'], given['B']).relative_to(_files.REPORTS.parent)}")

    return run_command(compare, "no comparison was written or replaced.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
