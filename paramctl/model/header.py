"""What a document says beside its layers: the keys it may have, each read and checked on its own."""

from typing import Annotated, Any

from paramctl.kinds import Choice, Flag, Kind, Names, Natural, Shape, Text
from paramctl.model.expressions import Env
from paramctl.model.layers import Sizes
from paramctl.model.layers.branching import Entries
from paramctl.node import Node
from paramctl.options import Declared, unknown_option
from paramctl.parameter import FLOATS

DATA_TYPES = (
    *("float16", "bfloat16", "float32", "float64", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)


class IsMapping(Kind):
    """A mapping, kept as a node; a key without a value is an empty one."""

    words = "a mapping"

    def __init__(self, deferred: bool = False, hint: str = "") -> None:
        self.deferred, self.hint = deferred, hint

    def read(self, node: Node, name: str) -> Node:
        if node.value is None:
            return Node({}).at(node)
        if isinstance(node.value, dict):
            return node
        raise self.refuse(node, name, self.hint)

    def schema(self) -> dict[str, Any]:
        return {"type": "object"}


class IsInput(Kind):
    """A shape, or a mapping of shape and dtype."""

    words = "a shape without the batch axis, or {shape: SHAPE, dtype: DTYPE}"

    def read(self, node: Node, name: str) -> tuple[Sizes, str]:
        if node.value is None:
            raise self.refuse(node, name)
        of = OfInput.read_call(name, node, node)
        return (None, *of.shape), of.dtype


class IsTies(Kind):
    words = "a list of {keep: NAME, tie: NAMES}"

    def read(self, node: Node, name: str) -> list[Node]:
        if not isinstance(node.value, list):
            raise self.refuse(node, name)
        for item in node.value:
            if not isinstance(item.value, dict):
                raise self.refuse(item, name)
        return node.value

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": {"type": "object"}}


class Header(Declared):
    """What a document may say, key by key."""

    layers: Entries
    name: Text | None = None
    input: Annotated[tuple[Sizes, str], IsInput()] | None = None
    inputs: Annotated[Node, IsMapping(hint="A single one is called 'input'.")] | None = None
    outputs: Names | None = None
    vars: Annotated[Node, IsMapping(deferred=True)] | None = None
    blocks: Annotated[Node, IsMapping(deferred=True)] | None = None
    ties: Annotated[list[Node], IsTies()] | None = None
    initializers: Annotated[Node, IsMapping()] | None = None
    seed: Natural | None = None
    dtype: Annotated[str, Choice(*FLOATS)] = "float32"


class OfInput(Declared):
    """What a document says of an input."""

    shape: Shape
    dtype: Annotated[str, Choice(*DATA_TYPES)] = "float32"


class OfTie(Declared):
    """What a document says of a tie."""

    keep: Names
    tie: Names
    transpose: Flag = False


def read_header(document: Node, env: Env) -> Header:
    assert isinstance(document.value, dict)
    resolved = {}
    for key, node in document.value.items():
        option = Header.signature.get(key)
        if option is None:
            raise unknown_option("a model document", document.key(key), key, Header.signature)
        resolved[key] = node if option.kind.deferred else env.resolve(node)
    return Header.read("a model document", document, resolved)


def mapping_of(node: Node | None) -> dict[str, Node]:
    if node is None:
        return {}
    assert isinstance(node.value, dict)
    return node.value
