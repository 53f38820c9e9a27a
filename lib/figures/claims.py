"""The claims as a page shows them: effects drawn on the band of what would not matter, and an entry for each claim."""

from collections.abc import Sequence
from math import isfinite

from lib.claims.evidence import SCORES
from lib.claims.intervals import FEWEST_SEEDS, MARGIN, Interval
from lib.claims.verdicts import CLAIMS, QUOTES, Judgement, NotRun
from lib.claims.words import count, explain, with_interval

AXIS_END = 0.06  # of a difference of scores; a correlation's is 1
HALF = 60  # units of a drawing's width


def mark(verdict: str) -> str:
    """Returns a verdict with the sign that a page gives it."""
    word = "open" if verdict == "undecided" else verdict
    return f'<span class="verdict {verdict.replace(" ", "-")}">{word}</span>'


def draw_effect(claim_id: str, effect: float, bounds: Sequence[float | None], runs: Sequence[float | None] = ()) -> str:
    """Returns an effect as SVG: on the band of what would not matter, over an arrow to where the claim would be true.

    Args:
        claim_id: of the claim that is about it.
        effect, bounds: with its interval, which is left out where it is unknown, None or nan. An effect beyond the axis
            is a triangle at its end.
        runs: effects of single runs, drawn as rings where there are several.
    """
    (claim,) = (claim for claim in CLAIMS if claim.id == claim_id)
    end = 1.0 if "correlation" in claim.measure else AXIS_END

    def at(value: float) -> str:
        return f"{HALF * min(max(value / end, -1), 1):.1f}"

    side, interval = claim.claimed, [x for x in bounds if x is not None and isfinite(x)]
    parts = [f'<rect x="{at(-MARGIN)}" width="{at(2 * MARGIN)}" height="12"/>'] if end < 1 else []
    tip = f"H{HALF * side}m{-4 * side} -3l{4 * side} 3l{-4 * side} 3"
    parts.append(f'<path d="M0 0v12"/><path class="claimed" d="M{at(claim.bound)} 15{tip}"/>')
    rings = [x for x in runs if x is not None and isfinite(x) and len(runs) > 1]
    parts += [f'<circle class="run" cx="{at(x)}" cy="6" r="2.5"/>' for x in rings]
    if len(interval) == 2:
        parts.append(f'<path class="range" d="M{at(interval[0])} 6H{at(interval[1])}"/>')
    outwards = 5 if effect > 0 else -5
    beyond = f'<path class="beyond" d="M{at(effect)} 6l{-outwards} -4v8z"/>'
    parts.append(beyond if abs(effect) > end else f'<circle cx="{at(effect)}" cy="6" r="3"/>')
    return f'<svg class="interval" viewBox="{-HALF} 0 {2 * HALF} 18" aria-hidden="true">{"".join(parts)}</svg>'


def entries(judged: Sequence[Judgement | NotRun]) -> str:
    """Returns an entry for each claim, in Markdown: heading, the study's words, effects, and what these leave to say.

    Argument as of `lib.claims.verdicts.judge`.
    """
    parts = []
    for dsc, dice in zip(judged[: len(CLAIMS)], judged[len(CLAIMS) :], strict=True):
        parts += [f"#### {dsc.claim.id}: {dsc.claim.statement}", f'> **THE STUDY** "{QUOTES[dsc.claim.id]}"']
        if isinstance(dsc, Judgement) and isinstance(dice, Judgement):
            table = [f'<table class="entry">\n<caption>{_measured(dsc)}</caption>\n<tbody>', *_rows(dsc), *_rows(dice)]
            parts.append("\n".join([*table, "</tbody>\n</table>"]))
        parts.append(explain(dsc, dice))
    return "\n\n".join(filter(None, parts))


def _who(one: Judgement) -> str:
    return "patients" if one.n_patients else "images"


def _measured(one: Judgement) -> str:
    """Returns what is measured, and in how much."""
    amounts = [count(len(one.by_run), "run")] if one.over_seeds is not None else []
    if one.n_divisions:
        amounts.append(f"{count(one.n_divisions, 'division')} of {one.n_patients or one.n_images} {_who(one)}")
    elif one.n_runs >= FEWEST_SEEDS:
        amounts.append(f"{one.n_patients or one.n_images} {_who(one)}")
    primary = " Primary." * (one.claim.primary and one.n_runs >= FEWEST_SEEDS)
    return f"{one.measure[0].upper()}{one.measure[1:]}. {', '.join(amounts)}.{primary}"


def _rows(one: Judgement) -> list[str]:
    """Returns a row for each question, or one without verdict and interval where runs are too few for them."""
    questions: list[tuple[str, Interval, str | None, int]] = []
    if one.over_seeds is not None:
        questions.append(("these images", one.over_seeds, one.verdict_seeds, len(one.by_run)))
    questions.append((f"other {_who(one)}", one.estimate, one.verdict, one.n_runs))
    if all(n_runs < FEWEST_SEEDS for *_, n_runs in questions):
        questions = questions[:1]
    rows = []
    for question, found, verdict, n_runs in questions:
        enough = n_runs >= FEWEST_SEEDS
        bounds = (found.ci_low, found.ci_high) if enough else ()
        runs = one.by_run if not enough and n_runs == len(one.by_run) else ()  # else they are of the other question
        drawn = draw_effect(one.claim.id, found.effect, bounds, runs) if isfinite(found.effect) else ""
        label = f"{SCORES[one.metric]}, {question}" if len(questions) > 1 or enough else SCORES[one.metric]
        rows.append(
            f'<tr><th scope="row">{label}</th><td>{drawn}</td><td>{with_interval(found, n_runs)}</td>'
            f"<td>{mark(verdict) if enough and verdict else ''}</td></tr>"
        )
    return rows
