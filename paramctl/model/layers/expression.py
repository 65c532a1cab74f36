"""A layer that a document writes as an expression of its inputs and its own parameters."""

import re
from collections.abc import Iterator, Mapping, Sequence
from keyword import iskeyword
from typing import Annotated, Any, Self

from paramctl.core.parameter import Axis, Parameter, ParameterKind, Role
from paramctl.declare.located import Located
from paramctl.declare.option_types import ChoiceType, Counts, Flag, ListType, OptionType, Scheme
from paramctl.declare.options import Configurable
from paramctl.model.layers.array_nodes import Name, Node, Product, Value
from paramctl.model.layers.array_parser import Formula, FormulaType, function_names, unknown_name
from paramctl.model.layers.base import Layer, default_scheme
from paramctl.model.layers.call import Array, Call
from paramctl.model.layers.order import PLAIN, SAME_AXES, UNKNOWN, Order, TorchInput
from paramctl.model.layers.shapes import ShapeError, Sizes
from paramctl.model.layers.torch import NoCounterpart, Shapes, TorchTensor, same
from paramctl.model.layers.torch_options import CARRIED, IN_CODE, options

ROLES: tuple[Role, ...] = ("in", "out", "field", "batch")
KINDS: tuple[ParameterKind, ...] = ("weight", "bias", "norm")
INPUT_NAME = re.compile(r"x\d*")
"""x is the only input; x1, x2, ... are several."""
MAX_PARAMETERS = 64


class ParameterDeclaration(Configurable):
    """The declaration of a parameter of an expression."""

    shape: Counts
    initializer: Scheme | None = None
    trainable: Flag = True
    kind: Annotated[ParameterKind, ChoiceType(*KINDS)] | None = None
    axes: Annotated[tuple[Role, ...], ListType(ChoiceType(*ROLES), "a list of in, out, field or batch")] | None = None


class ParametersType(OptionType):
    """Parameters by name: a shape, or a mapping of options."""

    rule = "a mapping from names to shapes, or to {shape, initializer, trainable, kind, axes}"
    takes_mapping = True

    def read(self, node: Located, name: str) -> dict[str, tuple[Located, ParameterDeclaration]]:
        if not isinstance(node.value, dict):
            raise self.refuse(node, name)
        if len(node.value) > MAX_PARAMETERS:
            raise node.error(f"an expression may have at most {MAX_PARAMETERS} parameters", f"{len(node.value):,}")
        declared = {}
        for parameter, arguments in node.value.items():
            key = node.key(parameter)
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,63}", parameter) or iskeyword(parameter):
                raise key.error("a parameter's name must have letters, digits and _, and begin with a letter")
            if INPUT_NAME.fullmatch(parameter) or parameter in function_names():
                raise key.error("a parameter may not have the name of an input, as x and x1, or of a function")
            empty = arguments.value is None
            declaration = ParameterDeclaration.read_call(parameter, key, None if empty else arguments)
            if declaration.axes is not None and len(declaration.axes) != len(declaration.shape):
                raise key.error(f"axes must have a role for each of the {len(declaration.shape)} axes of the shape")
            declared[parameter] = key, declaration
        return declared

    def schema(self) -> dict[str, Any]:
        shape = ParameterDeclaration.signature["shape"].type.schema()
        expression = {"$ref": "#/definitions/expression"}
        declared = ParameterDeclaration.signature.values()
        properties = {option.name: {"anyOf": [option.type.schema(), expression]} for option in declared}
        item = {"type": "object", "properties": properties, "required": ["shape"], "additionalProperties": False}
        return {"type": "object", "additionalProperties": {"anyOf": [shape, item, expression]}}


class Expression(Layer):
    """Expression of its inputs and parameters, such as relu(x @ weight + bias). Not in Keras.

    The input is x; several inputs are x1, x2, and so on.
    """

    in_keras = False
    arity = None
    least_inputs = 1
    torch_options = options(formula=IN_CODE, params=CARRIED)
    formula: Annotated[Formula, FormulaType()]
    params: Annotated[Mapping[str, tuple[Located, ParameterDeclaration]], ParametersType()] | None = None

    @classmethod
    def read(cls, subject: str, at: Located, arguments: Mapping[str, Located]) -> Self:
        layer = super().read(subject, at, arguments)
        used = layer.formula.names
        for name, node in used.items():
            if name not in layer.declared and not INPUT_NAME.fullmatch(name):
                raise unknown_name(node, ["x", *layer.declared])
        for name, (key, declaration) in layer.declared.items():
            if name not in used:
                raise key.error("the expression does not use this parameter")
            if declaration.initializer is None and layer.default_initializer(name) is None:
                rule = f"{name} requires an initializer, or axes with the role of each"
                raise key.error(rule, hint="The expression does not say which of its axes are inputs and outputs.")
        return layer

    @property
    def declared(self) -> Mapping[str, tuple[Located, ParameterDeclaration]]:
        """The parameters, each with the node of its name."""
        return self.params or {}

    def inference_cost(self) -> int:
        return 2 * self.formula.parts

    def roles(self, name: str) -> tuple[Role, ...]:
        """Return the roles of the axes of a parameter: as declared, or as every use in a matrix product shows."""
        _, declaration = self.declared[name]
        rank = len(declaration.shape)
        if declaration.axes is not None:
            return declaration.axes
        uses = {*_uses(self.formula.root, name, rank)}
        shown = uses.pop() if len(uses) == 1 else None
        unknown: tuple[Role, ...] = ("unknown",)
        return unknown * rank if shown is None else shown

    def default_initializer(self, name: str) -> Located | None:
        """Return the initializer of a parameter that declares none; None if it has no default."""
        _, declaration = self.declared[name]
        if len(declaration.shape) < 2:
            return default_scheme("zeros")
        roles = {*self.roles(name)}
        return default_scheme("glorot_uniform") if "out" in roles and roles & {"in", "field"} else None

    def parameters(self, *inputs: Sizes) -> Iterator[Parameter]:
        for name, (_, declaration) in self.declared.items():
            axes = tuple(map(Axis, declaration.shape, self.roles(name)))
            kind = declaration.kind or ("weight" if len(axes) > 1 else "bias")
            initializer = declaration.initializer or self.default_initializer(name)
            yield Parameter(name, axes, kind, declaration.trainable, initializer)

    def output(self, *inputs: Sizes) -> Sizes:
        return self.inferred(inputs).sizes

    def macs(self, *inputs: Sizes) -> int | None:
        value = self.inferred([(1, *sizes[1:]) for sizes in inputs])
        # sums over several examples have no number for one
        return None if value.mixes and value.macs else value.macs

    def inferred(self, inputs: Sequence[Sizes]) -> Value:
        """Return the facts about the output. Raises ShapeError if the inputs do not fit the expression."""
        names = _input_names(len(inputs))
        used = {name for name in self.formula.names if name not in self.declared}
        if used != {*names}:
            raise ShapeError(f"the expression must use {' and '.join(names)}, and no other inputs")
        values = {name: Value(tuple(declaration.shape)) for name, (_, declaration) in self.declared.items()}
        values |= {name: Value(sizes, True) for name, sizes in zip(names, inputs, strict=True)}
        return self.formula.root.infer(values)

    def compute(self, call: Call, *inputs: Array) -> Array:
        dtype = next((array.dtype for array in call.parameters.values()), "float32")
        floats = [x if x.dtype.kind == "f" else x.astype(dtype) for x in inputs]
        names = dict(zip(_input_names(len(inputs)), floats, strict=True))
        return self.formula.root.compute(call.xp, {**call.parameters, **names})

    def mixes_examples(self, output: Sizes | None, inputs: Sequence[Sizes | None] = ()) -> bool:
        shapes = [sizes for sizes in inputs if sizes is not None]
        return len(shapes) < len(inputs) or not inputs or self.inferred(shapes).mixes

    def channel_order(self, orders: Sequence[Order], shapes: Sequence[Sizes | None], output: Sizes | None) -> Order:
        return PLAIN if all(order in SAME_AXES for order in orders) else UNKNOWN

    def required_order(self, shape: Sizes) -> Order | None:
        return PLAIN

    def torch(self, shapes: Shapes, x: TorchInput) -> Iterator[TorchTensor]:
        """Yield the parameters as they are: torch code with the same expression has inputs with the same axes."""
        if x.order not in SAME_AXES:
            raise NoCounterpart("torch has other axes in the input of the expression")
        yield from (same(name, name, shape) for name, shape in shapes.items())


def _input_names(count: int) -> list[str]:
    return ["x"] if count == 1 else [f"x{number}" for number in range(1, count + 1)]


def _uses(node: Node, name: str, rank: int, roles: tuple[Role, ...] | None = None) -> Iterator[tuple[Role, ...] | None]:
    """Yield the roles of a parameter's axes at each of its uses, or None where no matrix product shows them.

    roles: at this node, if it is a use.
    """
    if isinstance(node, Name):
        if node.text == name:
            yield roles
        return
    for place, part in enumerate(node.parts):
        shown: tuple[Role, ...] | None = None
        # the other factor must depend on the input: of x @ (a @ b), the product is the weight
        if isinstance(node, Product) and rank > 1 and _takes_input(node.parts[1 - place]):
            stack: tuple[Role, ...] = ("batch",)
            matrix: tuple[Role, ...] = ("in", "out") if place else ("out", "in")
            shown = stack * (rank - 2) + matrix
        yield from _uses(part, name, rank, shown)


def _takes_input(node: Node) -> bool:
    """Return whether a part depends on an input."""
    if isinstance(node, Name):
        return INPUT_NAME.fullmatch(node.text) is not None
    return any(map(_takes_input, node.parts))
