import base64
import io
import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex, to_rgb
from PIL import Image
from records import judgement, written

from lib.claims.verdicts import claim_results
from lib.claims.words import explain
from lib.data.dataset import Dataset, Split
from lib.figures.claims import _rows
from lib.figures.curves import figure_gradients, figure_learning, gradient_table
from lib.figures.effects import figure_effects, figure_patients, figure_searches, figure_summary
from lib.figures.images import figure_contact_sheet, figure_foreground, figure_prediction, figure_stains
from lib.figures.style import BACKDROP, COLOURS, OVERLAY, ReportFigure
from lib.runs.run import History


def history(offset: float = 0.0, epochs: tuple[int, ...] = (5, 10)) -> History:
    def curves(start: float) -> dict[str, list[float]]:
        return {m: [start + offset + step / 100 for step in range(len(epochs))] for m in ("loss", "dsc", "dice", "iou")}

    return History(list(epochs), curves(0.6), curves(0.5), [1.0] * epochs[-1])


def lines(ax, colour: str, wide: bool):
    return [
        line for line in ax.lines if to_hex(line.get_color()) == colour.lower() and (line.get_linewidth() > 1) == wide
    ]


CONSTANT = {"all gland": {"dsc": 0.45, "dice": 0.65}, "no gland": {"dsc": 0.55, "dice": 0.0}}


@pytest.fixture
def learning() -> ReportFigure:
    runs, baseline = [history(0.0), history(0.1)], [history(0.2), history(0.4)]
    return figure_learning(15, "Noise", runs, "discs", baseline, beside=[[history(0.9)]], constant=CONSTANT)


def test_learning_plot_draws_every_run_thin_and_their_mean_strong(learning: ReportFigure):
    _, dsc, dice = learning.axes
    dotted = [line.get_ydata()[0] for ax in (dsc, dice) for line in ax.lines if line.get_linestyle() == ":"]
    assert dotted == [0.55, 0.65]
    for split, start in (("train", 0.6), ("test", 0.5)):
        thin, (mean,) = lines(dsc, COLOURS[split], wide=False), lines(dsc, COLOURS[split], wide=True)
        runs = np.array([line.get_ydata() for line in thin])
        np.testing.assert_allclose(runs, [[start, start + 0.01], [start + 0.1, start + 0.11]])
        assert mean.get_ydata().tolist() == pytest.approx([start + 0.05, start + 0.06])
        assert mean.get_xdata().tolist() == [5, 10]


def test_learning_plot_draws_the_baselines_mean_behind(learning: ReportFigure):
    for ax in learning.axes:
        train, test = lines(ax, BACKDROP, wide=True)
        assert train.get_ydata().tolist() == pytest.approx([0.9, 0.91])
        assert test.get_ydata().tolist() == pytest.approx([0.8, 0.81])


def test_learning_plot_labels_axes_and_curves(learning: ReportFigure):
    assert [ax.get_xlabel() for ax in learning.axes] == ["epoch", "epoch", "epoch"]
    assert [ax.get_ylabel() for ax in learning.axes] == [
        "cross-entropy (nats per pixel)",
        "DSC (share of equal pixels)",
        "Dice (overlap of foregrounds)",
    ]
    labels = [text.get_text() for text in learning.legends[0].get_texts()]
    assert sorted(labels) == [
        "baseline, test", "baseline, train", "best constant answer", "noise, test", "noise, train",
    ]  # fmt: skip


def test_learning_plots_of_all_networks_share_their_vertical_axes(learning: ReportFigure):
    shown = [[history(0.0), history(0.1)], [history(0.2), history(0.4)], [history(0.9)]]
    other = figure_learning(12, "Baseline", shown[1], "discs", beside=shown, constant=CONSTANT)
    assert [ax.get_ylim() for ax in other.axes] == [ax.get_ylim() for ax in learning.axes]
    assert other.axes[1].get_ylim()[0] < 0.5
    assert other.axes[1].get_ylim()[1] > 1.51


def test_captions_say_n_and_what_is_drawn(learning: ReportFigure):
    assert learning.label == "Figure 15"
    assert learning.caption.startswith(
        "Noise ends 0.250 below the baseline in test DSC (whose seeds differ by 0.200) and"
    )
    assert "Dotted: the best constant answer" in learning.caption
    assert "n = 2 runs; thin lines are single runs, strong lines their mean." in learning.caption
    assert "Grey: the baseline's mean over 2 runs" in learning.caption
    assert "n = 1 run." in figure_learning(12, "Baseline", [history()], "discs").caption
    assert "from 0.55 to 0.56 on test images" in learning.alt


IMAGE = np.full((4, 4, 3), 100, np.uint8)
TRUE = np.zeros((4, 4), bool)
TRUE[:2] = True
PROBABILITY = np.full((4, 4), 0.1, np.float32)
PROBABILITY[1:3] = 0.9


@pytest.fixture
def prediction() -> ReportFigure:
    scores = pd.Series({"dsc": 0.5, "dice": 0.5})
    return figure_prediction(13, "best", "image_07", IMAGE, TRUE, PROBABILITY, scores, n_images=60, n_seeds=3)


def test_prediction_shows_input_truth_probability_and_overlay(prediction: ReportFigure):
    panels = [ax for ax in prediction.axes if ax.images]
    assert [ax.get_title(loc="left") for ax in panels[:4]] == ["Input", "Truth", "Probability", "Overlay"]
    np.testing.assert_array_equal(panels[0].images[0].get_array(), IMAGE)
    np.testing.assert_array_equal(panels[1].images[0].get_array(), TRUE)
    np.testing.assert_array_equal(panels[2].images[0].get_array(), PROBABILITY)
    assert panels[2].images[0].get_clim() == (0, 1)


def test_overlay_tells_hits_misses_and_false_alarms_apart(prediction: ReportFigure):
    overlay = prediction.axes[3].images[0].get_array()
    for row, kind in enumerate(("miss", "hit", "false alarm")):
        np.testing.assert_allclose(overlay[row, 0], 0.5 * np.array(to_rgb(OVERLAY[kind])) + 0.5 * 100 / 255)
    np.testing.assert_allclose(overlay[3, 0], 100 / 255)
    assert [text.get_text() for text in prediction.axes[3].get_legend().get_texts()] == list(OVERLAY)


def test_overlay_colours_differ_in_lightness_for_readers_without_colour():
    grey = sorted(np.dot(to_rgb(colour), (0.2126, 0.7152, 0.0722)) for colour in OVERLAY.values())
    assert np.diff(grey).min() > 0.15


def test_prediction_caption_and_alt_give_scores_and_selection(prediction: ReportFigure):
    assert prediction.caption.startswith(
        "Best of 60 test images by DSC: image_07, 50% of the foreground missed (DSC 0.500, Dice 0.500). Chosen by its "
        "mean DSC over 3 runs;"
    )
    assert "25% of pixels are hits, 25% misses and 25% false alarms" in prediction.alt


def test_summary_draws_every_run_and_the_means():
    index = pd.MultiIndex.from_product(
        [["baseline", "mine"], [0, 1], ["train", "test"]], names=["variant", "seed", "split"]
    )
    scores = pd.DataFrame({"dsc": np.arange(8) / 10, "dice": np.arange(8) / 20}, index=index)
    figure = figure_summary(scores, {"baseline": "Baseline", "mine": "My variant"}, "discs", CONSTANT)
    dsc = figure.axes[0]
    dots = [line.get_xdata().tolist() for line in dsc.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(dots, [[0.0, 0.2], [0.1, 0.3], [0.4, 0.6], [0.5, 0.7]])
    assert [label.get_text() for label in dsc.get_yticklabels()] == ["Baseline", "My variant"]
    assert "My variant 0.600 and 0.300" in figure.alt
    assert figure.caption.startswith(
        "Highest mean test scores: 0.600 in DSC (My variant) and 0.300 in Dice (My variant). "
    )
    dotted = [line.get_xdata()[0] for ax in figure.axes for line in ax.lines if line.get_linestyle() == ":"]
    assert dotted == [0.55, 0.65]


def test_rendering_the_same_figure_twice_gives_the_same_bytes(learning: ReportFigure, prediction: ReportFigure):
    for figure in (learning, prediction):
        assert figure.render("svg") == figure.render("svg")
        assert b"<dc:date>" not in figure.render("svg")
    runs, baseline = [history(0.0), history(0.1)], [history(0.2), history(0.4)]
    again = figure_learning(15, "Noise", runs, "discs", baseline, beside=[[history(0.9)]], constant=CONSTANT)
    assert again.render("svg") == learning.render("svg")


def test_notebook_output_carries_caption_alt_svg_and_png(prediction: ReportFigure):
    data, metadata = prediction._repr_mimebundle_()
    assert '<figure id="figure-13"' in data["text/html"]
    assert f'role="img" aria-label="{prediction.alt}"' in data["text/html"]
    assert '<strong class="number">Figure 13.</strong>' in data["text/html"]
    assert "<text" in data["image/svg+xml"]  # text stays text
    assert metadata == {"report_figure": {"number": 13, "alt": prediction.alt}}
    picture = Image.open(io.BytesIO(prediction.render("png")))
    assert picture.width > 1000


def test_two_figures_on_one_page_share_no_id_and_follow_its_colours(learning: ReportFigure):
    other = figure_learning(16, "Dropout", [history()], "discs")
    both = learning.to_html() + other.to_html()
    ids = re.findall(r'\bid="([^"]*)"', both)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="#|url\(#)([^")]*)', both)) <= set(ids)
    assert not re.search("#000000|#ffffff|<style|<metadata", both)
    assert "stroke: currentColor" in both


def test_every_figure_carries_its_numbers_as_csv(learning: ReportFigure):
    encoded = re.search(r'download="figure-15.csv" href="data:text/csv;base64,([^"]*)"', learning.to_html())
    table = pd.read_csv(io.BytesIO(base64.b64decode(encoded[1])))
    assert list(table.columns) == ["variant", "run", "split", "epoch", "loss", "dsc", "dice", "iou"]
    assert len(table) == 4 * 2 * 2  # runs, splits, epochs
    test = table[(table["variant"] == "Noise") & (table["split"] == "test") & (table["epoch"] == 10)]
    assert test["dsc"].tolist() == pytest.approx([0.51, 0.61])


@pytest.mark.parametrize(("size", "stored"), [(100, 100), (1000, 200)])
def test_small_images_are_stored_pixel_by_pixel_and_large_ones_as_seen(size, stored):
    split = Split(("image",), np.zeros((1, size, size, 3), np.uint8), np.zeros((1, size, size), bool))
    sheet = figure_contact_sheet(1, Dataset("one", split, split))
    picture = re.search(rb"data:image/png;base64,([^\"]*)", sheet.render("svg"))
    assert Image.open(io.BytesIO(base64.b64decode(picture[1]))).width == pytest.approx(stored, abs=4)


def test_names_from_files_are_escaped_in_html():
    figure = figure_learning(12, "Baseline", [history()], '<img src=x onerror="alert(1)">')
    assert "<img src=x" not in figure.to_html()
    assert "&lt;img src=x" in figure.to_html()


DIVISIONS = pd.DataFrame(
    [
        {"variant": value, "seed": division, "split": split, "dsc": 0.6 + 0.1 * (value == "0.5"), "dice": 0.5}
        for value in ("0", "0.5")
        for division in range(3)
        for split in ("train", "test")
    ]
).set_index(["variant", "seed", "split"])


def test_a_caption_opens_with_its_result_as_a_title(prediction: ReportFigure, discs: Dataset):
    """The first sentence, in bold; what is drawn and how to read it follow."""
    assert "</strong> <strong>Best of 60 test images by DSC: image_07, 50% of the foreground missed (DSC 0.500, " in (
        prediction.to_html()
    )
    shares = [split.foreground.mean() for split in (discs.train, discs.test)]
    assert figure_foreground(2, discs).caption.startswith(
        "Foreground covers {:.0%} of the training pixels and {:.0%} of the test pixels. ".format(*shares)
    )
    sheet = figure_contact_sheet(1, discs)
    assert sheet.caption.startswith("5 of 10 training and 5 of 6 test images with their masks outlined. ")
    assert "How to read it: dark is where" in figure_stains(3, discs.train).caption


def test_searches_ring_the_studys_value_and_name_the_best():
    held_out = DIVISIONS.xs("test", level="split").rename({"0": 0.0, "0.5": 0.5}, level="variant")
    figure = figure_searches(20, {"dropout": held_out}, {"dropout": 0.5}, "discs", "patient")
    dsc = figure.axes[0]
    (ring,) = [line for line in dsc.lines if line.get_markersize() == 11]
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (1, pytest.approx(0.7))
    assert [label.get_text() for label in dsc.get_xticklabels()] == ["0", "0.5"]
    assert "probability of dropout 0.5" in figure.alt
    assert figure.caption.startswith("Highest mean DSC on held-out images: probability of dropout 0.5. ")
    assert "divisions of all images into folds" in figure.caption
    assert len(figure.data) == 2 * 3


def test_gradients_are_means_over_runs_of_the_weights_by_layer():
    runs = [[{"conv1.weight": a, "conv1.bias": 9.0, "tconv.weight": 4 * a}] * 3 for a in (1.0, 3.0)]
    table = gradient_table({"shallower": runs}, epochs=2)
    assert table.loc[("shallower", "conv1")].tolist() == [2, 2]
    assert list(table.loc["shallower"].index) == ["conv1", "tconv"]
    assert list(table.columns) == [1, 2]
    figure = figure_gradients(19, table, 2, "discs")
    assert "2 in conv1 of the shallower network; 8 in tconv of the shallower network" in figure.alt
    assert figure.caption.startswith(
        "In the first epoch, the gradient of the first layer's weights has a norm of 2 in the shallower network. "
    )


def test_patients_figure_sets_the_test_split_beside_new_patients():
    seen = DIVISIONS.rename({"0": "baseline"})
    new = DIVISIONS.rename({"0": "baseline"}) - 0.1
    figure = figure_patients(
        21, seen, new, {"baseline": "Baseline", "0.5": "Dropout"}, "discs", "new patients", (85, 116)
    )
    assert "Baseline 0.600 and 0.500; Dropout 0.700 and 0.600" in figure.alt
    assert figure.caption.startswith("The baseline's mean DSC is 0.600 on the test split and 0.500 on new patients. ")
    assert len(figure.data) == 2 * 2 * 3


def test_effects_show_every_run_and_leave_out_what_has_no_interval():
    far = written(effect=0.2, ci_low=0.1, ci_high=0.3, seed_low=0.15, seed_high=0.25, by_run=[0.19, 0.21])
    not_run = {"id": "C1", "metric": "dsc", "verdict": "not run", "missing": "`make study`"}
    figure = figure_effects(18, [judgement(c) for c in (far, {**far, "metric": "dice"}, not_run)], "discs")
    ticks = [line.get_xdata() for line in figure.axes[0].lines if line.get_marker() == "|"]
    np.testing.assert_allclose(ticks, [[0.19, 0.21]])
    assert "Beyond 0.05 the axes are logarithmic" in figure.caption
    assert figure.data["runs"].tolist() == ["0.19 0.21"] * 2
    assert len(figure.axes) == 2
    assert "logarithmic" not in figure_effects(18, [judgement(written())], "discs").caption


def test_effects_of_few_runs_are_counted_but_have_no_interval():
    """A caption names no interval that is not drawn, and its title counts the effects that would matter."""

    def intervals(figure: ReportFigure) -> int:
        return sum(line.get_marker() == "None" and line.get_linewidth() > 1 for line in figure.axes[0].lines)

    effects = [written(effect=0.2), written(id="C3c", effect=-0.005), written(metric="dice", effect=-0.02)]
    few, many = (
        figure_effects(18, [judgement(one | {"by_run": [one["effect"]] * n_runs}) for one in effects], "discs")
        for n_runs in (5, 6)
    )
    for figure in (few, many):
        assert figure.caption.startswith("Estimated effects larger than 0.01: 1 of 2 in DSC and 1 of 1 in Dice. ")
        assert "How to read it: right of 0 is an increase" in figure.caption
        dsc, dice = figure.axes
        assert dsc.get_xlim() == dice.get_xlim()
        assert [text.get_text() for text in dsc.get_yticklabels()] == ["C3a → test score", "C3c → test score"]
    assert (intervals(few), "interval" in few.caption) == (0, False)
    assert (intervals(many), "95% intervals for other patients" in many.caption) == (4, True)


def test_a_correlation_has_an_axis_of_its_own_among_the_effects():
    correlation = written(id="C2", metric="dice", measure="rank correlation", verdict="supported", effect=0.6)
    correlation |= {"ci_low": 0.2, "ci_high": 0.8, "by_run": [0.5, 0.7]}
    figure = figure_effects(18, [judgement(correlation), judgement(written())], "discs")
    *_, right = figure.axes
    assert right.get_xlabel() == "rank correlation"
    assert [list(line.get_xdata()) for line in right.lines if line.get_marker() == "o"] == [[0.6]]
    assert "logarithmic" not in figure.caption
    assert "rank correlations with DSC (filled) and Dice (hollow)." in figure.caption


NUMBERS = (
    "effect", "ci_low", "ci_high", "seed_low", "seed_high", "se", "df",
    "p_value", "effective_clusters", "seed_p_value", "seed_se",
)  # fmt: skip
OTHERS = [{"measure": name, "effect": 0.01, "ci_low": -0.01, "ci_high": 0.03} for name in ("one", "other")]
NEEDED = {"no_effect": True, "n_runs": 14, "n_patients": None}
JUDGED = (
    written(by_run=[0.02, 0.2, 0], also=OTHERS),
    written(by_run=[0.02] * 6, verdict_seeds="undecided", needed=NEEDED | {"n_runs": None}, needed_seeds=NEEDED),
    written(id="C1", untrained=2, first_gradients={"deeper": 0.1, "baseline": 0.2}, by_run=[0.02, 0.2, 0]),
    written(id="C2", by_run=[0.02, 0.2, 0]),
    written(id="C4b", by_run=[0.02, 0.2, 0]),
    written(id="C5c", by_run=[0.02, 0.2, 0], also=OTHERS),
)


@hypothesis_settings(max_examples=30)
@given(
    results=st.tuples(st.sampled_from(JUDGED), st.sampled_from(JUDGED)),
    unknown=st.tuples(st.sets(st.sampled_from(NUMBERS)), st.sets(st.sampled_from(NUMBERS))),
    unknown_runs=st.tuples(st.sets(st.integers(0, 2)), st.sets(st.integers(0, 2))),
    unknown_others=st.sets(st.sampled_from(("effect", "ci_low", "ci_high"))),
    patients=st.sampled_from((9, None)),
)
def test_any_number_may_be_unknown_in_figures_words_tables_and_results(
    results, unknown, unknown_runs, unknown_others, patients
):
    """A network that draws nothing has no rank correlation, one run no interval, one patient no standard error."""
    judged = [
        judgement(
            one
            | dict.fromkeys(of_one & one.keys())
            | {"by_run": [None if run in of_runs else effect for run, effect in enumerate(one["by_run"])]}
            | {"also": [other | dict.fromkeys(unknown_others) for other in one["also"]], "n_patients": patients}
        )
        for one, of_one, of_runs in zip(results, unknown, unknown_runs, strict=True)
    ]
    figure = figure_effects(18, judged, "discs")
    figure.draw_without_rendering()
    paragraphs = [explain(one, replace(one, metric="dice")) + "".join(_rows(one)) for one in judged]
    stored = json.loads(json.dumps([claim_results(one) for one in judged], allow_nan=False))
    for said in (figure.caption, figure.alt, *paragraphs):
        assert not re.search(r"\b(None|nan)\b", said)
    for again in stored:
        for key, value in claim_results(judgement(again)).items():
            assert again[key] == (pytest.approx(value) if isinstance(value, float) else value)
