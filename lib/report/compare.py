"""`python -m lib.report.compare A=reports/x B=reports/y [MORE=reports/z,...]`: one page on in what they differ."""

import base64
import html
import io
import json
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, product
from pathlib import Path
from statistics import mean, variance
from string import ascii_uppercase
from typing import Any, NamedTuple

import jinja2
from PIL import Image

from lib import _files
from lib._errors import UserError, did_you_mean, run_command
from lib.figures.style import METRIC_NAMES

KNOWN = ("A", "B", "MORE")
TEMPLATE = Path(__file__).with_name("template")
TIMES = {"started", "seconds", "seconds_by_section"}  # of a report or a run: never the same twice, and no finding
SETTINGS = ("parameters", "dataset", "provenance", "schema_version")  # of results.json; all else was measured
HEAVY, WIDTH = 100_000, 1100  # bytes of a drawing that is shown as pixels instead, and how many across
SCATTERS = 2.0  # standard errors of a difference of means beyond which it is more than the scatter of seeds
DECISIVE = {  # what a verdict rests on
    "missing": "missing", "measure": "measure", "effect": "estimate", "ci_low": "lower limit", "ci_high": "upper limit",
    "n_divisions": "divisions", "verdict_seeds": "verdict for other seeds", "seed_low": "their lower limit",
    "seed_high": "their upper limit", "n_seeds": "runs",
}  # fmt: skip
LIMITS = {  # what cannot be compared, by what differs
    "provenance.dataset_sha256": "Their data are different, so that differences of scores are due to images as well.",
    "parameters.study": "Not all are full studies, which alone have side experiments and verdicts on other patients.",
    "schema_version": "Their results.json are of different versions: what one lacks may have another name there.",
}


class Report(NamedTuple):
    """What a comparison takes of a report; what its version did not have is empty.

    Attributes:
        letter: that it has on the page. name: of its folder.
        results: the content of its results.json.
        sources: of its notebooks, without the parameters that were injected.
        figures: as SVG or WebP, by their files' names. captions: of those that notebooks drew, with alternative texts.
        images: DSC and Dice of the test images that its page shows, of the baseline's first run.
    """

    letter: str
    name: str
    results: dict[str, Any]
    sources: dict[str, str]
    figures: dict[str, bytes]
    captions: dict[str, tuple[str, str]]
    images: dict[str, tuple[float, float]]


class Score(NamedTuple):
    """A score of one variant: its mean over runs in each report, and whether seeds explain its difference from A's."""

    name: str
    means: list[float | None]
    beyond: list[bool | None]  # None where one run, or none, shows no scatter; of A itself as well


def read_report(given: str, parameter: str, letter: str) -> Report:
    """Returns what there is to compare in a report's folder; raises UserError if it is none."""
    folder = _files.user_path(given)
    try:
        results = json.loads((folder / "results.json").read_bytes())
        if not isinstance(results["schema_version"], int):
            raise KeyError("schema_version")
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{parameter}={given}: expected a report, found no readable results.json in it") from None
    sources, captions = {}, {}
    for file in sorted(folder.glob("notebooks/*.ipynb")):
        cells = json.loads(file.read_bytes())["cells"]
        kept = (cell for cell in cells if "injected-parameters" not in cell["metadata"].get("tags", []))
        sources[file.stem] = "\n".join("".join(cell["source"]) for cell in kept)
        for output in chain.from_iterable(cell.get("outputs", []) for cell in cells):
            if figure := output.get("metadata", {}).get("report_figure"):
                captions[f"figure-{figure['number']}"] = "".join(output["data"]["text/plain"]), figure["alt"]
    page = folder / "report.html"
    shown = re.findall(
        r'<li (?=[^>]*data-name="([^"]*)")(?=[^>]*data-dsc="([\d.]+)")(?=[^>]*data-dice="([\d.]+)")',
        page.read_text(encoding="utf-8") if page.is_file() else "",
    )
    images = {html.unescape(name): (float(dsc), float(dice)) for name, dsc, dice in shown}
    figures = {file.stem: _picture(file) for file in sorted(folder.glob("figures/*.svg"))}
    return Report(letter, folder.name, results, sources, figures, captions, images)


def _picture(file: Path) -> bytes:
    """Returns a figure as its SVG, or as WebP where that is HEAVY: the pictures in it."""
    svg, png, small = file.read_bytes(), file.with_suffix(".png"), io.BytesIO()
    if len(svg) <= HEAVY or not png.is_file():
        return svg
    with Image.open(png) as image:
        image.thumbnail((WIDTH, image.height))
        image.convert("RGB").save(small, "WEBP", quality=80)
    return small.getvalue()


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


def _joined(*several: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Returns the values of each name that any has, in all of them; None where one has no such thing."""
    return {name: [one.get(name) for one in several] for name in dict.fromkeys(chain(*several))}


def _differ(values: Sequence[Any]) -> bool:
    return any(value != values[0] for value in values)


def differences(*results: Any) -> dict[str, list[Any]]:
    """Returns by name all values of everything that differs but times; None where one has no such thing."""
    joined = _joined(*(dict(_leaves(one)) for one in results))
    return {name: values for name, values in joined.items() if _differ(values)}


def compare_scores(*results: Mapping[str, Any]) -> list[Score]:
    """Returns every final score of every variant that any of the results have, side experiments included."""
    scores = []
    for name, sides in _joined(*map(_runs, results)).items():
        finite = [[run for run in side or () if math.isfinite(run)] for side in sides]
        means = [mean(side) if side else None for side in finite]
        scores.append(Score(name, means, [_beyond(finite[0], side) for side in finite]))
    return scores


def _beyond(first: Sequence[float], second: Sequence[float]) -> bool | None:
    if min(len(first), len(second)) < 2:
        return None
    error = math.sqrt(sum(variance(side) / len(side) for side in (first, second)))
    return abs(mean(second) - mean(first)) > SCATTERS * error


def _runs(results: Mapping[str, Any]) -> dict[str, list[float]]:
    """Returns the scores of all runs by "variant, split, metric"."""
    experiments = {"": results.get("variants", {})} | {f"{key}: ": of for key, of in results.get("side", {}).items()}
    variants = [(key + variant["label"], variant["runs"]) for key, of in experiments.items() for variant in of.values()]
    found = {
        f"{label}, {split}, {METRIC_NAMES[metric]}": [run.get(split, {}).get(metric) for run in runs]
        for (label, runs), split, metric in product(variants, ("train", "test", "testB"), METRIC_NAMES)
    }
    kept = {name: [value for value in values if value is not None] for name, values in found.items()}
    return {name: values for name, values in kept.items() if values}


def compare_verdicts(*results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the claims whose verdicts differ, with what decided them in all: estimate, interval, number of runs."""
    changed = []
    for key, claims in _joined(
        *({f"{c['id']} {c['metric']}": c for c in one.get("claims", [])} for one in results)
    ).items():
        there = [claim or {} for claim in claims]
        words = {"verdict"} | {word for word in ("verdict_seeds",) if all(word in claim for claim in there)}
        if any(_differ([claim.get(word) for claim in there]) for word in words):
            apart = differences(*there)
            why = [f"{DECISIVE[name]}: {' → '.join(map(_text, apart[name]))}" for name in DECISIVE if name in apart]
            statement = next(claim["statement"] for claim in claims if claim)
            verdicts = [claim.get("verdict", "no such claim") for claim in there]
            changed.append({"key": key, "statement": statement, "verdicts": verdicts, "why": why})
    return changed


def _text(value: Any) -> str:
    """Returns a value in few words: a hash by its start, a list of numbers by its length and mean."""
    if isinstance(value, str) and re.fullmatch("[0-9a-f]{40,}", value):
        return value[:12]
    if isinstance(value, float):
        return f"{value:.5g}".replace("-", "−")
    if isinstance(value, list) and len(value) > 4:
        numbers = [one for one in value if isinstance(one, int | float)]
        return f"{len(value)} values" + (f", mean {mean(numbers):.6g}" if numbers else "")
    return "—" if value is None else str(value)


def _uri(picture: bytes) -> str:
    kind = "webp" if picture.startswith(b"RIFF") else "svg+xml"
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


def _images(reports: Sequence[Report]) -> list[tuple[str, list[tuple[float, float]]]]:
    """Returns the test images of all reports that differ, each with the others' DSC and Dice minus A's, worst first."""
    first, *others = (one.images for one in reports)
    shifts = {
        name: [(one[name][0] - dsc, one[name][1] - dice) for one in others]
        for name, (dsc, dice) in first.items()
        if all(name in one for one in others)
    }
    return sorted((one for one in shifts.items() if any(map(any, one[1]))), key=lambda one: one[1][0][1])


def compare_reports(given: Sequence[tuple[str, str]]) -> Path:
    """Writes the page that compares reports, given as parameter and folder each, and returns it."""
    reports = [
        read_report(folder, name, letter) for (name, folder), letter in zip(given, ascii_uppercase, strict=False)
    ]
    results = [one.results for one in reports]
    everything = differences(*results)
    settings = {name: values for part in SETTINGS for name, values in everything.items() if name.split(".")[0] == part}
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATE), autoescape=True, trim_blocks=True)
    environment.filters.update(text=_text, uri=_uri)
    page = environment.get_template("compare.html.j2").render(
        reports=reports,
        style=(TEMPLATE / "style.css").read_text(encoding="utf-8"),
        limits=[limit for name, limit in LIMITS.items() if name in everything],
        settings=settings,
        others={name: values for name, values in everything.items() if name not in settings},
        notebooks=[name for name, of in _joined(*(one.sources for one in reports)).items() if _differ(of)],
        scores=compare_scores(*results),
        verdicts=compare_verdicts(*results),
        figures=[one for one in _joined(*(one.figures for one in reports)).items() if _differ(one[1])],
        images=_images(reports),
    )
    target = _files.REPORTS / "compared" / f"{'-and-'.join(one.name for one in reports)}.html"
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
            if name not in KNOWN:
                raise UserError(f"{name}: unknown parameter; {did_you_mean(name, KNOWN)}")
        if not {"A", "B"} <= set(given):
            raise UserError("make compare: expected A=reports/x and B=reports/y, and MORE=reports/z,... for others")
        more = [("MORE", one) for one in given.get("MORE", "").split(",") if one]
        page = compare_reports([("A", given["A"]), ("B", given["B"]), *more])
        print(f"comparison: {page.relative_to(_files.REPORTS.parent)}")

    return run_command(compare, "no comparison was written or replaced.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
