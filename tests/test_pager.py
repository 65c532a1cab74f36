"""The pager on a terminal, colors by options and variables, and the lines of --verbose."""

import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Mapping
from contextlib import suppress
from fcntl import ioctl
from pathlib import Path

import numpy as np
import pytest

from paramctl.cli import display
from tests import forks
from tests.conftest import ROOT, Call, Run

GPT2, MLP = str(ROOT / "sample_models/gpt2.yaml"), str(ROOT / "sample_models/mlp.yaml")
HEADING = "gpt2: input (None, 1024)"


def shown(
    *arguments: str,
    folder: Path = ROOT,
    env: Mapping[str, str] | None = None,
    code: int = 0,
    size: tuple[int, int] = (20, 80),
) -> str:
    """Return what a terminal of a size shows after a command."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    unset = ("NO_COLOR", "COLUMNS", "LINES", "PAGER", "LESS", "PARAMCTL_PAGER")
    environment = (
        {key: value for key, value in os.environ.items() if key not in unset} | {"TERM": "xterm"} | (env or {})
    )
    process = forks.fork_server().fork(arguments, folder, [theirs, theirs, theirs], env=environment)
    os.close(theirs)
    data = b""
    with suppress(OSError):  # the terminal is closed when the process ends
        while more := os.read(ours, 4096):
            data += more
    os.close(ours)
    assert process.ended().code == code
    return data.decode().replace("\r\n", "\n")


def marking(folder: Path, ending: str = "") -> str:
    """Return the path of a pager that marks its input."""
    path = folder / "pager.sh"
    path.write_text(f"#!/bin/sh\necho PAGED; cat; {ending}\n")
    path.chmod(0o755)
    return str(path)


def test_only_long_output_of_a_listing_is_paged(tmp_path: Path) -> None:
    pager = {"PAGER": marking(tmp_path)}
    assert shown("summary", GPT2, env=pager).startswith("PAGED\n")
    assert "PAGED" not in shown("summary", MLP, env=pager)
    assert "PAGED" not in shown("summary", GPT2, env=pager, size=(500, 80))
    assert "PAGED" not in shown("summary", GPT2, "--no-pager", env=pager)
    assert "PAGED" not in shown("--no-pager", "summary", GPT2, env=pager)
    assert "PAGED" not in shown("summary", GPT2, "--format", "csv", env=pager)
    assert "PAGED" not in shown("summary", GPT2, env=pager | {"TERM": "dumb"})
    assert "PAGED" not in shown("dump", GPT2, "block-0/mlp/expand/bias", "--full", env=pager)
    assert shown("dump", GPT2, "block-0/mlp/expand/bias", "--full", "--pager", env=pager).startswith("PAGED\n")
    assert "PAGED" not in shown("init", GPT2, "--dry-run", env=pager)


def test_a_pipe_is_never_paged(paramctl: Run, tmp_path: Path) -> None:
    done = paramctl("summary", GPT2, "--pager", env={"PAGER": marking(tmp_path)})
    assert done.stdout.startswith(HEADING)


def test_wrapped_lines_count(tmp_path: Path) -> None:
    """One line of 90 characters takes ten of a terminal with 9 columns."""
    (tmp_path / "m.yaml").write_text(f"input: [4]\nlayers: [{{dense: {{units: 1, name: {'n' * 90}}}}}]\n")
    pager = {"PAGER": marking(tmp_path)}
    assert shown("summary", "m.yaml", "--wide", folder=tmp_path, env=pager, size=(24, 9)).startswith("PAGED\n")
    assert "PAGED" not in shown("summary", "m.yaml", "--wide", folder=tmp_path, env=pager, size=(24, 200))


@pytest.mark.parametrize("variable", ["PAGER", "PARAMCTL_PAGER"])
@pytest.mark.parametrize("value", ["", "cat"])
def test_an_empty_pager_and_cat_are_none(variable: str, value: str, tmp_path: Path) -> None:
    other = {"PAGER": marking(tmp_path)} if variable != "PAGER" else {}
    assert HEADING in shown("summary", GPT2, env=other | {variable: value}).splitlines()[0]


@pytest.mark.parametrize("variable", ["PAGER", "PARAMCTL_PAGER"])
@pytest.mark.parametrize("command", ["no-such-pager -R", "false", "no-such-pager | cat -n; exit 3", "'", "/"])
def test_a_pager_that_does_not_work_is_one_line_after_everything(variable: str, command: str) -> None:
    whole = shown("summary", GPT2, "--no-pager")
    *lines, last = shown("summary", GPT2, env={variable: command}).rstrip("\n").split("\n")
    assert "\n".join(lines).endswith(whole.rstrip("\n"))
    assert last.startswith(f"{variable}: {command}: ")
    assert last.endswith(". Printed without a pager")


def test_without_less_output_is_plain_and_no_line_says_so(tmp_path: Path) -> None:
    whole = shown("summary", GPT2, "--no-pager")
    assert shown("summary", GPT2, env={"PATH": str(tmp_path)}) == whole


def test_a_pager_that_ends_early_is_no_error(tmp_path: Path) -> None:
    """The exit code is that of the command: 1 for differences. Its closing line follows the pager."""
    (tmp_path / "other.yaml").write_text("name: gpt2\ninput: [4]\nlayers: [{dense: {units: 1, repeat: 40000}}]\n")
    pager = {"PAGER": "head -n 1"}
    assert shown("summary", "other.yaml", "--no-group", folder=tmp_path, env=pager).count("\n") == 1
    lines = shown("diff", GPT2, "other.yaml", "--structure", folder=tmp_path, env=pager, code=1).splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("80,197 of 80,197 arrays differ")


def test_a_pager_with_a_shells_syntax(tmp_path: Path) -> None:
    assert shown("summary", GPT2, env={"PAGER": "head -n 1 | sed 's/^/| /'"}).startswith("| ")


def test_notes_wait_for_the_pager_and_errors_follow_it(tmp_path: Path) -> None:
    pager = {"PAGER": marking(tmp_path, "echo CLOSED")}
    lines = shown("summary", GPT2, "-v", env=pager).splitlines()
    assert "model document" in lines[0], "before any output, a note is printed at once"
    assert lines[1] == "PAGED"
    closed = lines.index("CLOSED")
    assert len(lines) == closed + 2
    assert lines[-1].startswith("paramctl summary: 1 file, ")
    output = shown("summary", GPT2, "no-such.yaml", MLP, folder=ROOT, env=pager, code=2)
    assert "no-such.yaml" in output


def on_less(keys: list[bytes], *arguments: str) -> tuple[int, str]:
    """Return the exit code and the screen of a command, whose pager gets keys one after another."""
    pid, ours = pty.fork()
    if not pid:
        for name in ("PAGER", "LESS", "PARAMCTL_PAGER"):
            os.environ.pop(name, None)
        os.environ |= {"TERM": "xterm", "COLUMNS": "80", "LINES": "20", "PYTHONPATH": str(ROOT)}
        os.execv(sys.executable, [sys.executable, "-m", "paramctl", *arguments])  # noqa: S606
    data, waits = b"", list(keys)
    until = time.monotonic() + forks.patience()
    while time.monotonic() < until:
        ready, _, _ = select.select([ours], [], [], 0.3)
        try:
            data += os.read(ours, 4096) if ready else b""
        except OSError:
            break
        if not ready and waits and b":" in data[-40:]:  # less has shown a screen, and asks
            os.write(ours, waits.pop(0))
    else:
        os.kill(pid, signal.SIGKILL)
    os.close(ours)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), data.decode()


@pytest.mark.skipif(not any(os.access(f"{each}/less", os.X_OK) for each in os.get_exec_path()), reason="needs less")
def test_less_itself_with_ctrl_c_and_q() -> None:
    """Ctrl-C neither ends less nor the command, and q ends both without an error."""
    code, screen = on_less([b"\x03", b"q"], "summary", GPT2)
    assert code == 0
    assert HEADING in screen
    assert "Traceback" not in screen
    assert "Bytes in float32" not in screen


@pytest.mark.parametrize(
    ("env", "flags", "colored"),
    [
        ({}, [], False),
        ({"FORCE_COLOR": "1"}, [], True),
        ({"CLICOLOR_FORCE": "1"}, [], True),
        ({"FORCE_COLOR": "0"}, [], False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, [], False),
        ({"FORCE_COLOR": "1", "NO_COLOR": ""}, [], True),
        ({"NO_COLOR": "1"}, ["--color", "always"], True),
        ({"FORCE_COLOR": "1"}, ["--color", "never"], False),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, [], True),
        ({"PARAMCTL_COLOR": "always"}, [], True),
        ({"PARAMCTL_SUMMARY_COLOR": "always"}, [], True),
        ({"NO_COLOR": "1"}, ["--color", "auto"], False),
    ],
)
def test_colors_in_a_pipe(
    env: dict[str, str], flags: list[str], colored: bool, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    plain = call("summary", MLP, "--color", "never")[1]
    for arguments in (("summary", MLP, *flags), (*flags, "summary", MLP)):
        output = call(*arguments)[1]
        assert ("\x1b[1m" in output) is colored
        assert re.sub(r"\x1b\[\d*m", "", output) == plain, "colors are all that differs"


def test_the_flag_of_the_command_wins_over_that_of_the_group(call: Call) -> None:
    assert "\x1b" in call("--color", "never", "summary", MLP, "--color", "always")[1]


def test_a_dumb_terminal_has_no_colors_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "is_terminal", lambda: True)
    for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "dumb")
    assert display.style("x", bold=True) == "x"
    monkeypatch.setenv("TERM", "xterm")
    assert display.style("x", bold=True) != "x"


def test_verbose_says_what_was_read(call: Call) -> None:
    """On standard error, before or after the command's name; standard output is unchanged."""
    np.savez("a.npz", w=np.zeros((3, 4), "float32"), b=np.zeros(4, "float32"))
    plain = call("stat", "a.npz")[1]
    for arguments in (("stat", "a.npz", "-v"), ("-v", "stat", "a.npz")):
        code, out, err = call(*arguments)
        first, last = err.splitlines()
        assert (code, out) == (0, plain)
        assert first == "a.npz: npz: 2 arrays, 16 values, 64 bytes"
        assert re.fullmatch(r"paramctl stat: 1 file, values of 2 arrays: 64 bytes, \d+\.\d\d s", last)
    header = call("summary", "a.npz", MLP, "-v")[2].splitlines()
    assert header[1] == f"{MLP}: model document: 4 arrays, 25 values, 100 bytes"
    assert re.fullmatch(r"paramctl summary: 2 files, \d+\.\d\d s", header[2]), "it reads no values"
    sliced = call("dump", "a.npz", "w[0]", "-v")[2]
    assert re.search(r"values of 1 array: \d+ bytes", sliced)
    assert "model document" in call("init", MLP, "-o", "m.h5", "-v")[2]


def test_very_verbose_adds_the_cost(call: Call) -> None:
    lines = call("-v", "summary", MLP, "-v")[2].splitlines()
    assert re.search(r", after \d+\.\d\d s$", lines[0])
    assert re.fullmatch(r"paramctl summary: processor \d+\.\d\d s, memory [\d.]+ [MG]iB", lines[-1])
    assert call("summary", MLP)[2] == "", "the next command is silent"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("diff", "--help"), 0), (("diff", "-h"), 0), (("help", "diff"), 0), (("help",), 0), (("--help",), 0), ((), 2)],
)
def test_long_help_is_paged_by_the_rules_of_listings(arguments: tuple[str, ...], code: int, tmp_path: Path) -> None:
    """On a terminal that is too short for it only, and unless --no-pager or TERM=dumb says otherwise."""
    pager = {"PAGER": marking(tmp_path)}
    first, *lines = shown(*arguments, env=pager, code=code).splitlines()
    assert first == "PAGED"
    assert lines[0].startswith("Usage: paramctl")
    assert "PAGED" not in shown(*arguments, env=pager | {"TERM": "dumb"}, code=code)
    assert "PAGED" not in shown(*arguments, env=pager, code=code, size=(500, 80))


@pytest.mark.parametrize(
    "arguments", [("diff", "--help"), ("--help",), ("help", "diff"), ("help",), ("completion", "--help")]
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_options_of_the_pager_hold_for_help_wherever_they_are(
    arguments: tuple[str, ...], place: int, tmp_path: Path
) -> None:
    pager = {"PAGER": marking(tmp_path)}
    for option, is_paged in (("--pager", True), ("--no-pager", False)):
        output = shown(*arguments[:place], option, *arguments[place:], env=pager)
        assert output.startswith("PAGED\n" if is_paged else "Usage:"), arguments
        assert "internal error" not in output


def test_whatever_prints_can_be_paged(tmp_path: Path) -> None:
    """Also with an encoding that click would get around by writing bytes to the terminal itself."""
    for encoding in ("utf-8", "ascii"):
        pager = {"PAGER": marking(tmp_path), "PYTHONIOENCODING": encoding}
        assert shown("completion", "bash", "--pager", env=pager).startswith("PAGED\n")


def test_help_in_a_pipe_is_never_paged(paramctl: Run, tmp_path: Path) -> None:
    pager = {"PAGER": marking(tmp_path)}
    for arguments in (("diff", "--help", "--pager"), ("--pager", "help", "diff"), ("help", "--pager")):
        assert paramctl(*arguments, env=pager).stdout.startswith("Usage: paramctl")
