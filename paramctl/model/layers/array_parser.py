"""Parse an expression of arrays, such as ``relu(x @ weight + bias)``, within limits.

Python's parser parses it, and this module makes nodes of its syntax tree. Nothing is evaluated as Python.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn

from paramctl.declare.located import MAX_DEPTH, MAX_INTEGER, Located
from paramctl.declare.option_types import OptionType
from paramctl.errors import DocumentError, suggest
from paramctl.model.expressions import syntax_tree
from paramctl.model.layers.activations import FUNCTIONS
from paramctl.model.layers.array_nodes import (
    Activated,
    Concatenated,
    Elementwise,
    Index,
    Indexed,
    Name,
    Node,
    Number,
    Product,
    Reduced,
    Reshaped,
    Transposed,
)

MAX_LENGTH = 1_000
MAX_PARTS = 200
SUPPORTED = "an expression of arrays supports numbers, names, + - * / ** @, indices, and calls of functions"

_OPERATIONS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
ELEMENTWISE = ("sqrt", "exp", "log", "abs")
ELEMENTWISE_SUPPORTED = f"an expression of files supports numbers, names, + - * / **, {', '.join(ELEMENTWISE)}"
REDUCTIONS = ("mean", "sum", "max", "min")
ARRANGING = ("transpose", "reshape", "concatenate")


def function_names() -> list[str]:
    """Return the functions that an expression may call."""
    return [*ELEMENTWISE, *REDUCTIONS, *ARRANGING, *FUNCTIONS]


class Formula(NamedTuple):
    """A parsed expression. names: the place of each name at its first use. node: where it is in the document."""

    root: Node
    names: Mapping[str, Located]
    node: Located
    parts: int


class FormulaType(OptionType):
    """An expression of arrays."""

    rule = "an expression of arrays, such as relu(x @ weight + bias)"

    def read(self, node: Located, name: str) -> Formula:
        if isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
            raise node.error("the expression must use its input x")
        if not isinstance(node.value, str):
            raise self.refuse(node, name)
        _check_length(node)
        return _Parser(node).formula()

    def schema(self) -> dict[str, Any]:
        return {"type": "string"}


def elementwise_formula(node: Located) -> Formula:
    """Parse an expression in which every operation applies to each element alone. Raises DocumentError."""
    _check_length(node)
    return _ElementwiseParser(node).formula()


def _check_length(node: Located) -> None:
    if len(str(node.value)) > MAX_LENGTH:
        rule = f"an expression of arrays may have at most {MAX_LENGTH:,} characters"
        raise node.error(rule, f"{len(str(node.value)):,}")


class _Parser:
    """The parsing of one expression. supported: the rule of an error about anything else."""

    supported = SUPPORTED

    def __init__(self, node: Located) -> None:
        self.node = node
        self.text = str(node.value).replace("\n", " ").strip()
        self.names: dict[str, Located] = {}
        self.parts = 0

    def formula(self) -> Formula:
        # Python would take what follows a # for a comment, here of all further lines
        tree = None if "#" in self.text else syntax_tree(self.text)
        if tree is None:
            # in { }, a comma ends the text: {formula: mean(x, axis=1)}
            is_cut = self.text.count("(") != self.text.count(")") or self.text.count("[") != self.text.count("]")
            raise self.node.error(self.supported, hint="Inside { }, put it in quotes." if is_cut else "")
        return Formula(self.convert(tree, 0), self.names, self.node, self.parts)

    def at(self, tree: ast.AST) -> Located:
        """Return a part of the expression as a node at its own column, where the text is one line of the document."""
        text = ast.get_source_segment(self.text, tree) or self.text
        node, value = self.node, str(self.node.value)
        quotes = (node.end - node.start - len(value)) // 2
        exact = node.end and value == self.text and quotes in (0, 1) and "\n" not in value
        offset = getattr(tree, "col_offset", 0) + quotes if exact else 0
        return Located(text, node.source, node.line, node.column + offset)

    def refuse(self, tree: ast.AST, rule: str, hint: str = "") -> NoReturn:
        raise self.at(tree).error(rule, hint=hint)

    def convert(self, tree: ast.expr, depth: int) -> Node:
        self.parts += 1
        if depth > MAX_DEPTH or self.parts > MAX_PARTS:
            raise self.node.error(
                f"an expression of arrays may have at most {MAX_PARTS} parts, and nest at most {MAX_DEPTH} deep"
            )
        if isinstance(tree, ast.Constant):
            return self.number(tree, tree.value)
        if isinstance(tree, ast.Name):
            self.names.setdefault(tree.id, self.at(tree))
            return Name(tree.id)
        if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, (ast.USub, ast.UAdd)):
            part = self.convert(tree.operand, depth + 1)
            if isinstance(tree.op, ast.UAdd):
                return part
            return self.operation(tree, lambda xp, x: -x, part)
        if isinstance(tree, ast.BinOp):
            left, right = self.convert(tree.left, depth + 1), self.convert(tree.right, depth + 1)
            if isinstance(tree.op, ast.MatMult):
                return Product(str(self.at(tree).value), (left, right))
            if function := _OPERATIONS.get(type(tree.op)):
                return self.operation(tree, lambda xp, a, b: function(a, b), left, right)
        if isinstance(tree, ast.Subscript):
            return self.indexed(tree, self.convert(tree.value, depth + 1))
        if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name):
            return self.call(tree, tree.func.id, [self.convert(part, depth + 1) for part in self.arrays(tree)])
        return self.refuse(tree, self.supported)

    def operation(self, tree: ast.expr, function: Callable[..., Any], *parts: Node) -> Node:
        """Return an elementwise operation; of numbers alone, the number that it gives."""
        numbers = [part.value for part in parts if isinstance(part, Number)]
        if len(numbers) < len(parts):
            return Elementwise(str(self.at(tree).value), parts, function)
        try:
            return self.number(tree, function(None, *numbers))
        except (ZeroDivisionError, OverflowError):
            self.refuse(tree, "the number must be finite")

    def number(self, tree: ast.expr, value: object) -> Number:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.refuse(tree, self.supported)
        if not abs(value) <= 1.7e308:
            self.refuse(tree, "the number must be finite")
        return Number(str(self.at(tree).value), float(value))

    def arrays(self, tree: ast.Call) -> list[ast.expr]:
        """Return the arguments of a call that are arrays: the first, and of concatenate all without a name."""
        assert isinstance(tree.func, ast.Name)
        if tree.func.id not in function_names():
            own = ", ".join((*ELEMENTWISE, *REDUCTIONS, *ARRANGING))
            hint = suggest(tree.func.id, function_names()) or f"Functions: {own}, and the activation functions."
            self.refuse(tree.func, "no function has this name", hint)
        return tree.args if tree.func.id == "concatenate" else tree.args[:1]

    def call(self, tree: ast.Call, name: str, arrays: list[Node]) -> Node:
        parts, text = tuple(arrays), str(self.at(tree).value)
        if not parts or all(isinstance(part, Number) for part in parts):
            self.refuse(tree, f"{name} requires an array")
        if name == "concatenate":
            options = self.options(tree, [], axis=-1)
            return Concatenated(text, parts, self.integer(tree, options["axis"]))
        rest = tree.args[1:]
        if name in ELEMENTWISE:
            self.options(tree, rest)
            return Elementwise(text, parts, lambda xp, x: getattr(xp, name)(x))
        if name in REDUCTIONS:
            options = self.options(tree, rest, axis=None, keepdims=False)
            if not isinstance(options["keepdims"], bool):
                self.refuse(tree, "keepdims must be True or False")
            return Reduced(text, parts, name, self.integers(tree, options["axis"]), options["keepdims"])
        if name == "transpose":
            return Transposed(text, parts, self.integers(tree, self.options(tree, rest, axes=None)["axes"]))
        if name == "reshape":
            shape = self.integers(tree, self.options(tree, rest, shape=None)["shape"])
            if shape is None or min((*shape, 0)) < -1 or shape.count(-1) > 1:
                self.refuse(tree, "reshape requires the sizes after the batch axis, of which one may be -1")
            return Reshaped(text, parts, shape)
        return self.activated(tree, name, parts)

    def activated(self, tree: ast.Call, name: str, parts: tuple[Node, ...]) -> Node:
        cls = FUNCTIONS[name]
        values = self.options(tree, tree.args[1:], **dict.fromkeys(cls.signature, _UNSET))
        at = self.at(tree)
        nodes = {key: _located(value, at) for key, value in values.items() if value is not _UNSET}
        return Activated(str(at.value), parts, cls.read(name, at, nodes))

    def options(self, tree: ast.Call, rest: list[ast.expr], **defaults: Any) -> dict[str, Any]:
        """Return the options of a call, by position after the array or by name."""
        values = dict(zip(defaults, map(self.literal, rest), strict=False))
        assert isinstance(tree.func, ast.Name)
        if len(rest) > len(defaults):
            takes = f"takes only {', '.join(defaults)} after the array" if defaults else "takes one array"
            self.refuse(tree, f"{tree.func.id} {takes}")
        for keyword in tree.keywords:
            if keyword.arg not in defaults or keyword.arg in values:
                hint = suggest(str(keyword.arg), defaults)
                self.refuse(tree, f"{tree.func.id} has no such option, or has it twice: {keyword.arg}", hint)
            values[keyword.arg] = self.literal(keyword.value)
        return defaults | values

    def literal(self, tree: ast.expr) -> Any:
        """Return the value of an option: a number, True, False, None, or a list or tuple of numbers."""
        if isinstance(tree, (ast.Tuple, ast.List)) and len(tree.elts) <= MAX_DEPTH:
            return [self.literal(item) for item in tree.elts]
        if isinstance(tree, ast.Name) and tree.id in ("true", "false", "null"):
            return {"true": True, "false": False, "null": None}[tree.id]
        if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub) and isinstance(tree.operand, ast.Constant):
            value = self.literal(tree.operand)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                return -value
        if isinstance(tree, ast.Constant) and (tree.value is None or isinstance(tree.value, (bool, int, float))):
            if isinstance(tree.value, (int, float)) and not (
                math.isfinite(tree.value) if isinstance(tree.value, float) else abs(tree.value) <= MAX_INTEGER
            ):
                self.refuse(tree, "the number must be finite and fit in 64 bits")
            return tree.value
        return self.refuse(tree, "an option must be a number, a list of numbers, True, False or None")

    def integer(self, tree: ast.expr, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            self.refuse(tree, "axes, sizes and indices must be whole numbers")
        return value

    def integers(self, tree: ast.expr, value: Any) -> tuple[int, ...] | None:
        """Return one whole number or a list of them as a tuple; None is None."""
        if value is None:
            return None
        return tuple(self.integer(tree, item) for item in (value if isinstance(value, list) else [value]))

    def indexed(self, tree: ast.Subscript, part: Node) -> Node:
        if isinstance(part, Number):
            self.refuse(tree, "a number has no items")
        items = tree.slice.elts if isinstance(tree.slice, ast.Tuple) else [tree.slice]
        dots = [place for place, item in enumerate(items) if isinstance(item, ast.Constant) and item.value is ...]
        if len(dots) > 1 or len(items) > MAX_DEPTH:
            self.refuse(tree, f"an index may have one ..., and at most {MAX_DEPTH} items")
        split = dots[0] if dots else len(items)
        before, after = ([self.index(item) for item in each] for each in (items[:split], items[split + 1 :]))
        return Indexed(str(self.at(tree).value), (part,), tuple(before), tuple(after))

    def index(self, tree: ast.expr) -> Index:
        if isinstance(tree, ast.Slice):
            bounds = [None if each is None else self.index(each) for each in (tree.lower, tree.upper, tree.step)]
            if any(isinstance(each, slice) for each in bounds) or bounds[2] == 0:
                self.refuse(tree, "the step of a slice may not be 0")
            return slice(*bounds)
        value = self.literal(tree)
        return None if value is None else self.integer(tree, value)


class _ElementwiseParser(_Parser):
    """The parsing of an expression of elementwise operations. Each of its values depends on one value of each array."""

    supported = ELEMENTWISE_SUPPORTED

    def convert(self, tree: ast.expr, depth: int) -> Node:
        is_product = isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.MatMult)
        is_other_call = isinstance(tree, ast.Call) and getattr(tree.func, "id", None) not in ELEMENTWISE
        if is_product or is_other_call or isinstance(tree, ast.Subscript):
            self.refuse(tree, self.supported)
        return super().convert(tree, depth)


_UNSET = object()


def _located(value: Any, at: Located) -> Located:
    items = [_located(item, at) for item in value] if isinstance(value, list) else value
    return Located(items, at.source, at.line, at.column)


def unknown_name(node: Located, known: list[str]) -> DocumentError:
    """Return the error for a name that is neither an input nor a parameter."""
    name = str(node.value)
    hint = suggest(name, known) or f"Names here: {', '.join(known)}."
    return node.error("the expression has no input or parameter of this name", repr(name), hint)
