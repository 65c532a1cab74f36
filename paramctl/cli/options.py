"""Arguments and options that commands share.

    model, source           a document or checkpoint; model.yaml if left out
    patterns, addresses     which part of it; addresses may end in a slice
    filters                 --trainable/--frozen, --dtype, --kind, --min-size
    define, input_shape     -D NAME=VALUE, --input-shape [NAME=]SIZE,...
    seed, dtype             --seed N|random, --dtype
    fan_convention, layout  --fan-convention, --layout
    sources, combined       the files that a command combines, and the options of all commands that do
    shard_size, partial     --max-shard-size, --partial PATTERN
    cast_dtype, allow       --dtype [PATTERN=]DTYPE, --allow LOSS[=PATTERN]
    result                  -o with these, --force and --quiet
    rename                  --rename PATTERN=NAME
    weights, input_, data   --weights, --input and --data of the commands that compute
    rows, batch_size        --rows, --batch-size; and compute_dtype, --dtype of a computation
    output, force, in_place -o FILE, --force, --in-place
    state                   --state
    plot                    --plot FILE, a picture
    quiet, format_          -q, --format, one of a list of formats

Option help is a phrase without a full stop that fits two lines of an 80-column terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, TypeVar

import click

from paramctl.cli.completions import DEFAULT_MODEL as DEFAULT_MODEL
from paramctl.cli.completions import complete_address as complete_address

F = TypeVar("F", bound=Callable[..., Any])


class LazyChoice(click.Choice[str]):
    """A choice whose values are loaded when they are first needed: to parse the option, or to print its help."""

    def __init__(self, load: Callable[[], Iterable[str]]) -> None:
        super().__init__(())
        self._load = load

    @property
    def choices(self) -> tuple[str, ...]:
        return tuple(self._load())

    @choices.setter
    def choices(self, choices: tuple[str, ...]) -> None:
        """Ignore the empty choices that the base class sets."""


class Seed(click.ParamType[int]):
    """A seed: a whole number, or ``random`` for one that the operating system picks."""

    name = "N|random"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the seed. Raises UsageError for other text."""
        if isinstance(value, int):
            return value
        if value == "random":
            import secrets

            return secrets.randbits(32)  # keras.utils.set_random_seed accepts no larger one
        from paramctl.declare.located import MAX_INTEGER

        if not value.isdecimal() or int(value[:20]) > MAX_INTEGER:
            self.fail(f"must be a whole number from 0 to 2^63 - 1, or 'random' (got {value!r})")
        return int(value)


class Size(click.ParamType[int]):
    """A number of bytes. As for Hugging Face, KB, MB and GB are powers of 1,000; KiB, MiB and GiB are of 1,024."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number of bytes. Raises UsageError for other text."""
        if isinstance(value, int):
            return value
        number = value.rstrip("KMGTiB")
        unit = value[len(number) :]
        units = {"": 1, "B": 1}
        for power, prefix in enumerate("KMGT", 1):
            units |= {f"{prefix}B": 1000**power, f"{prefix}iB": 1024**power}
        if unit not in units or not number.isdecimal() or not int(number):
            self.fail(
                f"must be a positive whole number, optionally with KB, MB, GB or TB, or KiB and so on (got {value!r})"
            )
        return int(number) * units[unit]


def _opened(name: str) -> Callable[[F], F]:
    """Return an argument that names a file to open."""
    return click.argument(
        name,
        required=False,
        type=click.Path(allow_dash=True),
        help=f"Model document or checkpoint, or its URL; '-' for standard input  [default: {DEFAULT_MODEL}]",
    )


model = _opened("model")
source = _opened("source")

sources: Callable[[F], F] = click.argument(
    "sources",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=click.Path(allow_dash=True),
    help="Checkpoints or model documents, '-' for standard input",
)

files: Callable[[F], F] = click.argument(
    "files",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=click.Path(allow_dash=True),
    help="Checkpoints, or the indexes or folders of sets; '-' for standard input",
)

patterns: Callable[[F], F] = click.argument(
    "patterns",
    shell_complete=complete_address,
    metavar="[PATTERN]...",
    nargs=-1,
    help="Layers or parameters, such as block-0 or '**/kernel'; see ADDRESSES in paramctl(1)",
)


def required_addresses(name: str, metavar: str, help: str) -> Callable[[F], F]:
    """Return an argument of one address or more."""
    return click.argument(name, metavar=metavar, nargs=-1, required=True, shell_complete=complete_address, help=help)


addresses: Callable[[F], F] = click.argument(
    "addresses",
    shell_complete=complete_address,
    metavar="[ADDRESS]...",
    nargs=-1,
    help="Parameters, optionally with a slice, such as 'dense/kernel[0, :5]'; see ADDRESSES in paramctl(1)",
)

define: Callable[[F], F] = click.option(
    "-D",
    "--define",
    "define",
    metavar="NAME=VALUE",
    multiple=True,
    help="Value of a variable of the document; repeatable",
)

input_shape: Callable[[F], F] = click.option(
    "--input-shape",
    "input_shape",
    metavar="[NAME=]SIZE,...",
    multiple=True,
    help="Shape of an input without the batch axis, null for an unknown size; repeatable",
)

seed: Callable[[F], F] = click.option(
    "--seed",
    type=Seed(),
    metavar="N|random",
    show_default="the document's, or 0",
    help="Seed of generated values; random picks one",
)

dtype: Callable[[F], F] = click.option(
    "--dtype",
    type=click.Choice(("float16", "bfloat16", "float32", "float64")),
    show_default="unchanged",
    help="Dtype of floating-point arrays",
)

rename: Callable[[F], F] = click.option(
    "--rename",
    metavar="PATTERN=NAME",
    multiple=True,
    help="Rename arrays; NAME has PATTERN's wildcards; or re:REGEX=TEXT; repeatable",
)

shard_size: Callable[[F], F] = click.option(
    "--max-shard-size",
    type=Size(),
    metavar="N[MB|GB]",
    show_default="one file; 5GB in a folder",
    help="Largest size of a file of a set",
)

cast_dtype: Callable[[F], F] = click.option(
    "--dtype",
    metavar="[PATTERN=]DTYPE",
    multiple=True,
    show_default="unchanged",
    help="Dtype of floating-point or matching arrays; repeatable",
)

allow: Callable[[F], F] = click.option(
    "--allow",
    metavar="LOSS[=PATTERN]",
    multiple=True,
    help="Allow a cast to lose overflow, integers or parts; repeatable",
)

force: Callable[[F], F] = click.option("--force", is_flag=True, help="Replace an existing file")

in_place: Callable[[F], F] = click.option(
    "--in-place", is_flag=True, help="Replace the source itself, atomically, through a temporary copy"
)


state: Callable[[F], F] = click.option(
    "--state", is_flag=True, help="Include the optimizer's state, such as Adam's moments"
)


plot: Callable[[F], F] = click.option(
    "--plot", metavar="FILE", help="Also write a picture, .svg, .png or .pdf; requires matplotlib"
)


def quiet(help: str) -> Callable[[F], F]:
    """Return the option -q, --quiet."""
    return click.option("-q", "--quiet", is_flag=True, help=help)


def _conventions() -> Iterable[str]:
    from paramctl.init.fans import CONVENTIONS

    return CONVENTIONS


def fan_convention(default: str) -> Callable[[F], F]:
    """Return the option --fan-convention."""
    return click.option(
        "--fan-convention",
        type=LazyChoice(_conventions),
        show_default=default,
        help="Exact fans (true) or a framework's",
    )


def layout(help: str, default: str) -> Callable[[F], F]:
    """Return the option --layout."""
    return click.option("--layout", type=click.Choice(("keras", "torch")), show_default=default, help=help)


def output(help: str, required: bool = False, default: str | None = None) -> Callable[[F], F]:
    """Return the option -o, --output."""
    return click.option("-o", "--output", "output", metavar="FILE", required=required, show_default=default, help=help)


compute_dtype: Callable[[F], F] = click.option(
    "--dtype",
    type=click.Choice(("float32", "float64")),
    default="float32",
    show_default=True,
    help="Dtype of the computation",
)


def batch_size(help: str) -> Callable[[F], F]:
    """Return the option --batch-size."""
    return click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, metavar="N", help=help)


def weights(help: str) -> Callable[[F], F]:
    """Return the option --weights."""
    return click.option("--weights", metavar="FILE", show_default="the model's own", help=help)


def input_(help: str) -> Callable[[F], F]:
    """Return the option --input, which reaches the command as ``input_``; see inputs.input_files."""
    return click.option("--input", "input_", metavar="[NAME=]FILE", multiple=True, show_default="random", help=help)


def result(function: F) -> F:
    """Add the options of a command that writes an edited or combined checkpoint: -o, its size, dtypes, and --force."""
    command: Any = function
    written = output("File to write; its suffix sets the format; '-' is a safetensors stream", required=True)
    for option in (quiet("Print no report and no notes"), force, allow, cast_dtype, shard_size, written):
        command = option(command)  # a decorator puts its option before the earlier ones
    return command  # type: ignore[no-any-return]


def partial(help: str) -> Callable[[F], F]:
    """Return the option --partial."""
    return click.option("--partial", metavar="PATTERN", multiple=True, help=help)


def combined(function: F) -> F:
    """Add the options of a command that computes a checkpoint from several."""
    return result(partial("Keep these from the first file if they are missing or differ; repeatable")(function))


def data(required: bool = False) -> Callable[[F], F]:
    """Return the option --data: the examples of a loss."""
    text = "Inputs by name and targets y, in an npz or any other checkpoint"
    return click.option("--data", metavar="FILE", required=required, help=text)


def rows(examples: str, default: int | None = None) -> Callable[[F], F]:
    """Return the option --rows, which reaches the command as ``count``. examples: the option that names them."""
    return click.option(
        "--rows",
        "count",
        type=click.IntRange(1),
        metavar="N",
        default=default,
        show_default="all, or 1 random" if default is None else True,
        help=f"Examples: the first of {examples}, or random ones",
    )


def format_(*formats: str) -> Callable[[F], F]:
    """Return the option --format; the first of these formats is the default."""
    return click.option(
        "--format",
        "format",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        help="Output format",
    )


_FILTERS: dict[str, Callable[[F], F]] = {
    "trainable": click.option(
        "--trainable/--frozen", default=None, help="Only parameters known to be trainable, or frozen"
    ),
    "dtype": click.option("--dtype", metavar="DTYPE", help="Only arrays of this dtype"),
    "kind": click.option(
        "--kind",
        type=click.Choice(("weight", "bias", "norm", "state", "optimizer")),
        help="Only parameters of this kind",
    ),
    "min_size": click.option(
        "--min-size", type=click.IntRange(0), metavar="N", help="Only arrays of at least N values"
    ),
}


def filters_without_dtype(function: F) -> F:
    """Add the filters to a command whose --dtype is another option; they reach it under their own names."""
    command = function
    for name, option in reversed(_FILTERS.items()):  # a decorator puts its option before the earlier ones
        command = option(command) if name != "dtype" else command
    return command


def filters(function: F, dtype_help: str | None = None) -> F:
    """Add --trainable/--frozen, --dtype, --kind and --min-size, which reach the command as one dict, ``filters``.

    dtype_help: of a command whose --dtype has a second meaning.
    """

    @wraps(function)
    def with_filters(
        *args: Any, trainable: bool | None, dtype: str | None, kind: str | None, min_size: int | None, **others: Any
    ) -> Any:
        filters = {"trainable": trainable, "dtype": dtype, "kind": kind, "min_size": min_size}
        return function(*args, filters=filters, **others)

    command: Any = with_filters
    for name, option in reversed(_FILTERS.items()):
        if name == "dtype" and dtype_help is not None:
            option = click.option("--dtype", metavar="DTYPE", help=dtype_help)
        command = option(command)
    return command  # type: ignore[no-any-return]
