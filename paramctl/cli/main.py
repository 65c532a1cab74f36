"""The entry point: runs a command line, and turns each error into one line on standard error and an exit code."""

import gc
import os
import signal
import sys
from contextlib import suppress
from typing import Any, TextIO

import click

from paramctl.cli import paramctl as group
from paramctl.cli import signals
from paramctl.cli.display import is_terminal
from paramctl.cli.help_option import show_help
from paramctl.cli.render import PipeClosed
from paramctl.core.text import printable
from paramctl.errors import ParamctlError, without_credentials

LONGEST_LINE = 2_000

SUCCESS, FINDINGS, ERROR, PIPE_CLOSED = 0, 1, 2, 141

COMPLETION = "_PARAMCTL_COMPLETE"
"""The variable by which a shell asks for completions."""

ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "VECLIB_MAXIMUM_THREADS": "1"}
"""LAPACK's sums depend on its number of threads. NumPy reads these when it is imported."""


def main(arguments: list[str] | None = None) -> None:
    """Run a command line and exit: the entry point."""
    try:
        signals.raise_on_signals()
        os.environ |= ONE_THREAD
        gc.disable()  # a command makes no cycles and ends soon; collecting takes a third of the time for a large model
        code = run(arguments)
        signals.ignore_signals()
    except signals.Terminated:  # a signal just before or after the work
        code = signals.exit_code()
    gc.freeze()  # otherwise the interpreter collects once more at its end, which takes a tenth of the time
    sys.exit(code)


def run(arguments: list[str] | None = None) -> int:
    """Run a command line and return its exit code. Every error becomes one line on standard error here."""
    try:
        if sys.stdout is None:
            raise OSError("closed")
        _escape_what_cannot_be_encoded()
        if COMPLETION in os.environ:
            from paramctl.cli import shells

            shells.register()
        code: Any = group.main(arguments, prog_name="paramctl", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else SUCCESS
    except signals.Terminated:
        return signals.exit_code()
    except (click.Abort, KeyboardInterrupt):
        return signals.SIGNAL_BASE + signal.SIGINT
    except (PipeClosed, BrokenPipeError):
        return _pipe_closed()
    except SystemExit as exit_:
        if type(sys.stdout).__name__.endswith("PacifyFlushWrapper"):  # click's, when the pipe was closed
            return _pipe_closed()
        return exit_.code if isinstance(exit_.code, int) else ERROR  # completion exits by itself
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except Exception as error:
        return _report(error) if signals.Terminated.number is None else signals.exit_code()


def _report(error: Exception) -> int:
    """Write an error as one line on standard error; return the exit code."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        if is_terminal() and sys.stderr is not None and sys.stderr.isatty():
            show_help(error.ctx)
        else:
            error.show()
    elif isinstance(error, click.UsageError):
        from paramctl.cli.similar import explain  # most runs have no such error

        command = error.ctx.command_path if error.ctx else "paramctl"
        rule = explain(error)
        end = "" if rule.endswith((".", "?")) else "."  # click's messages end in one of these, ours in neither
        _write_line(f"{command}: {rule}{end} See {command} --help.")
    elif isinstance(error, click.ClickException):
        _write_line(f"paramctl: {error.format_message()}")
    elif isinstance(error, ParamctlError):
        _write_line(str(error))
    elif isinstance(error, OSError):  # errors of other files are ParamctlErrors, so this is standard output's
        _discard(sys.stdout)
        _write_line(f"standard output: {error.strerror or error}")
    elif os.environ.get("PARAMCTL_TRACEBACK"):
        raise error
    else:
        _write_line(f"internal error: {type(error).__name__}: {error}. Set PARAMCTL_TRACEBACK=1 for a traceback.")
    return ERROR


def _write_line(line: str) -> None:
    """Write one line to standard error, with control characters escaped and at most LONGEST_LINE characters."""
    line = printable(without_credentials(" ".join(line.splitlines())))
    if sys.stderr is not None:
        try:
            sys.stderr.write(f"{line[:LONGEST_LINE]}...\n" if len(line) > LONGEST_LINE else f"{line}\n")
            sys.stderr.flush()
        except OSError:  # a full disk behind standard error must not change the exit code
            _discard(sys.stderr)


def _pipe_closed() -> int:
    """Return the exit code for a reader, such as head, that closed the pipe early."""
    _discard(sys.stdout)
    return PIPE_CLOSED


def _escape_what_cannot_be_encoded() -> None:
    """Make both streams write characters that their encoding lacks as escapes, instead of raising errors."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _discard(stream: TextIO) -> None:
    """Redirect an output to the null device, so that Python's flush at exit does not fail again."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
