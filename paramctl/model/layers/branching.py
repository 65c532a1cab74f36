"""Layers that hold lists of layers: each list is a part of the tree, with names of its own."""

from typing import Annotated, Any, NamedTuple

from paramctl.declare.located import Located, parse_call
from paramctl.declare.option_types import OptionType
from paramctl.errors import suggest
from paramctl.model.layers.base import Layer, Reference, Sizes
from paramctl.model.layers.merging import Add, Average, Concatenate, Maximum, Multiply, common_shape


class Branch(NamedTuple):
    """One list of layers. name: its segment of the path, None if its layers stand in the block
    itself. entries: None is the block's input as it is."""

    name: Located | None
    entries: Located | None


class EntriesType(OptionType):
    """A list of layers, as under the document's own ``layers``."""

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
    rule = "a mapping from names to lists of layers"
    deferred = True

    def read(self, node: Located, name: str) -> list[Branch]:
        if not isinstance(node.value, dict) or not node.value:
            raise self.refuse(node, name)
        lists = node.value.items()
        return [Branch(node.key(key), EntriesType().read(item, f"branch {key!r}")) for key, item in lists]

    def schema(self) -> dict[str, Any]:
        return {"type": "object", "additionalProperties": {"$ref": "#/definitions/layers"}}


class MergeType(OptionType):
    """A merging layer: its name, or its name with options."""

    rule = "one of concatenate, add, multiply, average, maximum"
    choices = (Concatenate, Add, Multiply, Average, Maximum)

    def read(self, node: Located, name: str) -> Layer:
        called = parse_call(node)
        if called is None:
            raise self.refuse(node, name)
        merge, arguments = called
        known = {cls.type: cls for cls in self.choices}
        cls = known.get(str(merge.value))
        if cls is None:
            raise self.refuse(merge, name, suggest(str(merge.value), known))
        return cls.read_call(cls.type, merge, arguments)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"enum": [cls.type for cls in self.choices]}, {"type": "object"}]}


Entries = Annotated[Located, EntriesType()]


class Branching(Layer, abstract=True):
    """Gives its input to lists of layers, and merges what they make of it."""

    holds_layers = True

    def lists(self) -> list[Branch]:
        raise AssertionError(f"{self.type} declares no branches")

    def merge_layer(self) -> Layer:
        return Add()

    def output(self, *outputs: Sizes) -> Sizes:
        """The shape of the merge of its lists' outputs."""
        raise AssertionError(f"{self.type} declares no merge")


class Residual(Branching):
    """Adds its input, or what a shortcut makes of it, to what its layers give. Not in Keras."""

    in_keras = False
    layers: Entries
    shortcut: Entries | None = None

    def lists(self) -> list[Branch]:
        return [Branch(None, self.layers), Branch(Located("shortcut"), self.shortcut)]

    def output(self, *outputs: Sizes) -> Sizes:
        return common_shape(outputs)


class Parallel(Branching):
    """Gives its input to every branch, and merges what they make of it. Not in Keras."""

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
    """An earlier layer or block applied again: the same parameters, counted once."""

    in_keras = False
    layer: Reference
