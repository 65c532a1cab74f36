"""Arguments and options that commands share.

    model         MODEL: a document, '-', or model.yaml here
    source        SOURCE: the same, or a checkpoint
    patterns      PATTERN...: what of it
    addresses     ADDRESS...: what of it, with slices
    filters       --trainable/--frozen, --dtype, --kind, --min-size
    define        -D NAME=VALUE: variables of the document
    input_shape   --input-shape [NAME=]SIZES
    seed          --seed N, or random
    dtype         --dtype
    fan_convention  --fan-convention
    layout        --layout
    output        -o FILE
    force         --force
    format_       --format, from a list of formats

What reads them, inside a command's body: opened, as_drawn, kinds, default_output.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from os.path import exists
from typing import TYPE_CHECKING, Any, TypeVar

import click

from paramctl.cli.render import printable

if TYPE_CHECKING:
    from paramctl.declare.located import Located
    from paramctl.model import Model
    from paramctl.source.base import Source
    from paramctl.source.open import Opened

DEFAULT_MODEL = "model.yaml"

F = TypeVar("F", bound=Callable[..., Any])

model: Callable[[F], F] = click.argument(
    "model",
    required=False,
    type=click.Path(allow_dash=True),
    help=f"A model document or a checkpoint; '-' is standard input. [default: {DEFAULT_MODEL}]",
)

source: Callable[[F], F] = click.argument(
    "source",
    required=False,
    type=click.Path(allow_dash=True),
    help="A model document or a checkpoint (Keras, safetensors, HDF5, npz); '-' is standard input."
    f" [default: {DEFAULT_MODEL}]",
)


def complete_address(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The paths, of blocks and parameters, in the model or file on the command line."""
    from paramctl.errors import ParamctlError
    from paramctl.source.open import open_source

    path = context.params.get("source") or context.params.get("model") or DEFAULT_MODEL
    try:
        model = open_source(path).model if path != "-" else None
    except ParamctlError:
        return []
    paths = [*dict.fromkeys(block.path for block in model.walk()), *model.parameters] if model else []
    return [each for each in paths if each.startswith(incomplete)]


addresses: Callable[[F], F] = click.argument(
    "addresses",
    shell_complete=complete_address,
    metavar="[ADDRESS]...",
    nargs=-1,
    help="Which parameters: a path, a pattern or a place, and perhaps a slice of values as NumPy writes it, [0, :5];"
    " ADDRESSES in paramctl(1) has all.",
)

patterns: Callable[[F], F] = click.argument(
    "patterns",
    shell_complete=complete_address,
    metavar="[PATTERN]...",
    nargs=-1,
    help="What of it: the path of a layer or parameter; *, ? and ** stand for parts of names, and for names.",
)

define: Callable[[F], F] = click.option(
    "-D",
    "--define",
    "define",
    metavar="NAME=VALUE",
    multiple=True,
    help="A value for a variable of the document. May be repeated.",
)

input_shape: Callable[[F], F] = click.option(
    "--input-shape",
    "input_shape",
    metavar="[NAME=]SIZE,...",
    multiple=True,
    help="The shape of an input, the batch left out; a size not known is null. May be repeated.",
)


class Seed(click.ParamType[int]):
    """A whole number, or ``random``."""

    name = "N|random"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        if value == "random":
            import secrets

            return secrets.randbits(48)
        if not value.isdecimal() or int(value[:20]) >= 2**63:
            self.fail(f"a seed is a whole number, not negative, below 2^63, or 'random' (got {value!r})")
        return int(value)


class Size(click.ParamType[int]):
    """A number of bytes, in the units of Hugging Face: KB, MB and GB are decimal."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        number, unit = value.rstrip("KMGTB"), value[len(value.rstrip("KMGTB")) :]
        units = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
        if unit not in units or not number.isdecimal() or not int(number):
            self.fail(f"a size is a positive whole number with KB, MB, GB or nothing after it (got {value!r})")
        return int(number) * units[unit]


seed: Callable[[F], F] = click.option(
    "--seed",
    type=Seed(),
    metavar="N|random",
    help="What values are drawn from; random draws one, and records it. [default: the document's, else 0]",
)

DRAWN = ("float16", "bfloat16", "float32", "float64")
"""The dtypes in which a model is drawn."""

dtype: Callable[[F], F] = click.option(
    "--dtype",
    type=click.Choice(DRAWN),
    help="The dtype of floating-point arrays. [default: the one they have]",
)


def fan_convention(default: str) -> Callable[[F], F]:
    """--fan-convention."""
    return click.option(
        "--fan-convention",
        type=click.Choice(("true", "keras", "torch")),
        help="How fans are counted where kernels are grouped, depthwise or transposed, and in attention: truly, or as"
        f" a framework does. {default}",
    )


def layout(help: str) -> Callable[[F], F]:
    """--layout."""
    return click.option("--layout", type=click.Choice(("keras", "torch")), help=help)


force: Callable[[F], F] = click.option("--force", is_flag=True, help="Replace a file that exists.")

in_place: Callable[[F], F] = click.option(
    "--in-place", is_flag=True, help="Change the source itself, by a copy that takes its place."
)

rename: Callable[[F], F] = click.option(
    "--rename",
    metavar="PATTERN=NAME",
    multiple=True,
    help="Another name for what matches; the wildcards of the pattern stand in the name. May be repeated.",
)


def check_destination(source: str | None, output: str | None, in_place: bool, dry_run: bool = False) -> None:
    """Refuse, before any work, neither or both of -o and --in-place, and a pipe in place."""
    if in_place and output is not None:
        raise click.UsageError("-o and --in-place exclude each other.")
    if in_place and source in (None, "-"):
        raise click.UsageError("What is changed in place is a file, and it must be named.")
    if output is None and not in_place and not dry_run:
        raise click.UsageError("Give a file to write by -o, or --in-place.")


def filters(function: F) -> F:
    """--trainable/--frozen, --dtype, --kind, --min-size: what they say comes as one argument, ``keep``."""

    @wraps(function)
    def filtered(
        *args: Any, trainable: bool | None, dtype: str | None, kind: str | None, min_size: int | None, **others: Any
    ) -> Any:
        from paramctl.address.resolve import Filters

        return function(*args, keep=Filters(trainable, dtype, kind, min_size), **others)

    options = [
        click.option("--trainable/--frozen", default=None, help="Only what is trained, or is not."),
        click.option("--dtype", metavar="DTYPE", help="Only arrays of this dtype."),
        click.option(
            "--kind", type=click.Choice(("weight", "bias", "norm", "state")), help="Only parameters of this kind."
        ),
        click.option("--min-size", type=click.IntRange(0), metavar="N", help="Only arrays of so many values or more."),
    ]
    made: Any = filtered
    for option in reversed(options):
        made = option(made)
    return made  # type: ignore[no-any-return]


def output(help: str, required: bool = False) -> Callable[[F], F]:
    """-o, --output."""
    return click.option("-o", "--output", "output", metavar="FILE", required=required, help=help)


def format_(*formats: str) -> Callable[[F], F]:
    """--format, the first of these being the default."""
    return click.option(
        "--format",
        "format",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        help="How to print it.",
    )


def open_argument(path: str | None, variables: tuple[str, ...], input_shapes: tuple[str, ...]) -> Opened:
    """The model or checkpoint that the arguments above describe."""
    from paramctl.source.open import open_source

    if path is None:
        if not exists(DEFAULT_MODEL):
            raise click.UsageError(f"No MODEL is given, and there is no {DEFAULT_MODEL} here; '-' is standard input.")
        path = DEFAULT_MODEL
    found = open_source(path, dict(map(_definition, variables)), dict(map(_shape, input_shapes)))
    if found.checkpoint and found.checkpoint.skipped:
        click.echo(
            printable(f"{path}: passed over {abbreviate(found.checkpoint.skipped)}, which hold no numbers"), err=True
        )
    return found


def abbreviate(names: tuple[str, ...]) -> str:
    """The first of them, and how many more there are."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")


def as_drawn(found: Opened, seed: int | None = None, dtype: str | None = None) -> Source:
    """The source that is a model drawn by its own initializers, or a checkpoint as it is."""
    from paramctl.init.rules import assign_schemes
    from paramctl.source.base import Source

    model = require_built(found.model).with_dtype(dtype)
    chosen = {} if found.checkpoint else assign_schemes(model)
    return Source(model, chosen, seed if seed is not None else model.seed or 0, found.checkpoint)


def like_model(like: str) -> Model:
    """The model of --like."""
    from paramctl.convert.match import with_layers

    model = open_argument(like, (), ()).model
    return require_built(with_layers(model) or model)


def require_built(model: Model) -> Model:
    """The model, unless some of its shapes are not known."""
    if model.unbuilt:
        waiting = "1 layer waits" if model.unbuilt == 1 else f"{model.unbuilt:,} layers wait"
        raise click.UsageError(f"{waiting} for the shape of an input: give it by --input-shape.")
    return model


def default_output(model: Model) -> str:
    """NAME.h5 here."""
    if not model.name or "/" in model.name or "\0" in model.name:
        raise click.UsageError(f"{model.name!r} cannot name a file: give one by -o.")
    return f"{model.name}.h5"


def warm_up(output: str) -> None:
    """Have the process that lays out HDF5 start while the model is read. Raises OutputError for another suffix."""
    from paramctl import store
    from paramctl.store.hdf5.client import warm_up

    if not output.endswith("/") and store.format_of(output) is store.HDF5:
        warm_up()


def refuse_terminal(what: str) -> None:
    """Binary data belongs in a pipe or a file."""
    if sys.stdout.isatty():
        raise click.UsageError(f"{what} is binary, and standard output is a terminal: redirect it, or pipe it on.")


def _definition(text: str) -> tuple[str, Located]:
    from paramctl.model.document import parse_value

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"-D is followed by NAME=VALUE (got {text!r})")
    return name, parse_value(value, f"-D {name}")


def _shape(text: str) -> tuple[str | None, Located]:
    from paramctl.declare.located import Located
    from paramctl.model.document import parse_value

    name, equals, sizes = text.rpartition("=")
    if not sizes.strip("()[] "):
        raise click.UsageError(f"--input-shape is followed by sizes, such as 28,28,1 (got {text!r})")
    source = f"--input-shape {text}"
    each = [parse_value(size.strip(), source) for size in sizes.strip("()[] ").rstrip(",").split(",")]
    return (name if equals else None), Located(each, source)
