"""Checkpoint: a file of arrays, as the ``read`` of every format returns it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, get_args

from paramctl.core.ordering import in_numeric_order
from paramctl.core.parameter import Axis, Encoding, Parameter, ParameterKind
from paramctl.declare.located import MAX_DEPTH
from paramctl.errors import ParamctlError
from paramctl.model import Document, Model, Tie, from_document
from paramctl.model.tree import Block
from paramctl.store.contents import OptimizerState, Origin, Reader

MAX_NAME_PARTS = 10 * MAX_DEPTH
KINDS = get_args(ParameterKind)
CACHED = 256
"""A file has few shapes."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The arrays of a file as a model, a reader of their values, and everything else that the file records."""

    model: Model
    reader: Reader
    origin: Origin

    @property
    def skipped(self) -> tuple[str, ...]:
        """The skipped content of the file, each item with its kind: "notes (text)"."""
        return tuple(f"{name} ({kind})" for name, kind in self.origin.skipped.items())


class TooManyParts(ValueError):
    """A name with more parts than any honest file has, which would make too deep a tree."""


def stored_parameter(
    name: str, shape: tuple[int, ...], dtype: str, attributes: object = None, encoding: Encoding | None = None
) -> Parameter:
    """Return an array in a file as a parameter.

    attributes: its recorded axes, kind, and trainable, in a file of paramctl's own. A malformed one is ignored.
    encoding: of quantized values.
    """
    known = attributes if isinstance(attributes, dict) else {}
    if not known:  # in the files of most programs, which may have many thousands of arrays
        return Parameter(name, _unknown_axes(shape), "unknown", None, None, dtype, encoding)
    text = known.get("axes")
    roles = text.split(", ") if isinstance(text, str) and text else []
    roles = roles if len(roles) == len(shape) else ["unknown"] * len(shape)
    axes = tuple(_parse_axis(size, role) for size, role in zip(shape, roles, strict=True))
    kind: ParameterKind = known["kind"] if known.get("kind") in KINDS else "unknown"
    trainable = known.get("trainable")
    return Parameter(name, axes, kind, trainable if isinstance(trainable, bool) else None, None, dtype, encoding)


@lru_cache(CACHED)
def _unknown_axes(shape: tuple[int, ...]) -> tuple[Axis, ...]:
    return tuple(Axis(size, "unknown") for size in shape)


def _parse_axis(size: int, text: str) -> Axis:
    """Parse an axis as metadata.axis_text writes it: ``out/4:2``. Its role is unknown if the text is malformed."""
    if text == "unknown":
        return Axis(size, "unknown")
    role, _, stride = text.partition(":")
    role, _, groups = role.partition("/")
    # Nine digits are more than any kernel has; int() raises ValueError beyond 4,300, which a hostile file can have.
    counts = [int(count) if count.isdecimal() and len(count) <= 9 else 1 for count in (groups, stride)]
    counts = [max(count, 1) for count in counts]
    if role not in ("in", "out", "field", "batch") or size % counts[0]:
        return Axis(size, "unknown")
    return Axis(size, role, *counts)  # type: ignore[arg-type]


def tied_parameter(tie: Tie, kept: Parameter) -> Parameter:
    """Return the second name of an array as a parameter."""
    axes = kept.axes[::-1] if tie.transpose else kept.axes
    return Parameter(tie.tied, axes, kept.kind, kept.trainable, None, kept.dtype, kept.encoding)


def take_state(parameters: dict[str, Parameter], reader: Reader) -> OptimizerState | None:
    """Remove the arrays that a file of paramctl's own records as an optimizer's, and return them; None without any."""
    # before the model is built: a document declares the parameters alone
    arrays = {path: parameter for path, parameter in parameters.items() if not parameter.is_parameter}
    for path in arrays:
        del parameters[path]
    return OptimizerState(arrays, reader) if arrays else None


def build_model(
    name: str, parameters: Mapping[str, Parameter], ties: tuple[Tie, ...], document: Document | None = None
) -> tuple[Model, Document | None]:
    """Build the model of a file's arrays: the tree of its document if the arrays fit it, else the tree of their names.

    Returns the model; and the document if the arrays do not fit it, because they have another layout or other names.
    Raises TooManyParts.
    """
    origin = None
    if document is not None:
        with suppress(ParamctlError):  # another version's document may not build; the arrays can still be read
            model = replace(from_document(document, name), ties=ties)
            origin = document
            declared = {path: parameter.shape for path, parameter in model.parameters.items()}
            if declared == {path: parameter.shape for path, parameter in parameters.items()}:
                return model.map_parameters(lambda parameter: _as_stored(parameter, parameters[parameter.path])), None
    # torch's names: layers.0.weight. With a slash in any name, dots are ordinary characters: block/conv2.5x5/kernel.
    is_dotted = not any("/" in path for path in parameters) and any("." in path for path in parameters)
    separator = "." if is_dotted else "/"
    return Model(name, (), (), name_tree(parameters, separator), ties, separator=separator), origin


def _as_stored(declared: Parameter, stored: Parameter) -> Parameter:
    """Return a parameter of the document with the dtype of the file, and with trainable as the file records it."""
    trainable = declared.trainable if stored.trainable is None else stored.trainable
    return replace(declared, trainable=trainable, dtype=stored.dtype)


def name_tree(parameters: Mapping[str, Parameter], separator: str) -> tuple[Block, ...]:
    """Return the tree that the names of arrays form, groups in the order of their first array. Raises TooManyParts."""
    if any(path.count("/") + path.count(".") > MAX_NAME_PARTS for path in parameters):
        raise TooManyParts(f"a name has more than {MAX_NAME_PARTS} parts")
    tree: dict[str, Any] = {}
    groups = {"": tree}
    """By the beginning of the paths in it."""
    for path, parameter in parameters.items():
        name = path.rpartition(separator)[2]
        folder = path[: len(path) - len(name)]
        group = groups.get(folder)
        if group is None:
            group = tree
            for part in folder.split(separator)[:-1]:
                # a group's key ends in the separator, so that it cannot clash with an array of the same name
                group = group.setdefault(f"{part}{separator}", {})
            groups[folder] = group
        group[name] = parameter
    return tuple(_blocks(tree, "", separator))


def _blocks(tree: Mapping[str, Any], prefix: str, separator: str) -> Iterator[Block]:
    for name in in_numeric_order(tree):
        inner = tree[name]
        if isinstance(inner, dict):
            path = f"{prefix}{name.removesuffix(separator)}"
            members = [inner[member] for member in in_numeric_order(inner)]
            parameters = tuple([member for member in members if isinstance(member, Parameter)])
            has_groups = len(parameters) < len(members)
            blocks = tuple(_blocks(inner, f"{path}{separator}", separator)) if has_groups else ()
            yield Block(path, "group", None, (), parameters, blocks)
        elif not prefix:  # an array at the root is a row of its own
            yield Block(inner.path, "array", None, (), (inner,))
