"""The environment files agree, and the Makefile refuses what it does not know."""

import re
import shutil
import subprocess
import tomllib
from functools import partial
from importlib.metadata import metadata

import pytest
from packaging.specifiers import SpecifierSet

from lib._files import ROOT, lock, unlock

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
    assert lines[lines.index("- pip:") + 1 :] == ["- -c requirements.lock", "- -e ."]  # constraints: no tools for tests
    assert "- python=3.11" in lines


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("SEED=5", "SEED: unknown variable; did you mean SEEDS?"),
        ("dataset=x", "dataset: unknown variable; did you mean DATASET?"),
        ("tests", "tests: unknown command; did you mean DATASET=tests?"),
        ("reprot", "reprot: unknown command; did you mean report?"),
        ("qq'q", "qq'q: unknown command; known: help, report, study"),
        ("QQQ=1", "QQQ: unknown variable; known: DATASET, SEEDS"),
    ],
)
def test_make_refuses_what_it_does_not_know_with_the_nearest_known_one_before_it_starts(argument, message):
    process = subprocess.run(("make", "-C", ROOT, "report", argument), capture_output=True, text=True)
    assert process.returncode == 2
    assert message in process.stderr


def test_make_clean_deletes_reports_only_and_none_in_the_making(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    for report in ("made", "thesis", "reference", "made.failed", ".made.new", ".killed.old"):
        (tmp_path / "reports" / report).mkdir(parents=True)
    for name in ("made", "reference"):
        (tmp_path / "reports" / name / "results.json").write_text("{}")
    clean = partial(subprocess.run, ("make", "-C", tmp_path, "clean", "YES=1"), capture_output=True, text=True)
    held = lock(tmp_path / "reports" / ".made.new")
    refused = clean()
    assert (refused.returncode, len(list((tmp_path / "reports").iterdir()))) == (2, 7)
    assert "error: expected no report in the making, found reports/.made.new" in refused.stderr
    unlock(held)
    assert clean().returncode == 0
    assert {path.name for path in (tmp_path / "reports").iterdir()} == {"thesis", "reference"}


def test_make_keeps_the_python_of_an_environment_and_makes_a_broken_one_anew_whole(tmp_path):
    """With commands that only write down how they were called."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).write_text("")
    (tmp_path / "bin").mkdir()
    calls = tmp_path / "calls"
    python = tmp_path / "bin" / "python3"
    python.write_text(
        f'#!/bin/sh\necho "$@" >> {calls}\n[ "$2" != venv ] || {{ mkdir -p .venv/bin; cp "$0" .venv/bin/python; }}\n'
    )
    python.chmod(0o755)
    make = ("make", "-C", tmp_path, ".venv/.ready")
    environment = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}
    for made_anew in (True, False, True):
        calls.write_text("")
        subprocess.run(make, env=environment, check=True, capture_output=True)
        assert ("-m venv --clear .venv" in calls.read_text()) == made_anew
        (tmp_path / ".venv" / ".ready").unlink()
        if not made_anew:
            (tmp_path / ".venv" / "bin" / "python").write_text("#!/gone/interpreter\n")


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
