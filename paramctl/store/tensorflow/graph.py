"""The graph of objects that a checkpoint of TensorFlow 2 has beside its tensors, and the roles of its variables.

https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/protobuf/trackable_object_graph.proto
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from paramctl.store.io.crc32c import checksum
from paramctl.store.io.protobuf import Field, message, parse_varint

GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
MAX_BYTES = 1 << 28
OPTIMIZERS = (
    {"_iterations", "_variables"},  # Keras 2.11 and later, and Keras 3
    {"iter", "learning_rate"},  # before
    {"iter", "momentum"},
    {"iter", "beta_1"},
    {"current_loss_scale", "good_steps"},
)
"""Names of children that an optimizer, or the loss scale in it, has together."""
TRAINED = "_trainable_variables"
"""The child of an optimizer with the parameters that it trains."""
ITERATIONS = frozenset({"iter", "_iterations"})
"""The child of an optimizer with its number of steps, which a checkpoint may hold as its own step too."""
TRACKERS = frozenset({"variables", "trainable_variables", "non_trainable_variables", "_all_variables"})
"""Lists of variables that have a place of their own in the graph too."""


class Variable(NamedTuple):
    """A value of an object that has a tensor. full_name: as in Keras, or in a graph of TensorFlow 1."""

    full_name: str
    key: str


class Node(NamedTuple):
    """An object. children: (name, number of the node). slots: the numbers of the nodes of an optimizer's slots."""

    children: tuple[tuple[str, int], ...]
    variables: tuple[Variable, ...]
    slots: tuple[int, ...]

    @property
    def is_optimizer(self) -> bool:
        names = {name for name, _ in self.children}
        return bool(self.slots) or any(required <= names for required in OPTIMIZERS)


Graph = Sequence[Node]
"""The objects. The first is the root."""


def parse_graph(tensor: bytes, expected: int) -> Graph:
    """Parse the tensor of a graph: its length, a checksum of the length, and a text. Raises ValueError if damaged.

    expected: the checksum of the tensor, in which the length has 4 bytes.
    """
    size, at = parse_varint(tensor, 0, len(tensor))
    if len(tensor) != at + 4 + size or checksum(size.to_bytes(4, "little") + tensor[at:]) != expected:
        raise ValueError(f"{GRAPH_KEY} does not match its CRC-32C checksum")
    nodes = [_parse_node(field) for field in message(tensor[at + 4 :]).fields() if field.number == 1]
    if any(not 0 <= number < len(nodes) for node in nodes for number in (*node.slots, *(n for _, n in node.children))):
        raise ValueError(f"{GRAPH_KEY} names a node that it does not have")
    return nodes


def _parse_node(node: Field) -> Node:
    children, variables, slots = [], [], []
    for field in node.message.fields():
        if field.number == 1:
            parts = {part.number: part for part in field.message.fields()}
            children.append((_text(parts, 2), _number(parts, 1)))
        elif field.number == 2:
            parts = {part.number: part for part in field.message.fields()}
            variables.append(Variable(_text(parts, 2), _text(parts, 3)))
        elif field.number == 3:
            slots.append(_number({part.number: part for part in field.message.fields()}, 3))
    return Node(tuple(children), tuple(variables), tuple(slots))


def _text(parts: dict[int, Field], number: int) -> str:
    return parts[number].text() if number in parts else ""


def _number(parts: dict[int, Field], number: int) -> int:
    return parts[number].signed if number in parts else 0


def parameter_keys(graph: Graph) -> set[str]:
    """Return the keys of the variables that are not of an optimizer or metric.

    They are those that a path from the root reaches without an optimizer and without the metrics of Keras' objects.
    """
    # a slot is a child of its variable's path in the keys, but only of its optimizer in the graph
    slots = {number for node in graph for number in node.slots}
    slots |= {number for node in graph if node.is_optimizer for name, number in node.children if name in ITERATIONS}
    seen: set[int] = set()
    waiting = [0] if graph else []
    while waiting:
        number = waiting.pop()
        if number in seen or number in slots:
            continue
        seen.add(number)
        waiting.extend(_model_children(graph, graph[number]))
    return {variable.key for number in seen for variable in graph[number].variables}


def _model_children(graph: Graph, node: Node) -> Iterator[int]:
    is_optimizer = node.is_optimizer  # it looks at all children
    for name, number in node.children:
        if is_optimizer and name != TRAINED:
            continue
        # the lists of a layer in a SavedModel, one of which has its metrics
        if name == "keras_api":
            yield from (member for inner, member in graph[number].children if inner != "metrics")
        else:
            yield number


def trainable_keys(graph: Graph) -> dict[str, bool]:
    """Return whether each variable is trainable, by its key, where a SavedModel's root lists its variables."""
    lists = {name: _variables_in(graph, number) for name, number in (graph[0].children if graph else ())}
    if not {"variables", "trainable_variables"} <= lists.keys():
        return {}
    trained = set(lists["trainable_variables"])
    return {key: key in trained for key in lists["variables"]}


def is_sequential(graph: Graph) -> bool:
    """Return whether the root, or an object that it holds, is a Sequential model of Keras 3."""
    nodes = [graph[0], *(graph[number] for _, number in graph[0].children)] if graph else []
    return any(name == "_functional" for node in nodes for name, _ in node.children)


def export_copies(graph: Graph) -> list[Variable]:
    """Return the variables that Keras 3's ``export`` may have written a second time, under ``_all_variables``."""
    lists = dict(graph[0].children) if graph else {}
    if not {"_all_variables", "variables"} <= lists.keys():
        return []
    listed = set(_variables_in(graph, lists["variables"]))
    members = [graph[number] for _, number in graph[lists["_all_variables"]].children]
    return [variable for node in members for variable in node.variables if variable.key not in listed]


def _variables_in(graph: Graph, number: int) -> list[str]:
    return [variable.key for _, member in graph[number].children for variable in graph[member].variables]


def second_names(graph: Graph) -> dict[str, str]:
    """Return the further attributes that hold a variable: the key of the variable, by the path of the attribute.

    Lists of all variables, and attributes that begin with an underscore, do not count.
    """
    attributes: dict[str, list[str]] = {}
    for path, node in _plain_paths(graph):
        for name, number in _plain_children(node):
            for variable in graph[number].variables:
                attributes.setdefault(variable.key, []).append(f"{path}{name}")
    result: dict[str, str] = {}
    for key, paths in attributes.items():
        # the key may have a path through a list, which is no plain attribute
        first = object_path(key) if object_path(key) in paths else paths[0]
        result |= {path: key for path in paths if path != first}
    return result


def _plain_paths(graph: Graph) -> Iterator[tuple[str, Node]]:
    """Yield each object that a path of plain attributes reaches, with the shortest such path."""
    seen, waiting = {0}, [(0, "")] if graph else []
    for number, path in waiting:
        yield path, graph[number]
        for name, child in _plain_children(graph[number]):
            if child not in seen:
                seen.add(child)
                waiting.append((child, f"{path}{name}/"))


def _plain_children(node: Node) -> Iterator[tuple[str, int]]:
    if not node.is_optimizer:
        yield from (child for child in node.children if not child[0].startswith("_") and child[0] not in TRACKERS)


def object_path(key: str) -> str:
    """Return the path of a variable's object, from the key of its tensor."""
    return key.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE").replace("/.ATTRIBUTES/", "/")
