"""``${...}``: a little arithmetic with names, bounded in size and in what may come of it.

The text is parsed by Python's own parser and walked node by node; nothing is ever evaluated as
Python. A scalar that is one ``${...}`` keeps the value's type; inside other text it is spliced.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from paramctl.errors import suggest
from paramctl.node import MAX_WHOLE, Node, Scalar

MAX_EXPRESSION = 200
MAX_TEXT = 1_000
KNOWS = "${...} knows arithmetic, comparisons, and, or, not, a if c else b, min, max, ceil and floor"

_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: lambda a, b: a // b if isinstance(a, int) and isinstance(b, int) and a % b == 0 else a / b,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: lambda a, b: _power(a, b),
}
_COMPARISON: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_FUNCTIONS: dict[str, tuple[int, int, Callable[[Any], Any]]] = {
    "min": (1, MAX_EXPRESSION, min),
    "max": (1, MAX_EXPRESSION, max),
    "ceil": (1, 1, math.ceil),
    "floor": (1, 1, math.floor),
}
"""Each function with the least and the most arguments it takes."""
_CONSTANTS: dict[str, Scalar] = {"true": True, "false": False, "null": None}


class Env:
    """The names an expression may use: the document's variables, a block's options, and ``i``."""

    __slots__ = ("names",)

    def __init__(self, names: Mapping[str, Node]) -> None:
        self.names = names

    def with_(self, **names: Node) -> Env:
        return Env({**self.names, **names})

    def resolve(self, node: Node) -> Node:
        """The node with every ``${...}`` in it replaced by its value."""
        if not node.dynamic:
            return node
        value = node.value
        if isinstance(value, str):
            return _splice(node, value, self.names)
        place = (node.source, node.line, node.column, node.keys)
        if isinstance(value, list):
            return Node([self.resolve(item) for item in value], *place)
        assert isinstance(value, dict)
        return Node({key: self.resolve(item) for key, item in value.items()}, *place)


class _Wrong(ValueError):
    """What is wrong with an expression, without its place."""

    def __init__(self, rule: str, received: str | None = None, hint: str = "") -> None:
        super().__init__(rule)
        self.rule, self.received, self.hint = rule, received, hint


def _splice(node: Node, text: str, names: Mapping[str, Node]) -> Node:
    try:
        parts = _parts(text)
        if len(parts) == 1 and not isinstance(parts[0], str):
            value = _evaluate(parts[0], names)
            return value if isinstance(value, Node) else _at(node, value)
        spliced = "".join(part if isinstance(part, str) else _text(_evaluate(part, names)) for part in parts)
        if len(spliced) > MAX_TEXT:
            raise _Wrong(f"a text may grow to at most {MAX_TEXT:,} characters", f"{len(spliced):,}")
        return _at(node, spliced)
    except _Wrong as wrong:
        raise node.error(wrong.rule, wrong.received, wrong.hint) from None


def _at(node: Node, value: Scalar) -> Node:
    result = Node(value, node.source, node.line, node.column)
    result.dynamic = False  # what a value brings in is not read as an expression again
    return result


@lru_cache(maxsize=4096)
def _parts(text: str) -> tuple[str | ast.expr, ...]:
    """A text cut into plain pieces and parsed expressions."""
    parts: list[str | ast.expr] = []
    rest = text
    while "${" in rest:
        plain, _, rest = rest.partition("${")
        expression, closed, rest = rest.partition("}")
        if not closed:
            raise _Wrong("a ${ must be closed by a }")
        if plain:
            parts.append(plain)
        parts.append(_parse(expression.strip()))
    if rest:
        parts.append(rest)
    return tuple(parts)


def _parse(expression: str) -> ast.expr:
    if len(expression) > MAX_EXPRESSION:
        raise _Wrong(f"an expression may have at most {MAX_EXPRESSION} characters", f"{len(expression):,}")
    try:
        return ast.parse(expression, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _Wrong(KNOWS) from None


def _text(value: Node | Scalar) -> str:
    if isinstance(value, Node):
        value = _scalar(value)
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(value)


def _scalar(node: Node) -> Scalar:
    if isinstance(node.value, (list, dict)):
        raise _Wrong("a list or a mapping can only be passed on whole, not calculated with")
    return node.value


def _evaluate(tree: ast.expr, names: Mapping[str, Node]) -> Node | Scalar:
    """The value: a node when the expression is but a name, so that it keeps its place."""
    if isinstance(tree, ast.Name) and tree.id in names:
        return names[tree.id]
    return _bounded(_value(tree, names))


def _bounded(value: Any) -> Scalar:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and abs(value) <= MAX_WHOLE:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise _Wrong("the result must be a finite number that fits in 64 bits")


def _value(tree: ast.expr, names: Mapping[str, Node]) -> Any:
    for kind, evaluate in _EVALUATORS:
        if isinstance(tree, kind):
            return evaluate(tree, names)
    raise _Wrong(KNOWS)


def _constant(value: object) -> Scalar:
    if value is None or isinstance(value, (bool, float, str)):
        return value
    if isinstance(value, int):
        return _bounded(value)
    raise _Wrong("${...} holds whole numbers, decimals, true, false, null and quoted text")


def _name(name: str, names: Mapping[str, Node]) -> Scalar:
    if name in names:
        return _scalar(names[name])
    if name in _CONSTANTS:
        return _CONSTANTS[name]
    hint = suggest(name, names)
    if not hint:
        hint = f"Known here: {', '.join(names)}." if names else "No variables are known here."
    raise _Wrong("no variable has this name here", repr(name), hint)


def _number(value: object) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _Wrong("arithmetic needs numbers", _text(value) if isinstance(value, bool) else repr(value))
    return value


def _unary(tree: ast.UnaryOp, names: Mapping[str, Node]) -> Any:
    value = _value(tree.operand, names)
    if isinstance(tree.op, ast.Not):
        return not value
    if isinstance(tree.op, ast.Invert):
        raise _Wrong(KNOWS)
    return -_number(value) if isinstance(tree.op, ast.USub) else _number(value)


def _logic(tree: ast.BoolOp, names: Mapping[str, Node]) -> Any:
    value = None
    for operand in tree.values:
        value = _value(operand, names)
        if bool(value) is isinstance(tree.op, ast.Or):
            break
    return value


def _choice(tree: ast.IfExp, names: Mapping[str, Node]) -> Any:
    return _value(tree.body if _value(tree.test, names) else tree.orelse, names)


def _arithmetic(tree: ast.BinOp, names: Mapping[str, Node]) -> Any:
    operation = _ARITHMETIC.get(type(tree.op))
    if operation is None:
        raise _Wrong(KNOWS)
    left, right = _number(_value(tree.left, names)), _number(_value(tree.right, names))
    try:
        return _bounded(operation(left, right))
    except ZeroDivisionError:
        raise _Wrong("division by zero") from None
    except OverflowError:
        raise _Wrong("the result must be a finite number that fits in 64 bits") from None


def _power(base: Any, exponent: Any) -> Any:
    if abs(exponent) > 64 and abs(base) > 1:
        raise OverflowError
    return base**exponent


def _compare(tree: ast.Compare, names: Mapping[str, Node]) -> bool:
    left = _value(tree.left, names)
    for sign, operand in zip(tree.ops, tree.comparators, strict=True):
        right = _value(operand, names)
        if type(sign) not in _COMPARISON:
            raise _Wrong("${...} compares with ==, !=, <, <=, > and >=")
        try:
            if not _COMPARISON[type(sign)](left, right):
                return False
        except TypeError:
            raise _Wrong("these two cannot be compared", f"{left!r} and {right!r}") from None
        left = right
    return True


def _call(tree: ast.Call, names: Mapping[str, Node]) -> Any:
    if not isinstance(tree.func, ast.Name) or tree.func.id not in _FUNCTIONS or tree.keywords:
        raise _Wrong("${...} has the functions min, max, ceil and floor")
    least, most, function = _FUNCTIONS[tree.func.id]
    if not least <= len(tree.args) <= most:
        raise _Wrong(f"{tree.func.id} takes {'one number' if most == 1 else 'numbers'}", f"{len(tree.args)} of them")
    arguments = [_number(_value(argument, names)) for argument in tree.args]
    return function(arguments) if most > 1 else function(arguments[0])


_EVALUATORS: tuple[tuple[type[ast.expr], Callable[[Any, Mapping[str, Node]], Any]], ...] = (
    (ast.Constant, lambda tree, names: _constant(tree.value)),
    (ast.Name, lambda tree, names: _name(tree.id, names)),
    (ast.BinOp, _arithmetic),
    (ast.UnaryOp, _unary),
    (ast.BoolOp, _logic),
    (ast.Compare, _compare),
    (ast.IfExp, _choice),
    (ast.Call, _call),
)
