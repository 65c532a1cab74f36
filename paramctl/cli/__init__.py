"""The command line: the only user of click and tabulate, and the only place that prints errors.

To add a command, write ``paramctl/cli/NAME.py`` with the click command NAME in it, and add NAME to NAMES.
Help, completion, man pages and the tests that loop over commands follow from that.

``--help`` loads every command, so a command module imports NumPy, h5py, yaml and tabulate only in function bodies.
"""

import gc
import os
import signal
import sys
from contextlib import suppress
from importlib import import_module
from types import FrameType
from typing import Any, TextIO

import click

from paramctl import __version__
from paramctl.cli.command import Group
from paramctl.cli.render import PipeClosed
from paramctl.core.text import printable
from paramctl.errors import ParamctlError

LONGEST_LINE = 2_000

SUCCESS, FINDINGS, ERROR, PIPE_CLOSED = 0, 1, 2, 141
SIGNAL_BASE = 128
"""Added to a signal's number, as shells do: 130 after Ctrl-C."""

RETRY_SECONDS = 0.005
"""The delay before a signal that came during an import is raised again."""

NAMES = (
    *("summary", "init", "dump", "save", "set", "diff", "stat"),
    *("tie", "untie", "ties"),
    *("schemes", "layers", "schema", "completion"),
)

ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "VECLIB_MAXIMUM_THREADS": "1"}
"""LAPACK's sums depend on its number of threads. NumPy reads these when it is imported."""

CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "PARAMCTL"}
EPILOG = "'paramctl COMMAND --help' describes a command, 'man paramctl-model' the language of model documents."


def _load(name: str) -> click.Command:
    """Return the click command that the module of this name defines."""
    module = import_module(f"{__name__}.{name}")
    return next(value for value in vars(module).values() if isinstance(value, click.Command))


def all_commands() -> list[click.Command]:
    """Return every command. Imports all of them."""
    return [_load(name) for name in NAMES]


@click.group(cls=Group, names=NAMES, load=_load, context_settings=CONTEXT, epilog=EPILOG)
@click.version_option(__version__, message="%(prog)s %(version)s", help="Show the version and exit")
def paramctl() -> None:
    """Summarize, initialize, edit, compare and convert neural network parameters.

    A model is a YAML document that lists its layers, or a checkpoint of any supported format.

    \b
    Examples:
      paramctl summary                        # of ./model.yaml
      paramctl init mlp.yaml --scheme glorot -o mlp.h5
      paramctl dump mlp.h5 'dense/kernel[0, :2]'
      paramctl diff mlp.yaml mlp.h5
    """


def main(arguments: list[str] | None = None) -> None:
    """Run a command line and exit: the entry point."""
    _raise_on_signals()
    os.environ |= ONE_THREAD
    gc.disable()  # a command makes no cycles and ends soon; collecting takes a third of the time for a large model
    sys.exit(run(arguments))


class Terminated(BaseException):
    """A signal that ends the process, raised so that temporary files are removed on the way out."""

    number: int | None = None
    """The signal received, kept by the class because a library may raise its own exception instead."""


def _raise_on_signals() -> None:
    """Make the first signal that ends a process raise Terminated, and ignore later ones."""
    signals = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]

    def receive(number: int, frame: FrameType | None) -> None:
        Terminated.number = number
        sys.unraisablehook = lambda unraisable: None  # an object that was half made may fail in its __del__
        for other in signals:  # a second Ctrl-C must not interrupt the cleanup
            signal.signal(other, signal.SIG_IGN)
        signal.signal(signal.SIGALRM, terminate)
        terminate(number, frame)

    def terminate(number: int, frame: FrameType | None) -> None:
        if _is_importing(frame):  # an extension that is being imported prints the exception, and fails with another
            signal.setitimer(signal.ITIMER_REAL, RETRY_SECONDS)
            return
        raise Terminated

    for number in signals:
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores SIGHUP, and so must its child
            signal.signal(number, receive)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def run(arguments: list[str] | None = None) -> int:
    """Run a command line and return its exit code. Every error becomes one line on standard error here."""
    try:
        if sys.stdout is None:
            raise OSError("closed")
        _escape_what_cannot_be_encoded()
        code: Any = paramctl.main(arguments, prog_name="paramctl", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else SUCCESS
    except Terminated:
        return _ended_by_signal()
    except (click.Abort, KeyboardInterrupt):
        return SIGNAL_BASE + signal.SIGINT
    except (PipeClosed, BrokenPipeError):
        return _pipe_closed()
    except SystemExit as exit_:
        if type(sys.stdout).__name__.endswith("PacifyFlushWrapper"):  # click's, when the pipe was closed
            return _pipe_closed()
        return exit_.code if isinstance(exit_.code, int) else ERROR  # completion exits by itself
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except Exception as error:
        return _report(error) if Terminated.number is None else _ended_by_signal()


def _ended_by_signal() -> int:
    return SIGNAL_BASE + (Terminated.number or 0)


def _report(error: Exception) -> int:
    """Write an error as one line on standard error; return the exit code."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
    elif isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx else "paramctl"
        rule = error.format_message()
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
    line = printable(" ".join(line.splitlines()))
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
