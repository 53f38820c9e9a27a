"""The environment files agree, and the Makefile refuses what it does not know."""

import re
import subprocess
import tomllib
from importlib.metadata import metadata

import pytest
from packaging.specifiers import SpecifierSet

from lib._files import ROOT

LOCK = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "requirements.lock").read_text(), re.MULTILINE))


def test_lock_pins_everything_that_pyproject_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    assert {re.split(r"[<>=]", name)[0] for name in asked} <= LOCK.keys()
    assert len(LOCK) == len((ROOT / "requirements.lock").read_text().splitlines())


def test_lock_names_no_build_of_torch_and_no_place_to_get_it_from():
    assert LOCK["torch"] == "2.13.0"
    assert "://" not in (ROOT / "requirements.lock").read_text()


@pytest.mark.parametrize("name", LOCK)
def test_every_pin_installs_on_the_oldest_python_that_the_readme_promises(name):
    found = metadata(name)
    assert found["Version"].partition("+")[0] == LOCK[name]  # a build of torch calls itself 2.13.0+cpu
    assert SpecifierSet(found.get("Requires-Python", "")).contains("3.11.0")  # Debian 12 has 3.11.2


def test_conda_environment_reads_the_lock():
    lines = [line.strip() for line in (ROOT / "environment.yml").read_text().splitlines()]
    assert lines[lines.index("- pip:") + 1 :] == ["- -r requirements.lock", "- -e ."]
    assert "- python=3.11" in lines


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("SEED=5", "SEED: unknown variable; did you mean SEEDS?"),
        ("QQQ=1", "QQQ: unknown variable; known: DATASET, SEEDS"),
    ],
)
def test_make_refuses_an_unknown_variable_with_the_nearest_known_one(argument, message):
    process = subprocess.run(("make", "-C", ROOT, "report", argument), capture_output=True, text=True)
    assert process.returncode == 2
    assert message in process.stderr


def test_make_without_a_target_lists_the_commands():
    process = subprocess.run(("make", "-s", "-C", ROOT), capture_output=True, text=True)
    assert process.returncode == 0
    assert {"report", "lab", "test", "test-slow", "lint"} <= set(re.findall(r"make (\S+)", process.stdout))


def test_nothing_that_is_needed_is_ignored_by_git():
    paths = (
        "lib",
        "lib/data/reading.py",
        "notebooks",
        "tests",
        "data/README.md",
        "reports/README.md",
        "requirements.lock",
    )
    process = subprocess.run(("git", "check-ignore", *paths), cwd=ROOT, capture_output=True, text=True)
    assert (process.returncode, process.stdout, process.stderr) == (1, "", "")  # 1: none is ignored
