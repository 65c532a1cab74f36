"""The command line: the only user of click and tabulate, and the only place where errors are printed.

Every command is declared here, at once, from modules that import nothing heavy at the top; what is
heavy is imported in a command's body. To add a command, write one file and one row below.
"""

import gc
import os
import signal
import sys
from contextlib import suppress
from typing import Any

import click

from paramctl import __version__
from paramctl.cli.completion import completion
from paramctl.cli.diff import diff
from paramctl.cli.dump import dump
from paramctl.cli.init import init
from paramctl.cli.layers import layers
from paramctl.cli.render import PipeClosed, printable
from paramctl.cli.save import save
from paramctl.cli.schema import schema
from paramctl.cli.schemes import schemes
from paramctl.cli.set import set_
from paramctl.cli.stat import stat
from paramctl.cli.summary import summary
from paramctl.cli.tie import tie
from paramctl.cli.ties import ties
from paramctl.cli.untie import untie
from paramctl.errors import ParamctlError

LONGEST_LINE = 2_000

YES, NO, TROUBLE, PIPE_CLOSED = 0, 1, 2, 141
BY_SIGNAL = 128
"""To which the number of the signal that ended it is added: 130 after Ctrl-C."""

COMMANDS: list[click.Command] = [
    *(summary, init, dump, save, set_, diff, stat),
    *(tie, untie, ties),
    *(schemes, layers, schema, completion),
]

ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "VECLIB_MAXIMUM_THREADS": "1"}
"""LAPACK sums in another order when it has more threads; set before NumPy is imported, which reads it."""

CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "PARAMCTL"}
EPILOG = "A model document's language: man paramctl-model. One command: paramctl COMMAND --help."


@click.group(
    commands=COMMANDS,
    context_settings=CONTEXT,
    epilog=EPILOG,
)
@click.version_option(__version__, message="%(prog)s %(version)s")
def paramctl() -> None:
    """A neural network's parameters, from a shell.

    \b
    paramctl summary                      the model in ./model.yaml
    paramctl summary gpt2.yaml --depth 1  another, one row for each block
    """


def main(arguments: list[str] | None = None) -> None:
    """Run a command line and exit: the entry point."""
    _end_in_order()
    os.environ |= ONE_THREAD
    gc.disable()  # a command makes no cycles and ends soon; collecting costs a large model a third of its time
    sys.exit(run(arguments))


class Ended(BaseException):
    """A signal to end has come; what is unfinished is cleared away on the way out."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _end_in_order() -> None:
    """Have the signals that end a program end it as an exception does; the second of them changes nothing."""
    signals = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]

    def end(number: int, frame: object) -> None:
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        raise Ended(number)

    for each in signals:
        if signal.getsignal(each) != signal.SIG_IGN:  # nohup
            signal.signal(each, end)


def run(arguments: list[str] | None = None) -> int:
    """Run a command line; the exit code. Every error becomes one line on standard error here."""
    try:
        if sys.stdout is None:
            raise OSError("closed")
        _never_fail_to_encode()
        code: Any = paramctl.main(arguments, prog_name="paramctl", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else YES
    except Ended as ended:
        return BY_SIGNAL + ended.number
    except (click.Abort, KeyboardInterrupt):
        return BY_SIGNAL + signal.SIGINT
    except (PipeClosed, BrokenPipeError):
        return _pipe_closed()
    except SystemExit as end:
        if type(sys.stdout).__name__.endswith("PacifyFlushWrapper"):  # click's, on a closed pipe
            return _pipe_closed()
        return end.code if isinstance(end.code, int) else TROUBLE  # completion's own
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except Exception as error:
        return _tell(error)


def _tell(error: Exception) -> int:
    """What went wrong, in one line."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
    elif isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx else "paramctl"
        _say(f"{command}: {error.format_message().rstrip('.')}. See {command} --help.")
    elif isinstance(error, click.ClickException):
        _say(f"paramctl: {error.format_message()}")
    elif isinstance(error, ParamctlError):
        _say(str(error))
    elif isinstance(error, OSError):  # those of files are ParamctlError's: this is standard output's
        _abandon_output()
        _say(f"standard output: {error.strerror or error}")
    elif os.environ.get("PARAMCTL_TRACEBACK"):
        raise error
    else:
        _say(f"a defect of paramctl: {type(error).__name__}: {error} (PARAMCTL_TRACEBACK=1 shows where)")
    return TROUBLE


def _say(line: str) -> None:
    """One line on standard error, whatever is in it."""
    line = printable(" ".join(line.splitlines()))
    if sys.stderr is not None:
        with suppress(OSError):
            sys.stderr.write(f"{line[:LONGEST_LINE]}...\n" if len(line) > LONGEST_LINE else f"{line}\n")
            sys.stderr.flush()


def _pipe_closed() -> int:
    """Whoever read standard output, such as head, has what it wants."""
    _abandon_output()
    return PIPE_CLOSED


def _never_fail_to_encode() -> None:
    """Write what a terminal's encoding lacks as an escape, rather than not at all."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _abandon_output() -> None:
    """Send what is still buffered nowhere, so that nothing fails again when Python ends."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
