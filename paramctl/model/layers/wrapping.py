"""Layers around another layer: both ways along a sequence, or once for each step of it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any, NamedTuple

from paramctl.core.parameter import Parameter
from paramctl.declare.located import Located, parse_call
from paramctl.declare.option_types import ChoiceType, OptionType
from paramctl.declare.options import arguments_by_name
from paramctl.errors import suggest
from paramctl.model.layers.base import LAYERS, Layer, ShapeError, Sizes
from paramctl.model.layers.branching import Branching, Reuse
from paramctl.model.layers.recurrent import Recurrent
from paramctl.model.names import check_name


class Wrapped(NamedTuple):
    """A layer within another, and the name it has there."""

    name: str
    layer: Layer


class InnerLayerType(OptionType):
    """A layer as in a list of layers; of what every entry takes, it may have a name."""

    takes_mapping = True

    def __init__(self, rule: str, fits: Callable[[type[Layer]], bool]) -> None:
        self.rule, self.fits = rule, fits

    def read(self, node: Located, name: str) -> Wrapped:
        called = parse_call(node)
        if called is None:
            raise self.refuse(node, name)
        type_node, arguments = called
        fitting = {type_name: cls for type_name, cls in LAYERS.items() if self.fits(cls)}
        cls = fitting.get(str(type_node.value))
        if cls is None:
            raise self.refuse(type_node, name, suggest(str(type_node.value), fitting))
        given = dict(arguments_by_name(cls.type, arguments, cls.signature))
        own = given.pop("name", None)
        layer = cls.read(cls.type, arguments or type_node, given)
        return Wrapped(check_name(own) if own else cls.type, layer)

    def schema(self) -> dict[str, Any]:
        return {"$ref": "#/definitions/inner_layer"}


def _plain(cls: type[Layer]) -> bool:
    """Whether a layer has one input and no layers of its own."""
    return cls.arity == 1 and not cls.references and not issubclass(cls, (Branching, Reuse))


class Bidirectional(Layer):
    """A recurrent layer forwards and another backwards along a sequence. Schuster and Paliwal (1997)."""

    input_axes = "batch, steps, features"
    layer: Annotated[Wrapped, InnerLayerType("a recurrent layer", lambda cls: issubclass(cls, Recurrent))]
    merge_mode: Annotated[str, ChoiceType("concat", "sum", "mul", "ave")] = "concat"

    def parameters(self, x: Sizes) -> Iterator[Parameter]:
        for direction in ("forward", "backward"):
            for parameter in self.layer.layer.parameters(x):
                name = self.layer.name.removeprefix(f"{direction}_")
                yield replace(parameter, path=f"{direction}_{name}/{parameter.path}")

    def keras_attributes(self, folders: Sequence[str]) -> list[str]:
        direction = folders[0].partition("_")[0]
        return [f"{direction}_layer", *self.layer.layer.keras_attributes(folders[1:])]

    def output(self, x: Sizes) -> Sizes:
        if vars(self.layer.layer)["go_backwards"]:
            raise ShapeError("its layer may not go backwards: then both directions would be one")
        shape = self.layer.layer.output(x)
        return (*shape[:-1], 2 * (shape[-1] or 0)) if self.merge_mode == "concat" else shape


class TimeDistributed(Layer):
    """The same layer for each step of a sequence."""

    input_axes = "batch, steps, ..., features"
    layer: Annotated[Wrapped, InnerLayerType("a layer with one input", _plain)]

    def parameters(self, x: Sizes) -> Iterator[Parameter]:
        step = (x[0], *x[2:])
        self.layer.layer.check_axes(step)
        for parameter in self.layer.layer.parameters(step):
            yield replace(parameter, path=f"{self.layer.name}/{parameter.path}")

    def keras_attributes(self, folders: Sequence[str]) -> list[str]:
        return ["layer", *self.layer.layer.keras_attributes(folders[1:])]

    def output(self, x: Sizes) -> Sizes:
        step = (x[0], *x[2:])
        self.layer.layer.check_axes(step)
        shape = self.layer.layer.output(step)
        if not shape:
            raise ShapeError("the layer it holds must keep the batch axis")
        return (*shape[:1], x[1], *shape[1:])
