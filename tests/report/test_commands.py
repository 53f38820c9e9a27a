"""How every command ends: exit code, one line, and nothing of Python's own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lib._errors import FailedRun, UserError, did_you_mean, run_command
from lib._files import ROOT


def start(code: str, **options) -> subprocess.Popen[str]:
    """Starts a command that does something in a process of its own, one without torch, as the Makefile does."""
    program = (
        f"import sys, time; from _errors import *\ndef command():\n    {code}\n"
        "sys.exit(run_command(command, 'nothing kept.'))"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen((sys.executable, "-c", program), cwd=ROOT / "lib", text=True, **pipes)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UserError("SEEDS: expected 3"), 2, "error: SEEDS: expected 3\n"),
        (FailedRun("cell 3"), 1, "failed: cell 3\nall kept.\n"),
        (OSError(28, "No space left on device"), 1, "failed: [Errno 28] No space left on device\nall kept.\n"),
        (KeyboardInterrupt(), 130, "\ninterrupted: all kept.\n"),
    ],
)
def test_every_ending_has_its_exit_code_and_line(error, code, message, capsys):
    def command() -> None:
        raise error

    assert run_command(command, "all kept.") == code
    assert capsys.readouterr().err == message


def test_a_defect_is_one_line_that_names_the_file_of_its_traceback(capsys):
    assert run_command(lambda: 1 // 0, "all kept.") == 1
    error = capsys.readouterr().err
    assert error.startswith("failed: ZeroDivisionError: integer division or modulo by zero; traceback: ")
    file = Path(error.splitlines()[0].rpartition(": ")[2])
    assert "Traceback (most recent call last)" in file.read_text(encoding="utf-8")
    file.unlink()


def test_a_message_of_megabytes_is_cut(capsys):
    def command() -> None:
        raise FailedRun("x" * 50_000_000)

    assert run_command(command, "all kept.") == 1
    assert len(capsys.readouterr().err) < 2100


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_a_command_once_and_let_it_clear_up(number):
    clearing = "\n    try: print('ready', flush=True); time.sleep(60)\n    finally: time.sleep(.5); print('cleared')"
    process = start(f"pass{clearing}")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    time.sleep(0.1)
    process.send_signal(number)
    output, error = process.communicate(timeout=10)
    assert (process.returncode, output, error) == (130, "cleared\n", "\ninterrupted: nothing kept.\n")


def test_a_command_whose_result_is_in_place_is_deaf_to_signals():
    process = start("ignore_interrupts(); print('ready', flush=True); time.sleep(.5)")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=10) == ("", "")
    assert process.returncode == 0


def test_a_reader_that_has_gone_changes_no_result():
    reading, writing = os.pipe()
    os.close(reading)
    process = start("[print('x' * 100) for _ in range(1000)]; return 3", stdout=writing)
    os.close(writing)
    assert process.communicate(timeout=10)[1] == ""
    assert process.returncode == 3


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_change_no_result_and_meet_no_file(closed, tmp_path: Path):
    program = (
        "import sys; from pathlib import Path; from _errors import run_command\n"
        "def command():\n    with Path(sys.argv[1]).open('w') as file:\n"
        "        print('out'); print('err', file=sys.stderr); file.write('whole')\n"
        "sys.exit(run_command(command, ''))"
    )
    command = f'exec "$0" -c "$1" "$2" {closed}'
    process = subprocess.run(("sh", "-c", command, sys.executable, program, tmp_path / "file"), cwd=ROOT / "lib")
    assert process.returncode == 0
    assert (tmp_path / "file").read_text() == "whole"


def test_a_latin_terminal_gets_escapes():
    process = start("print('−')", env={**os.environ, "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"})
    assert process.communicate(timeout=10) == ("\\u2212\n", "")


@pytest.mark.parametrize(
    ("name", "hint"),
    [("SEED", "did you mean SEEDS?"), ("seeds", "did you mean SEEDS?"), ("qqq", "known: SEEDS, report")],
)
def test_an_unknown_name_gets_the_nearest_known_one(name, hint):
    assert did_you_mean(name, ["SEEDS", "report"]) == hint
