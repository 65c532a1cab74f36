"""Models: documents, the layers they may contain, and the tree of blocks and parameters they describe.

>>> model = load("sample_models/mlp.yaml")
>>> sum(parameter.size for parameter in model.owners())
25
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePath

from paramctl.declare.located import Located
from paramctl.model import document
from paramctl.model.build import build
from paramctl.model.entry import Entry
from paramctl.model.tree import Block, Document, Input, Model, Tie, Totals, shape_text, shared_text, totals

__all__ = [
    "Block",
    "Document",
    "Input",
    "Model",
    "Tie",
    "Totals",
    "build",
    "from_bytes",
    "from_document",
    "load",
    "shape_text",
    "shared_text",
    "totals",
]


def load(
    path: str,
    variables: Mapping[str, Located] | None = None,
    input_shapes: Mapping[str | None, Located] | None = None,
) -> Model:
    """Return the model in a document. path: a file, or ``-`` for standard input.

    variables, input_shapes: see build.
    Raises InputError if the file cannot be read, and DocumentError, with line and column, if the document is wrong.
    """
    return from_bytes(document.read(path), path, variables, input_shapes)


def from_bytes(
    data: bytes,
    path: str,
    variables: Mapping[str, Located] | None = None,
    input_shapes: Mapping[str | None, Located] | None = None,
) -> Model:
    """Return the model in a document with these bytes. path: the document's file, for its name; see load."""
    source = document.source_name(path)
    text = document.decode(data, source)
    name = "model" if path == "-" else PurePath(path).stem
    model = build(document.parse(text, source), name, variables, input_shapes)
    values = {key: node.plain() for key, node in (variables or {}).items()}
    shapes = tuple((key, node.plain()) for key, node in (input_shapes or {}).items())
    return replace(model, document=Document(text, model.name, values, shapes, source))


def from_document(written: Document, source: str, entries: dict[str, Entry] | None = None) -> Model:
    """Return the model of a document that is stored in a checkpoint, with the values of its variables.

    entries: see build.
    """
    variables = {key: document.parse_value(json.dumps(value), f"-D {key}") for key, value in written.variables.items()}
    shapes = {key: document.parse_value(json.dumps(value), "--input-shape") for key, value in written.input_shapes}
    model = build(document.parse(written.text, source), written.name, variables, shapes, entries)
    return replace(model, document=written)
