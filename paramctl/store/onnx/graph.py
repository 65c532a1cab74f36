"""The arrays of an ONNX model: the initializers and constants of its graph, of graphs in it, and of functions."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from paramctl.store.io.protobuf import Field, Message
from paramctl.store.onnx.fields import GRAPH, MODEL_FIELDS
from paramctl.store.onnx.tensors import LISTS, MAX_NAME, TEXT_LISTS, Tensor, read_numbers, read_pair, read_tensor

MAX_GRAPHS = 30
"""The depth of graphs within graphs."""
TEXTS = {2: "producer_name", 3: "producer_version", 4: "domain", 6: "doc_string"}
INTEGERS = {1: "ir_version", 5: "model_version"}
SPARSE = "a sparse tensor"


@dataclass(slots=True)
class ModelReader:
    """A walk over the message of a model.

    tensors: the tensors, each with its scope, which is empty for the main graph. skipped: kinds of others, by name.
    gathered: the bytes of numbers that are not in one piece of the file. scopes: of the nodes with attributes.
    """

    tensors: list[tuple[str, Tensor]] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    gathered: bytearray = field(default_factory=bytearray)
    scopes: set[str] = field(default_factory=set)
    nodes: int = 0
    graphs: int = 0
    has_training: bool = False

    def read_model(self, model: Message) -> None:
        """Read the fields of a model. Raises ValueError if it is damaged."""
        for entry in model.fields():
            if MODEL_FIELDS.get(entry.number, entry.kind) != entry.kind:
                raise ValueError(f"field {entry.number} of the model has the wire type {entry.kind}")
            if entry.number in TEXTS:
                self._add_metadata(TEXTS[entry.number], entry.text())
            elif entry.number in INTEGERS:
                self.metadata[INTEGERS[entry.number]] = entry.signed
            elif entry.number == GRAPH:
                self.graphs += 1
                self._read_graph(entry.message, "", 0)
            elif entry.number == 8:
                self._read_operators(entry.message)
            elif entry.number == 14:
                key, value = read_pair(entry.message)
                self._add_metadata(f"metadata_props.{key}", value)
            elif entry.number == 20:
                self.has_training = True
            elif entry.number == 25:
                self._read_function(entry.message)
        if "ir_version" not in self.metadata or self.graphs != 1:
            raise ValueError("a model must have a version and one graph")

    def named(self) -> dict[str, Tensor]:
        """Return the tensors by name. A name that several graphs have is preceded by each graph's scope.

        Raises ValueError for two tensors of one name in a graph, and for a tensor without a name.
        """
        # both branches of an If may have an initializer "weight", whose values differ
        counts = Counter(tensor.name for _, tensor in self.tensors)
        by_name: dict[str, Tensor] = {}
        for scope, tensor in self.tensors:
            name = f"{scope}{tensor.name}" if counts[tensor.name] > 1 else tensor.name
            if not name or name in by_name:
                raise ValueError(f"two tensors are named {name!r}" if name else "a tensor has no name")
            by_name[name] = tensor
        return by_name

    def _add_metadata(self, key: str, text: str) -> None:
        if text:
            self.metadata[key] = text

    def _read_operators(self, entry: Message) -> None:
        domain, version = "ai.onnx", 0
        for part in entry.fields():
            if part.number == 1:
                domain = part.text(MAX_NAME) or domain
            elif part.number == 2:
                version = part.signed
        self.metadata[f"opset_import.{domain}"] = version

    def _read_graph(self, graph: Message, scope: str, depth: int) -> None:
        if depth > MAX_GRAPHS:
            raise ValueError(f"graphs must be nested at most {MAX_GRAPHS} deep")
        for entry in graph.fields():
            if entry.number == 1:
                self._read_node(entry.message, scope, depth)
            elif entry.number == 5:
                self.tensors.append((scope, read_tensor(entry.message, self.gathered)))
            elif entry.number == 15:
                self._skip_sparse(entry.message, scope, "")

    def _read_function(self, function: Message) -> None:
        nodes: list[Message] = []
        texts = {1: "", 10: "", 13: ""}  # the name, its domain, and which of several functions of this name it is
        for entry in function.fields():
            if entry.number == 7:
                nodes.append(entry.message)
            elif entry.number in texts:
                texts[entry.number] = entry.text(MAX_NAME)
        scope = f"{'.'.join(filter(None, (texts[10], texts[1], texts[13])))}/"
        for node in nodes:
            self._read_node(node, scope, 0)

    def _read_node(self, node: Message, scope: str, depth: int) -> None:
        self.nodes += 1
        output = name = kind = ""
        attributes: list[Message] = []
        for entry in node.fields():
            if entry.number == 5:
                attributes.append(entry.message)
            elif entry.number == 4:
                kind = entry.text(MAX_NAME)
            elif entry.number == 3:
                name = entry.text(MAX_NAME)
            elif entry.number == 2:
                output = output or entry.text(MAX_NAME)
        # the kind of a node may follow its attributes, as the fields of a message have no order
        inner = f"{scope}{name or output}/"
        if attributes and inner in self.scopes:  # nodes may share a name, but not an output
            inner = f"{scope}{output}/"
        self.scopes.update([inner] if attributes else ())
        for attribute in attributes:
            self._read_attribute(attribute, output if kind == "Constant" else "", inner, depth)

    def _read_attribute(self, attribute: Message, constant: str, scope: str, depth: int) -> None:
        """Read the graphs of an attribute, and the value of a constant, which is named after its output."""
        name = ""
        for entry in attribute.fields():
            if entry.number == 1:
                name = entry.text(MAX_NAME)
            elif entry.number in (6, 11):  # a body or a branch, or a list of these
                self._read_graph(entry.message, f"{scope}{name}/", depth + 1)
            elif constant and entry.number == 5:
                tensor = read_tensor(entry.message, self.gathered)
                self.tensors.append((scope, tensor._replace(name=constant)))
            elif constant and entry.number == 22:
                self._skip_sparse(entry.message, scope, constant)
        if constant and name in LISTS:
            self.tensors.append((scope, read_numbers(constant, attribute, name, self.gathered)))
        elif constant and name in TEXT_LISTS:
            self.skipped[f"{scope}{constant}" if constant in self.skipped else constant] = "text"

    def _skip_sparse(self, sparse: Message, scope: str, constant: str) -> None:
        values: Field | None = next((entry for entry in sparse.fields() if entry.number == 1), None)
        name = constant or (read_tensor(values.message, bytearray()).name if values else "")
        self.skipped[f"{scope}{name}" if name in self.skipped else name] = SPARSE
