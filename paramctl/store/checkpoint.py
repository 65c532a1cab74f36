"""Checkpoint: what any file of parameters says, whatever its format, and how its values are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from paramctl import __version__
from paramctl.core.dtypes import Array
from paramctl.core.parameter import Axis, Parameter, ParameterKind
from paramctl.declare.located import MAX_DEPTH
from paramctl.errors import ParamctlError
from paramctl.model import Document, KerasLayout, Model, Tie, from_document
from paramctl.model.tree import Block
from paramctl.store.io.extents import Extent
from paramctl.store.location import Location

VERSION = 1
"""Of what paramctl's own files say beside values."""


class Reader(Protocol):
    """Reads the values of an array, from one place to another in C order."""

    def read(self, path: str, start: int, stop: int) -> Array: ...


class JoinedReader:
    """Reads each array from the file that has it."""

    def __init__(self, readers: Mapping[str, Reader]) -> None:
        self.readers = readers

    def read(self, path: str, start: int, stop: int) -> Array:
        return self.readers[path].read(path, start, stop)


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a file says of how an array came by its values: the scheme, and the seed if it was drawn."""

    scheme: str | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class OptimizerState:
    """An optimizer's and metrics' arrays, which are no parameters, by their paths in a Keras file.

    names: what the objects that have them call themselves, by their paths.
    """

    arrays: Mapping[str, Parameter]
    reader: Reader
    names: Mapping[str, str]

    @property
    def words(self) -> str:
        """Return how many there are, as ``26 optimizer or metric arrays``."""
        return f"{len(self.arrays):,} optimizer or metric {'array' if len(self.arrays) == 1 else 'arrays'}"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A file of parameters.

    notes: by path. skipped: arrays in it that are no numbers, by name. file and extents: where the
    values lie that may be changed in a copy of the file.
    """

    model: Model
    reader: Reader
    file: Location
    notes: Mapping[str, Provenance] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    extents: Mapping[str, Extent] = field(default_factory=dict)
    apart: OptimizerState | None = None
    more: tuple[str, ...] = ()
    """What else the file holds and only another of its format does: the assets of a ``.keras``."""

    def beside(self, model: Model) -> OptimizerState | None:
        """What stands apart and goes along into a Keras file of a model: whatever does, if its arrays lie as here."""
        return self.apart if model.keras is not None and model.keras is self.model.keras else None


def stored_parameter(name: str, shape: tuple[int, ...], dtype: str, told: object = None) -> Parameter:
    """An array in a file as a parameter. told: what the file says of it, axes, kind, trainable, if it does."""
    of = told if isinstance(told, dict) else {}
    axes_text = of.get("axes")
    roles = axes_text.split(", ") if isinstance(axes_text, str) and axes_text else []
    roles = roles if len(roles) == len(shape) else ["unknown"] * len(shape)
    axes = tuple(_axis(size, role) for size, role in zip(shape, roles, strict=True))
    kind: ParameterKind = of["kind"] if of.get("kind") in ("weight", "bias", "norm", "state") else "unknown"
    trainable = of.get("trainable")
    return Parameter(name, axes, kind, trainable if isinstance(trainable, bool) else None, None, dtype)


def axis_text(axis: Axis) -> str:
    """An axis in a file's attributes: its role, and what makes its fans true: ``out/4`` groups, ``field:2`` strides."""
    groups = f"/{axis.groups}" if axis.groups > 1 else ""
    return f"{axis.role}{groups}" + (f":{axis.stride}" if axis.stride > 1 else "")


def _axis(size: int, text: str) -> Axis:
    """The axis of such a text; of anything else, one whose role is not known."""
    role, _, stride = text.partition(":")
    role, _, groups = role.partition("/")
    counts = [int(each) if each.isdecimal() and int(each[:9]) > 0 else 1 for each in (groups, stride)]
    if role not in ("in", "out", "field", "batch") or size % counts[0]:
        return Axis(size, "unknown")
    return Axis(size, role, *counts)  # type: ignore[arg-type]


class TooManyParts(ValueError):
    """Names that make a tree deeper than any is; whoever knows the file tells it with its name."""


def model_of(
    name: str,
    parameters: Mapping[str, Parameter],
    ties: tuple[Tie, ...],
    document: Document | None = None,
    keras: KerasLayout | None = None,
) -> Model:
    """The model that a file holds: its document's tree if it has one that fits, else its groups'."""
    origin = None
    if document is not None:
        with suppress(ParamctlError):  # written by another version: the arrays are there all the same
            model = replace(from_document(document, name), ties=ties, keras=keras)
            origin = document
            if {path: each.shape for path, each in model.parameters.items()} == {
                path: each.shape for path, each in parameters.items()
            }:
                return model.map_parameters(lambda declared: _as_stored(declared, parameters[declared.path]))
    if any(path.count("/") + path.count(".") > 10 * MAX_DEPTH for path in parameters):
        raise TooManyParts(f"a name in it has more than {10 * MAX_DEPTH} parts")
    dotted = not any("/" in path for path in parameters) and any("." in path for path in parameters)
    separator = "." if dotted else "/"
    blocks = tuple(_groups(parameters, separator))
    return Model(name, (), (), blocks, ties, separator=separator, keras=keras, origin=origin)


def _as_stored(declared: Parameter, found: Parameter) -> Parameter:
    """A parameter of the document, with what the file has made of it."""
    trainable = declared.trainable if found.trainable is None else found.trainable
    return Parameter(declared.path, declared.axes, declared.kind, trainable, declared.initializer, found.dtype)


def _groups(parameters: Mapping[str, Parameter], separator: str) -> Iterator[Block]:
    """The tree that the names of arrays make, its groups in the order in which they first come."""
    tree: dict[str, Any] = {}
    for path, parameter in parameters.items():
        *folders, _ = path.split(separator)
        here = tree
        for folder in folders:
            here = here.setdefault(f"{folder}{separator}", {})
        here[path] = parameter
    yield from _blocks(tree, "", separator)


def _blocks(tree: Mapping[str, Any], prefix: str, separator: str) -> Iterator[Block]:
    for name, inner in tree.items():
        if isinstance(inner, dict):
            path = f"{prefix}{name.removesuffix(separator)}"
            own = tuple(each for each in inner.values() if isinstance(each, Parameter))
            yield Block(path, "group", None, (), own, tuple(_blocks(inner, f"{path}{separator}", separator)))
        elif not prefix:  # an array at the root is a row of its own
            yield Block(inner.path, "array", None, (), (inner,))


def file_metadata(model: Model, notes: Mapping[str, Provenance], recipe: int) -> dict[str, Any]:
    """What a file of paramctl's own says beside values, as JSON has it; see facts."""
    made: dict[str, Any] = {
        "version": VERSION,
        "recipe": recipe,
        "written_by": f"paramctl {__version__}",
        "ties": [[tie.kept, tie.tied, tie.transpose] for tie in model.ties],
        "parameters": {each.path: attributes(each, notes.get(each.path)) for each in model.owners()},
    }
    if model.keras is not None:
        made["keras"] = [dict(model.keras.variables), dict(model.keras.names), model.keras.config]
    document = model.document or model.origin
    if document is not None:
        made["document"] = document.text
        made["model"] = {
            "name": document.name,
            "variables": document.variables,
            "input_shapes": document.input_shapes,
        }
    return made


def attributes(parameter: Parameter, note: Provenance | None) -> dict[str, Any]:
    """What a file says of an array: what is known of it."""
    note = note or Provenance()
    axes = ", ".join(map(axis_text, parameter.axes))
    told = {
        "axes": axes if axes and "unknown" not in axes else None,
        "kind": parameter.kind if parameter.kind != "unknown" else None,
        "trainable": parameter.trainable,
        "scheme": note.scheme[:4_000] if note.scheme else None,
        "seed": note.seed,
    }
    return {name: value for name, value in told.items() if value is not None}


def document_of(own: Mapping[str, Any]) -> Document | None:
    """The document in what a file says; None should it not be what it must."""
    try:
        model = own["model"]
        shapes = tuple((name, shape) for name, shape in model["input_shapes"])
        made = Document(own["document"], model["name"], dict(model["variables"]), shapes)
    except (ValueError, TypeError, KeyError):
        return None
    texts = [made.text, made.name, *made.variables, *(name for name, _ in shapes if name is not None)]
    return made if all(isinstance(each, str) for each in texts) else None


def keras_of(own: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> KerasLayout | None:
    """Where Keras kept the arrays, in what a file says; None should it not be what it must."""
    try:
        variables, names, config = own["keras"]
        made = KerasLayout(dict(variables), dict(names), config)
        texts = [*made.variables.values(), *made.names.values(), *made.names, config or ""]
    except (ValueError, TypeError, KeyError):
        return None
    known = made.variables.keys() == parameters.keys() and all(isinstance(each, str) for each in texts)
    return made if known else None


def ties_of(own: Mapping[str, Any]) -> tuple[Tie, ...]:
    """The ties in what a file says; none should they not be what they must."""
    try:
        return tuple(Tie(str(kept), str(tied), transpose is True) for kept, tied, transpose in own["ties"])
    except (ValueError, TypeError, KeyError):
        return ()


def transposed_of(own: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> tuple[Tie, ...]:
    """The transposed ties in what a file says, those that can be."""
    ties = (tie for tie in ties_of(own) if tie.transpose)
    return tuple(tie for tie in ties if tie.kept in parameters and tie.tied not in parameters)


def sort_ties(ties: Sequence[Tie], own: Mapping[str, Any]) -> tuple[Tie, ...]:
    """The ties in the order in which the file lists them, as far as it does."""
    listed = own.get("ties")
    places = enumerate(listed) if isinstance(listed, list) else ()
    order = {str(each[1]): place for place, each in places if isinstance(each, list) and len(each) > 1}
    first = {tie.tied: tie for tie in reversed(ties)}.values()
    return tuple(sorted(first, key=lambda tie: order.get(tie.tied, len(order))))


def tied_to(tie: Tie, kept: Parameter) -> Parameter:
    """The other name of an array as a parameter of its own."""
    axes = kept.axes[::-1] if tie.transpose else kept.axes
    return Parameter(tie.tied, axes, kept.kind, kept.trainable, None, kept.dtype)
