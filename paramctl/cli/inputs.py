"""From arguments to models and sources: open the documents and checkpoints that a command line names."""

from __future__ import annotations

from collections.abc import Sequence
from os.path import exists, isdir
from typing import TYPE_CHECKING

import click

from paramctl.cli.options import DEFAULT_MODEL
from paramctl.cli.render import tell
from paramctl.core.text import abbreviate, quantity

if TYPE_CHECKING:
    from paramctl.declare.located import Located
    from paramctl.library.weights import Weights
    from paramctl.model import Model


def open_argument(
    path: str | None,
    variables: tuple[str, ...] = (),
    input_shapes: tuple[str, ...] = (),
    rebuild_index: bool = False,
    lenient: bool = False,
) -> Model | Weights:
    """Open the model document or checkpoint that a command line names, and report what it skips.

    path: None for DEFAULT_MODEL in this folder, ``-`` for standard input.
    variables: the values of -D, each NAME=VALUE.
    input_shapes: the values of --input-shape.
    rebuild_index: open the files of a set with a new index.
    lenient: variables are ignored for a checkpoint, not an error.
    """
    from paramctl.library.opening import from_opened
    from paramctl.source.open import open_path, open_rebuilt
    from paramctl.store.folder import others_of
    from paramctl.store.urls import local_path

    if path is None:
        if not exists(DEFAULT_MODEL):
            raise click.UsageError(f"No model given, and no {DEFAULT_MODEL} in this folder. Use '-' for standard input")
        path = DEFAULT_MODEL
    if rebuild_index:
        opened, index = open_rebuilt(path)
        name_gone(index.path, index.gone)
        return from_opened(opened)
    path = local_path(path)
    if isdir(path):
        _name_others(path)
    opened = open_path(path, dict(map(_variable, variables)), dict(map(_input_shape, input_shapes)), lenient)
    if opened.checkpoint and (location := opened.checkpoint.origin.location) and (others := others_of(location)):
        tell(f"{path}: reading {location.name.rpartition('/')[2]}, not {abbreviate(others)}")
    if opened.checkpoint and (skipped := opened.checkpoint.skipped):
        items = quantity(len(skipped), "non-numeric item")
        tell(f"{path}: skipped {items}: {abbreviate(skipped)}")
    return from_opened(opened)


def note_state(arrays: Model | Weights, path: str | None) -> None:
    """Write to standard error that a file has no optimizer state, for --state."""
    import paramctl

    if isinstance(arrays, paramctl.Model) or arrays.source.origin.optimizer is None:
        tell(f"{path or DEFAULT_MODEL}: holds no optimizer state")


def input_files(words: tuple[str, ...]) -> str | dict[str, str] | None:
    """Return the files that --input names: None for random values, a file, or files by the names of inputs."""
    if not words or words == ("random",):
        return None
    if len(words) == 1 and "=" not in words[0]:
        return words[0]
    files = {}
    for word in words:
        name, _, path = word.partition("=")
        if not name or not path:
            raise click.UsageError(f"several inputs must be written --input NAME=FILE (got {word!r})")
        files[name] = path
    return files


def name_gone(index: str, names: Sequence[str]) -> None:
    """Write to standard error which names the old index of a set has, but no file of the set holds."""
    if names:
        tell(f"{index}: the old index also names {abbreviate(names)}, which no file holds")


def _name_others(folder: str) -> None:
    """Write to standard error which of several checkpoints in a folder is read."""
    from paramctl.store.folder import beside

    opened, others = beside(folder)
    if others:
        tell(f"{folder}: reading {opened}, not {abbreviate(others)}")


def _variable(text: str) -> tuple[str, Located]:
    """Return the name and the value in ``NAME=VALUE``."""
    from paramctl.model.document import parse_value

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"-D must be NAME=VALUE (got {text!r})")
    return name, parse_value(value, f"-D {name}")


def _input_shape(text: str) -> tuple[str | None, Located]:
    """Return the input's name, None if it is the only one, and its shape in ``[NAME=]SIZE,...``."""
    from paramctl.declare.located import Located
    from paramctl.model.document import parse_value

    name, equals, sizes = text.rpartition("=")
    sizes = sizes.strip("()[] ")  # a shape may be pasted from a summary: (28, 28, 1)
    if not sizes:
        raise click.UsageError(f"--input-shape must be sizes, such as 28,28,1 (got {text!r})")
    option = f"--input-shape {text}"
    axes = [parse_value(size.strip(), option) for size in sizes.rstrip(",").split(",")]
    return (name if equals else None), Located(axes, option)
