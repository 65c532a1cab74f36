"""Arguments and options that commands share.

    model         MODEL: a document, '-', or model.yaml here
    patterns      PATTERN...: what of it
    define        -D NAME=VALUE: variables of the document
    input_shape   --input-shape [NAME=]SIZES
    format_       --format, from a list of formats

What reads them, inside a command's body: load.
"""

from __future__ import annotations

from collections.abc import Callable
from os.path import exists
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from paramctl.model import Model
    from paramctl.node import Node

DEFAULT_MODEL = "model.yaml"

F = TypeVar("F", bound=Callable[..., Any])

model: Callable[[F], F] = click.argument(
    "model",
    required=False,
    type=click.Path(allow_dash=True),
    help=f"A model document; '-' is standard input. [default: {DEFAULT_MODEL}]",
)

patterns: Callable[[F], F] = click.argument(
    "patterns",
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


def load(path: str | None, variables: tuple[str, ...], input_shapes: tuple[str, ...]) -> Model:
    """The model that the arguments above describe."""
    from paramctl.model import load as load_model

    if path is None:
        if not exists(DEFAULT_MODEL):
            raise click.UsageError(f"No MODEL is given, and there is no {DEFAULT_MODEL} here; '-' is standard input.")
        path = DEFAULT_MODEL
    return load_model(path, dict(map(_definition, variables)), dict(map(_shape, input_shapes)))


def _definition(text: str) -> tuple[str, Node]:
    from paramctl.model.document import parse_value

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"-D is followed by NAME=VALUE. Received: {text!r}.")
    return name, parse_value(value, f"-D {name}")


def _shape(text: str) -> tuple[str | None, Node]:
    from paramctl.model.document import parse_value
    from paramctl.node import Node

    name, equals, sizes = text.rpartition("=")
    if not sizes.strip("()[] "):
        raise click.UsageError(f"--input-shape is followed by sizes, such as 28,28,1. Received: {text!r}.")
    source = f"--input-shape {text}"
    each = [parse_value(size.strip(), source) for size in sizes.strip("()[] ").rstrip(",").split(",")]
    return (name if equals else None), Node(each, source, 1, 1)
