"""The metadata of paramctl's own files: everything that they record besides values, as JSON, the same in every format.

The readers here treat damaged or foreign metadata as missing, because the arrays can still be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from paramctl import __version__
from paramctl.core.parameter import Axis, Parameter
from paramctl.declare.located import MAX_INTEGER
from paramctl.model import Document, Tie
from paramctl.store.contents import Contents, KerasLayout, MetadataItem, Omitted, OptimizerState, Provenance
from paramctl.store.sums import KEY as SUMS
from paramctl.store.sums import SUMMARY

VERSION = 1
"""The version of this metadata."""
MAX_SCHEME_TEXT = 4_000
ORIGIN_KEYS = ("scheme", "seed", "exactly")
"""The attributes of an array that record the origin of its values."""


def file_metadata(contents: Contents) -> dict[str, Any]:
    """Return the metadata of a new file. Its key ``parameters`` maps paths to array_attributes."""
    from paramctl.init.engines.streams import RECIPE  # NumPy comes with it, which reading needs not

    model, origin = contents.model, contents.origin
    metadata: dict[str, Any] = {
        "version": VERSION,
        "recipe": RECIPE,
        "written_by": f"paramctl {__version__}",
        "ties": [[tie.kept, tie.tied, tie.transpose] for tie in model.ties],
        "parameters": {
            owner.path: array_attributes(owner, origin.provenance.get(owner.path)) for owner in model.owners()
        },
    }
    if origin.keras is not None:
        keras = origin.keras
        metadata["keras"] = [dict(keras.variables), dict(keras.names), keras.config, *([True] if keras.legacy else [])]
        state = origin.carried_optimizer
        if state is not None and state.arrays.keys() <= model.parameters.keys():
            # older versions read the fourth item, and ignore the fifth
            metadata["keras"][3:] = [keras.legacy, dict(state.names)]
    document = model.document or origin.document
    if document is not None:
        metadata["document"] = document.text
        metadata["model"] = {
            "name": document.name,
            "variables": document.variables,
            "input_shapes": document.input_shapes,
        }
    return metadata


def array_attributes(parameter: Parameter, provenance: Provenance | None) -> dict[str, Any]:
    """Return the attributes that a file records of an array, without unknown ones."""
    provenance = provenance or Provenance()
    axes = ", ".join(map(axis_text, parameter.axes))
    attributes = {  # None is not written: a missing attribute means unknown
        "axes": axes if axes and "unknown" not in axes else None,
        "kind": parameter.kind if parameter.kind != "unknown" else None,
        "trainable": parameter.trainable,
        "scheme": provenance.scheme[:MAX_SCHEME_TEXT] if provenance.scheme else None,
        "seed": provenance.seed,
        "exactly": provenance.exactly,
    }
    return {name: value for name, value in attributes.items() if value is not None}


def provenance_of(attributes: Mapping[str, Any]) -> Provenance:
    """Return what the attributes of an array record of how it came by its values."""
    scheme, seed, exactly = (attributes.get(key) for key in ORIGIN_KEYS)
    has_seed = type(seed) is int and 0 <= seed <= MAX_INTEGER
    return Provenance(
        scheme if isinstance(scheme, str) else None,
        seed if has_seed else None,
        exactly=exactly if isinstance(exactly, str) else None,
    )


def axis_text(axis: Axis) -> str:
    """Return an axis as text, its role, groups and stride: ``out/4`` has 4 groups, ``field:2`` a stride of 2."""
    groups = f"/{axis.groups}" if axis.groups > 1 else ""
    return f"{axis.role}{groups}" + (f":{axis.stride}" if axis.stride > 1 else "")


def document_of(metadata: Mapping[str, Any]) -> Document | None:
    """Return the recorded document, or None if it is missing or malformed."""
    try:
        model = metadata["model"]
        shapes = tuple((name, shape) for name, shape in model["input_shapes"])
        document = Document(metadata["document"], model["name"], dict(model["variables"]), shapes)
    except (ValueError, TypeError, KeyError):
        return None
    inputs = (name for name, _ in shapes if name is not None)
    texts = [document.text, document.name, *document.variables, *inputs]
    return document if all(isinstance(text, str) for text in texts) else None


def keras_of(metadata: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> KerasLayout | None:
    """Return the recorded layout of a Keras file, or None if it is missing, malformed, or of other parameters."""
    try:
        variables, names, config, *legacy = metadata["keras"]
        layout = KerasLayout(dict(variables), dict(names), config, legacy[:1] == [True])
        texts = [*layout.variables.values(), *layout.names.values(), *layout.names, config or ""]
    except (ValueError, TypeError, KeyError):
        return None
    fits = layout.variables.keys() == parameters.keys() and all(isinstance(text, str) for text in texts)
    return layout if fits else None


def with_keras(
    state: OptimizerState | None, metadata: Mapping[str, Any], layout: KerasLayout | None
) -> OptimizerState | None:
    """Return an optimizer's state with the names that its objects have in a Keras file, if these are recorded."""
    try:
        names = dict(metadata["keras"][4])
    except (ValueError, TypeError, KeyError, IndexError):
        return state
    if state is None or layout is None or not all(isinstance(text, str) for item in names.items() for text in item):
        return state
    return replace(state, names=names, layout=layout)


def sums_item(metadata: Mapping[str, Any]) -> Iterator[MetadataItem]:
    """Yield the record of hashes as one short item, if a file's metadata has one."""
    if SUMS in metadata:
        yield MetadataItem("", SUMS, Omitted(SUMMARY))


def record_items(record: Mapping[str, Any]) -> Iterator[MetadataItem]:
    """Yield paramctl's own record of a file as metadata: of the file, and of each array, the origin of its values."""
    for key, value in record.items():
        if key not in ("parameters", "keras") and value not in ([], None):
            yield MetadataItem("", f"paramctl.{key}", value)
    arrays = record.get("parameters")
    for path, attributes in arrays.items() if isinstance(arrays, dict) else ():
        yield from origin_items(path, attributes)


def origin_items(path: str, attributes: object) -> Iterator[MetadataItem]:
    """Yield the scheme, the seed and the framework among the attributes of an array."""
    for key in ORIGIN_KEYS:
        if isinstance(attributes, Mapping) and key in attributes:
            yield MetadataItem(path, key, attributes[key])


def ties_of(metadata: Mapping[str, Any]) -> tuple[Tie, ...]:
    """Return the recorded ties; none if they are malformed."""
    try:
        return tuple(Tie(str(kept), str(tied), transpose is True) for kept, tied, transpose in metadata["ties"])
    except (ValueError, TypeError, KeyError):
        return ()


def transposed_ties_of(metadata: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> tuple[Tie, ...]:
    """Return the recorded transposed ties whose array is among these parameters, and whose tied name is free."""
    ties = (tie for tie in ties_of(metadata) if tie.transpose)
    return tuple(tie for tie in ties if tie.kept in parameters and tie.tied not in parameters)


def sort_ties(ties: Sequence[Tie], metadata: Mapping[str, Any]) -> tuple[Tie, ...]:
    """Return ties in the recorded order, unrecorded ones last. Of ties with the same tied name, keep the first."""
    recorded = metadata.get("ties")
    entries = enumerate(recorded) if isinstance(recorded, list) else ()
    order = {str(entry[1]): position for position, entry in entries if isinstance(entry, list) and len(entry) > 1}
    first = {tie.tied: tie for tie in reversed(ties)}.values()
    return tuple(sorted(first, key=lambda tie: order.get(tie.tied, len(order))))
