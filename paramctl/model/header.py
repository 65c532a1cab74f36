"""The top-level keys of a document and their option types."""

from typing import Annotated, Any

from paramctl.core.parameter import FLOAT_DTYPES
from paramctl.declare.located import Located
from paramctl.declare.option_types import ChoiceType, Flag, Names, Natural, OptionType, Shape, Text
from paramctl.declare.options import Configurable, unknown_option
from paramctl.model.expressions import Variables
from paramctl.model.layers import Sizes
from paramctl.model.layers.branching import Entries

DATA_TYPES = (
    *("float16", "bfloat16", "float32", "float64", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)


class MappingType(OptionType):
    """A mapping, returned as a node. A missing value is an empty mapping."""

    rule = "a mapping"

    def __init__(self, deferred: bool = False, hint: str = "") -> None:
        self.deferred, self.hint = deferred, hint

    def read(self, node: Located, name: str) -> Located:
        if node.value is None:
            return Located({}).at(node)
        if isinstance(node.value, dict):
            return node
        raise self.refuse(node, name, self.hint)

    def schema(self) -> dict[str, Any]:
        return {"type": "object"}


class InputType(OptionType):
    """A shape, or a mapping with a shape and a dtype. Returns both, with the batch axis added."""

    rule = "a shape without the batch axis, or {shape: SHAPE, dtype: DTYPE}"

    def read(self, node: Located, name: str) -> tuple[Sizes, str]:
        if node.value is None:
            raise self.refuse(node, name)
        declaration = InputDeclaration.read_call(name, node, node)
        return (None, *declaration.shape), declaration.dtype


class TiesType(OptionType):
    """A list of mappings, returned as nodes."""

    rule = "a list of {keep: NAME, tie: NAMES}"

    def read(self, node: Located, name: str) -> list[Located]:
        if not isinstance(node.value, list):
            raise self.refuse(node, name)
        for item in node.value:
            if not isinstance(item.value, dict):
                raise self.refuse(item, name)
        return node.value

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": {"type": "object"}}


class Header(Configurable):
    """The top-level keys of a document."""

    layers: Entries
    name: Text | None = None
    input: Annotated[tuple[Sizes, str], InputType()] | None = None
    inputs: Annotated[Located, MappingType(hint="Use 'input' for a single input.")] | None = None
    outputs: Names | None = None
    vars: Annotated[Located, MappingType(deferred=True)] | None = None
    blocks: Annotated[Located, MappingType(deferred=True)] | None = None
    ties: Annotated[list[Located], TiesType()] | None = None
    initializers: Annotated[Located, MappingType()] | None = None
    seed: Natural | None = None
    order: Names | None = None
    dtype: Annotated[str, ChoiceType(*FLOAT_DTYPES)] = "float32"


class InputDeclaration(Configurable):
    """The declaration of an input."""

    shape: Shape
    dtype: Annotated[str, ChoiceType(*DATA_TYPES)] = "float32"


class TieDeclaration(Configurable):
    """The declaration of a tie."""

    keep: Names
    tie: Names
    transpose: Flag = False


def read_header(document: Located, variables: Variables) -> Header:
    """Return the top-level keys of a document. Keys that hold layers stay unresolved.

    Raises DocumentError if a key is unknown, missing, or invalid.
    """
    assert isinstance(document.value, dict)
    resolved = {}
    for key, node in document.value.items():
        option = Header.signature.get(key)
        if option is None:
            raise unknown_option("a model document", document.key(key), key, Header.signature)
        # the keys of layers, blocks, and vars use variables that are not bound yet, such as a block's options
        resolved[key] = node if option.type.deferred else variables.resolve(node)
    return Header.read("a model document", document, resolved)


def mapping_of(node: Located | None) -> dict[str, Located]:
    """Return the items of a mapping node, or an empty mapping for None."""
    if node is None:
        return {}
    assert isinstance(node.value, dict)
    return node.value
