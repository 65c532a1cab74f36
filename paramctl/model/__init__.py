"""Which parameters a model has: documents, the layers they may name, and the tree they become.

>>> model = load("sample_models/mlp.yaml")
>>> sum(parameter.size for parameter in model.owners())
25
"""

from collections.abc import Mapping
from pathlib import PurePath

from paramctl.model import document
from paramctl.model.build import build
from paramctl.model.tree import Block, Input, Model, Tie, Totals, shape_text, totals
from paramctl.node import Node

__all__ = ["Block", "Input", "Model", "Tie", "Totals", "build", "load", "shape_text", "totals"]


def load(
    path: str,
    variables: Mapping[str, Node] | None = None,
    input_shapes: Mapping[str | None, Node] | None = None,
) -> Model:
    """The model in a document: a file's path, or ``-`` for standard input.

    variables and input_shapes: see build. Raises InputError if the file cannot be read, and
    DocumentError, with line and column, if what it says is wrong.
    """
    node = document.read(path)
    name = "model" if path == "-" else PurePath(path).stem
    return build(node, name, variables, input_shapes)
