"""Layers that hold lists of layers. Each list becomes part of the tree and has its own names."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from paramctl.declare.located import Located, parse_call
from paramctl.declare.option_types import OptionType
from paramctl.errors import suggest
from paramctl.model.layers.base import Layer, Reference
from paramctl.model.layers.merging import Add, Average, Concatenate, Maximum, Multiply, common_shape
from paramctl.model.layers.order import Order
from paramctl.model.layers.shapes import Sizes
from paramctl.model.layers.torch_options import IN_CODE, options


class Branch(NamedTuple):
    """A list of layers within a layer.

    name: its segment of the path; None if its layers are directly in the block.
    entries: the layers; None passes the block's input through.
    """

    name: Located | None
    entries: Located | None


class EntriesType(OptionType):
    """A list of layers, written like the document's own ``layers``."""

    rule = "a list of layers"
    takes_list = True
    deferred = True

    def read(self, node: Located, name: str) -> Located:
        if isinstance(node.value, list):
            return node
        hint = "Put '- ' before each layer." if isinstance(node.value, dict) else ""
        raise self.refuse(node, name, hint)

    def schema(self) -> dict[str, Any]:
        return {"$ref": "#/definitions/layers"}


class BranchesType(OptionType):
    """Lists of layers, by name."""

    rule = "a mapping from names to lists of layers"
    deferred = True

    def read(self, node: Located, name: str) -> list[Branch]:
        if not isinstance(node.value, dict) or not node.value:
            raise self.refuse(node, name)
        branches = node.value.items()
        return [Branch(node.key(key), EntriesType().read(item, f"branch {key!r}")) for key, item in branches]

    def schema(self) -> dict[str, Any]:
        return {"type": "object", "additionalProperties": {"$ref": "#/definitions/layers"}}


class MergeType(OptionType):
    """A merging layer: its name, or its name with options."""

    rule = "one of concatenate, add, multiply, average, maximum"
    choices = (Concatenate, Add, Multiply, Average, Maximum)

    def read(self, node: Located, name: str) -> Layer:
        call = parse_call(node)
        if call is None:
            raise self.refuse(node, name)
        type_node, arguments = call
        by_type = {cls.type: cls for cls in self.choices}
        cls = by_type.get(str(type_node.value))
        if cls is None:
            raise self.refuse(type_node, name, suggest(str(type_node.value), by_type))
        return cls.read_call(cls.type, type_node, arguments)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"enum": [cls.type for cls in self.choices]}, {"type": "object"}]}


Entries = Annotated[Located, EntriesType()]


class Branching(Layer, abstract=True):
    """A layer that passes its input to lists of layers and merges their outputs."""

    holds_layers = True

    def own_layers(self) -> Mapping[str, Layer]:
        """Return the layers of its own by name, which take the same input. Their outputs come before the lists'."""
        return {}

    def lists(self) -> Iterable[Branch]:
        """Return its lists of layers."""
        raise AssertionError(f"{self.type} declares no branches")

    def merge_layer(self) -> Layer:
        return Add()

    def output(self, *outputs: Sizes) -> Sizes:
        """Return the shape of the merged outputs. outputs: the shapes of the lists' outputs."""
        raise AssertionError(f"{self.type} declares no merge")

    def channel_order(self, orders: Sequence[Order], shapes: Sequence[Sizes | None], output: Sizes | None) -> Order:
        """Return the order of the merged outputs. orders, shapes: of the lists' outputs."""
        return self.merge_layer().channel_order(orders, shapes, output)


class Residual(Branching):
    """Sum of the output of its layers and its input, or the output of a shortcut. Not in Keras."""

    torch_options = options(layers=IN_CODE, shortcut=IN_CODE)
    in_keras = False
    layers: Entries
    shortcut: Entries | None = None

    def lists(self) -> list[Branch]:
        return [Branch(None, self.layers), Branch(Located("shortcut"), self.shortcut)]

    def output(self, *outputs: Sizes) -> Sizes:
        return common_shape(outputs)


class Parallel(Branching):
    """Branches that take the same input, and a merge of their outputs. Not in Keras."""

    torch_options = options(merge=IN_CODE, branches=IN_CODE)
    in_keras = False
    merge: Annotated[Layer, MergeType()]
    branches: Annotated[list[Branch], BranchesType()]

    def lists(self) -> list[Branch]:
        return self.branches

    def merge_layer(self) -> Layer:
        return self.merge

    def output(self, *outputs: Sizes) -> Sizes:
        return self.merge.output(*outputs)


class Reuse(Layer):
    """Another application of an earlier layer or block, with the same parameters, which are counted once."""

    torch_options = options(layer=IN_CODE)
    in_keras = False
    layer: Reference
