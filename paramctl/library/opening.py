"""Open model documents and checkpoints from Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, TypeAlias

from paramctl.address.quoting import partition_address
from paramctl.declare.located import Located
from paramctl.errors import AddressError, InputError
from paramctl.library.arguments import as_json, expect
from paramctl.library.arguments import seed as checked_seed
from paramctl.model import Model
from paramctl.model.document import parse_value
from paramctl.source.open import Opened, open_path, source_of
from paramctl.store import registry

if TYPE_CHECKING:
    from paramctl.library.weights import Weights
    from paramctl.source.base import Source

Openable: TypeAlias = "str | PathLike[str] | Model | Weights"
"""From which a function of this library takes its arrays: a path, a model, or weights."""

Shape = Sequence[int | None]


def load_model(
    path: str | PathLike[str],
    *,
    variables: Mapping[str, Any] | None = None,
    input_shapes: Shape | Mapping[str, Shape] | None = None,
) -> Model:
    """Load a model document, or the model of a checkpoint, without values.

    variables: values for the document's variables, by name.
    input_shapes: the shape of the only input, without the batch axis, or shapes by the names of inputs; None is an
        unknown size.
    Raises InputError if the file cannot be read, and DocumentError, with line and column, if the document is wrong.
    """
    if variables is not None:
        expect("variables", variables, Mapping, "a mapping")
    if input_shapes is not None:
        expect("input_shapes", input_shapes, (list, tuple, Mapping), "a list of sizes, or a mapping of them")
    values = {name: _located(value, f"variables[{name!r}]") for name, value in (variables or {}).items()}
    named = (
        input_shapes if isinstance(input_shapes, Mapping) else {None: input_shapes} if input_shapes is not None else {}
    )
    shapes = {name: _located(list(shape), f"input_shapes[{name!r}]") for name, shape in named.items()}
    return open_path(fspath(path), values, shapes).model


def _located(value: Any, argument: str) -> Located:
    """Return a Python value as a document has it. Errors name the argument."""
    return parse_value(as_json(argument, value), argument)


def open(path: str | PathLike[str]) -> Weights:  # noqa: A001  read as paramctl.open
    """Open a checkpoint of any format: a file, or a folder of safetensors.

    Reads only its header; values are read on demand. Raises InputError if it is damaged, or if the path is a model
    document.
    """
    arrays = from_opened(open_path(fspath(path)))
    if isinstance(arrays, Model):
        raise InputError(f"{fspath(path)}: must be a checkpoint, not a model document")
    return arrays


def rebuild_index(path: str | PathLike[str], *, on_gone: Callable[[Sequence[str]], None] | None = None) -> str:
    """Write the index of a set of files again, from their headers, and return its path.

    path: the folder of the files, or their index. The index is replaced atomically, and no other file is changed.
    on_gone: called with the names that the old index has, if no file holds some of them.
    Raises InputError if the files are damaged, or two have one array.
    """
    _, index = registry.rebuild_index(fspath(path))
    index.write()
    if index.gone and on_gone is not None:
        on_gone(index.gone)
    return index.path


def reopen(description: Mapping[str, Any]) -> Weights:
    """Return the weights of a description by ``Weights.describe``, in this process or another.

    Raises InputError if a file has changed since, and DocumentError if a custom scheme no longer loads.
    """
    from paramctl.edit.reopen import reopen as reopen_source  # imports every operation
    from paramctl.library.weights import Weights

    return Weights(reopen_source(description))


def openable(arrays: Openable) -> Model | Weights:
    """Return a model or weights unchanged; for a path, the model of a document or the weights of a checkpoint."""
    if isinstance(arrays, (str, PathLike)):
        return from_opened(open_path(fspath(arrays)))
    if isinstance(arrays, Model):
        return arrays
    from paramctl.library.weights import Weights  # imports NumPy, which a document does not need

    expect("arrays", arrays, Weights, "a path, a Model or Weights")
    return arrays


def from_opened(opened: Opened) -> Model | Weights:
    """Return the model of a document, or the weights of a checkpoint."""
    if opened.checkpoint is None:
        return opened.model
    from paramctl.library.weights import Weights  # imports NumPy, which a document does not need

    return Weights(source_of(opened), skipped=opened.checkpoint.skipped)


def as_source(arrays: Openable, seed: int | None = None, dtype: str | None = None, state: bool = False) -> Source:
    """Return the values of weights or a checkpoint, or those that a model's own initializers generate.

    seed, dtype: of generated values; the document's by default. state: add the arrays of the file's optimizer.
    """
    opened, seed = openable(arrays), checked_seed(seed)
    if isinstance(opened, Model):
        return source_of(Opened(opened, None), seed, dtype)
    if not state:
        return opened.source
    from paramctl.source.with_state import with_state  # imports NumPy, as weights do

    return with_state(opened.source)


def as_model(arrays: Openable) -> Model:
    """Return the model of anything openable. Shapes of a document's parameters may be unknown."""
    opened = openable(arrays)
    return opened if isinstance(opened, Model) else opened.model


def texts(value: str | Sequence[str]) -> list[str]:
    """Return one text, or several, as a list."""
    several = [value] if isinstance(value, str) else list(value)
    for text in several:
        expect("each item", text, str, "a text")
    return several


def rename_rules(rules: Mapping[str, str] | Sequence[str]) -> list[str]:
    """Return rules by pattern as ``PATTERN=NAME``."""
    if not isinstance(rules, Mapping):
        return texts(rules)
    for old in texts([*rules, *rules.values()])[: len(rules)]:
        if partition_address(old)[1]:  # the rule would be read as another
            raise AddressError("a pattern of a renaming can have an equals sign only in quotes", repr(old))
    return [f"{old}={new}" for old, new in rules.items()]
