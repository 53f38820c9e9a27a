"""Effects as they are drawn for the claims."""

import re

import pytest

from lib.figures.claims import draw_effect, mark


@pytest.mark.parametrize(
    ("claim", "effect", "bounds", "dot", "interval", "arrow"),
    [
        ("C3a", 0.03, (0.01, 0.05), 30, (10, 50), (0, 60)),  # better: to the right of 0
        ("C3b", -0.03, (-0.5, -0.01), -30, (-60, -10), (0, -60)),  # a smaller gap; the axis ends before the interval
        ("C3c", 0.2, (0, 0.3), None, (0, 60), (-10, 60)),  # no loss: from the margin on; beyond the axis
        ("C5d", 0.0, (None, 0.1), 0, None, (10, -60)),  # no gain; unknown
        ("C2", 0.5, (-0.25, float("nan")), 30, None, (0, 60)),  # a correlation, of -1 to 1
    ],
)
def test_an_effect_is_drawn_where_it_lies_and_the_arrow_leads_where_the_claim_is_true(
    claim, effect, bounds, dot, interval, arrow
):
    drawn = draw_effect(claim, effect, bounds, [0.06, None, float("nan")])
    assert [float(x) for x in re.findall(r'<circle cx="([-\d.]+)"', drawn)] == [dot][: dot is not None]
    assert ('class="beyond" d="M60.0' in drawn) == (dot is None)
    found = re.search(r'class="range" d="M([-\d.]+) 6H([-\d.]+)"', drawn)
    assert (found and (float(found[1]), float(found[2]))) == interval
    found = re.search(r'class="claimed" d="M([-\d.]+) 15H([-\d]+)m', drawn)
    assert (float(found[1]), float(found[2])) == arrow
    assert drawn.count('class="run"') == 1
    assert ("<rect" in drawn) == (claim != "C2")  # no band of what would not matter


def test_what_is_undecided_is_called_open():
    assert mark("undecided") == '<span class="verdict undecided">open</span>'
    assert mark("not run") == '<span class="verdict not-run">not run</span>'
