"""The command line: the group of commands, which are imported when they run.

To add a command, write ``paramctl/cli/NAME.py`` with the click command NAME in it, and add NAME to SECTIONS.
Help, completion, man pages and the tests that loop over commands follow from that.

``--help`` loads every command, so a command module imports NumPy, h5py, yaml and tabulate only in function bodies.
"""

from importlib import import_module
from typing import Any

import click

from paramctl import __version__
from paramctl.cli.command import Group

SECTIONS = {
    "Look": ("summary", "dump", "stat", "histogram", "ties", "report"),
    "Compare and check": ("diff", "check", "verify", "sum"),
    "Create and change": ("init", "set", "tie", "untie", "freeze", "unfreeze"),
    "Convert and combine": ("save", "average", "arithmetic", "merge", "extract-lora"),
    "Compute": ("run", "grad", "train", "probe"),
    "About paramctl": ("layers", "schemes", "schema", "help", "completion", "env"),
}
"""The names of all commands, under the headings that --help has for them."""
NAMES = tuple(name for names in SECTIONS.values() for name in names)

CONTEXT: dict[str, Any] = {"auto_envvar_prefix": "PARAMCTL"}
EPILOG = """\b
Most parameters where? summary --top 10     Enough memory? summary --memory
Same as before? diff A B, or verify FILE    Anything broken? check
'paramctl COMMAND --help' describes a command,
'man paramctl-model' the language of model documents."""


def _load(name: str) -> click.Command:
    """Return the click command that the module of this name defines."""
    module = import_module(f"{__name__}.{name.replace('-', '_')}")
    return next(value for value in vars(module).values() if isinstance(value, click.Command))


def all_commands() -> list[click.Command]:
    """Return every command. Imports all of them."""
    return [_load(name) for name in NAMES]


@click.group(cls=Group, sections=SECTIONS, load=_load, context_settings=CONTEXT, epilog=EPILOG)
@click.version_option(__version__, "-V", "--version", message="%(prog)s %(version)s", help="Show the version and exit")
def paramctl() -> None:
    """Summarize, initialize, edit, compare, check and convert neural network parameters.

    A model is a YAML document that lists its layers, or a checkpoint of any supported format.

    \b
    Examples:
      paramctl summary                        # of ./model.yaml
      paramctl init mlp.yaml --scheme glorot -o mlp.h5
      paramctl dump mlp.h5 'dense/kernel[0, :2]'
      paramctl diff mlp.yaml mlp.h5
      paramctl check mlp.h5
    """
