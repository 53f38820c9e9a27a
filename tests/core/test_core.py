"""The core is small and closed: the score, the networks, the training loop and the scoring, and nothing else of lib."""

import re

import lib
from lib._files import ROOT

CORE = ("metrics", "models", "training", "evaluation")


def test_the_core_is_small():
    lines = {module: len((ROOT / "lib" / f"{module}.py").read_text().splitlines()) for module in CORE}
    assert sum(lines.values()) <= 560, lines


def test_the_core_imports_nothing_else_of_lib():
    """import-linter holds it too; this one needs no tool and no exception can be written into its settings."""
    imported = {
        name
        for module in CORE
        for name in re.findall(r"(?:from|import) lib(?:\.(\w+))?", (ROOT / "lib" / f"{module}.py").read_text())
    }
    assert imported <= set(CORE)


def test_lib_offers_what_the_study_consists_of():
    names = {"DSC", "shallower_CNN_segment", "dropout_CNN_segment", "TrainingConfig", "train", "evaluate"}
    assert set(lib.__all__) == names
    assert all(hasattr(lib, name) for name in names)
