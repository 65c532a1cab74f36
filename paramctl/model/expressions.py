"""``${...}``: a little arithmetic with names, bounded in size and in what may come of it.

The text is parsed by Python's own parser and walked node by node; nothing is ever evaluated as
Python. A scalar that is one ``${...}`` keeps the value's type; inside other text it is spliced.
"""

from __future__ import annotations

import ast
import math
import operator
import re
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from paramctl.declare.located import MAX_DEPTH, MAX_INTEGER, MAX_NODES, Located, Scalar, scalar_text
from paramctl.errors import suggest

MAX_EXPRESSION = 200
MAX_TEXT = 1_000
MAX_TEMPLATE = 2_000
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
FUNCTIONS: dict[str, tuple[int, int, Callable[[Any], Any]]] = {
    "min": (1, MAX_EXPRESSION, min),
    "max": (1, MAX_EXPRESSION, max),
    "ceil": (1, 1, math.ceil),
    "floor": (1, 1, math.floor),
}
"""Each function with the least and the most arguments it takes."""
CONSTANTS: dict[str, Scalar] = {"true": True, "false": False, "null": None}


_TEMPLATE = re.compile(r"""\$\{((?:[^}'"]|'[^']*'|"[^"]*")*)\}""")
"""An expression in a text: up to the } that closes it, not one within quotes."""


class Variables:
    """The names an expression may use: the document's variables, a block's options, and ``i``.

    ``outer`` is looked in for what is not among the names themselves.
    """

    __slots__ = ("names", "outer")

    def __init__(self, names: dict[str, Located], outer: Variables | None = None) -> None:
        self.names = names
        self.outer = outer

    def get(self, name: str) -> Located | None:
        env: Variables | None = self
        while env is not None:
            if name in env.names:
                return env.names[name]
            env = env.outer
        return None

    def known(self) -> list[str]:
        """Every name, the nearest first."""
        return [*self.names, *(self.outer.known() if self.outer else ())]

    def resolve(self, node: Located) -> Located:
        """The node with every ``${...}`` in it replaced by its value."""
        if not node.dynamic:
            return node
        value = node.value
        if isinstance(value, str):
            return _splice(node, value, self)
        place = (node.source, node.line, node.column, node.keys)
        if isinstance(value, list):
            result = Located([self.resolve(item) for item in value], *place)
        else:
            assert isinstance(value, dict)
            result = Located({key: self.resolve(item) for key, item in value.items()}, *place)
        if result.size > MAX_NODES or result.height > MAX_DEPTH:
            raise node.error(
                f"with its variables filled in, this nests over {MAX_DEPTH} deep or has over {MAX_NODES:,} values"
            )
        return result


class _Wrong(ValueError):
    """What is wrong with an expression, without its place."""

    def __init__(self, rule: str, received: str | None = None, hint: str = "") -> None:
        super().__init__(rule)
        self.rule, self.received, self.hint = rule, received, hint


def _splice(node: Located, text: str, env: Variables) -> Located:
    try:
        if len(text) > MAX_TEMPLATE:
            raise _Wrong(f"a text with ${{...}} in it may have at most {MAX_TEMPLATE:,} characters", f"{len(text):,}")
        parts = _parts(text)
        if len(parts) == 1 and not isinstance(parts[0], str):
            value = _evaluate(parts[0], env)
            if isinstance(value, Located):
                return value if value.source is not None else value.at(node)  # i is written nowhere else
            return _at(node, value)
        spliced = "".join(part if isinstance(part, str) else _text(_evaluate(part, env)) for part in parts)
        if len(spliced) > MAX_TEXT:
            raise _Wrong(f"a text may grow to at most {MAX_TEXT:,} characters", f"{len(spliced):,}")
        return _at(node, spliced)
    except _Wrong as wrong:
        raise node.error(wrong.rule, wrong.received, wrong.hint) from None


def _at(node: Located, value: Scalar) -> Located:
    result = Located(value, node.source, node.line, node.column)
    result.dynamic = False  # what a value brings in is not read as an expression again
    return result


@lru_cache(maxsize=4096)
def _parts(text: str) -> tuple[str | ast.expr, ...]:
    """A text cut into plain pieces and parsed expressions."""
    parts: list[str | ast.expr] = []
    end = 0
    for match in _TEMPLATE.finditer(text):
        if match.start() > end:
            parts.append(text[end : match.start()])
        parts.append(_parse(match[1].strip()))
        end = match.end()
    if "${" in text[end:]:
        raise _Wrong("a ${ must be closed by a }")
    if end < len(text):
        parts.append(text[end:])
    return tuple(parts)


def _parse(expression: str) -> ast.expr:
    if len(expression) > MAX_EXPRESSION:
        raise _Wrong(f"an expression may have at most {MAX_EXPRESSION} characters", f"{len(expression):,}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", SyntaxWarning)  # what Python merely doubts is refused
            return ast.parse(expression, mode="eval").body
    except (SyntaxError, SyntaxWarning, ValueError, RecursionError, MemoryError):
        raise _Wrong(KNOWS) from None


def _text(value: Located | Scalar) -> str:
    return scalar_text(_scalar(value) if isinstance(value, Located) else value)


def _scalar(node: Located) -> Scalar:
    if isinstance(node.value, (list, dict)):
        raise _Wrong("a list or a mapping can only be passed on whole, not calculated with")
    return node.value


def _evaluate(tree: ast.expr, env: Variables) -> Located | Scalar:
    """The value: a node when the expression is but a name, so that it keeps its place."""
    if isinstance(tree, ast.Name) and (node := env.get(tree.id)) is not None:
        return node
    return _bounded(_value(tree, env))


def _bounded(value: Any) -> Scalar:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and abs(value) <= MAX_INTEGER:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise _Wrong("the result must be a finite number that fits in 64 bits")


def _value(tree: ast.expr, env: Variables) -> Any:
    for kind, evaluate in _EVALUATORS:
        if isinstance(tree, kind):
            return evaluate(tree, env)
    raise _Wrong(KNOWS)


def _constant(value: object) -> Scalar:
    if value is None or isinstance(value, (bool, float, int, str)):
        return _bounded(value)
    raise _Wrong("${...} holds whole numbers, decimals, true, false, null and quoted text")


def _name(name: str, env: Variables) -> Scalar:
    node = env.get(name)
    if node is not None:
        return _scalar(node)
    if name in CONSTANTS:
        return CONSTANTS[name]
    known = env.known()
    hint = suggest(name, known)
    if not hint:
        hint = f"Known here: {', '.join(known[:10])}." if known else "No variables are known here."
    raise _Wrong("no variable has this name here", repr(name), hint)


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _Wrong("arithmetic needs numbers", repr(value) if isinstance(value, str) else _text(value))
    return value


def _unary(tree: ast.UnaryOp, env: Variables) -> Any:
    value = _value(tree.operand, env)
    if isinstance(tree.op, ast.Not):
        return not value
    if isinstance(tree.op, ast.Invert):
        raise _Wrong(KNOWS)
    return -_number(value) if isinstance(tree.op, ast.USub) else _number(value)


def _logic(tree: ast.BoolOp, env: Variables) -> Any:
    value = None
    for operand in tree.values:
        value = _value(operand, env)
        if bool(value) is isinstance(tree.op, ast.Or):
            break
    return value


def _choice(tree: ast.IfExp, env: Variables) -> Any:
    return _value(tree.body if _value(tree.test, env) else tree.orelse, env)


def _arithmetic(tree: ast.BinOp, env: Variables) -> Any:
    operation = _ARITHMETIC.get(type(tree.op))
    if operation is None:
        raise _Wrong(KNOWS)
    left, right = _number(_value(tree.left, env)), _number(_value(tree.right, env))
    try:
        return _bounded(operation(left, right))
    except ZeroDivisionError:
        raise _Wrong("division by zero") from None
    except OverflowError:
        raise _Wrong("the result must be a finite number that fits in 64 bits") from None


def _power(base: Any, exponent: Any) -> Any:
    if isinstance(base, int) and isinstance(exponent, int) and exponent > 64 and abs(base) > 1:
        raise OverflowError  # before the power is taken, not after
    return base**exponent


def _compare(tree: ast.Compare, env: Variables) -> bool:
    left = _value(tree.left, env)
    for sign, operand in zip(tree.ops, tree.comparators, strict=True):
        right = _value(operand, env)
        if type(sign) not in _COMPARISON:
            raise _Wrong("${...} compares with ==, !=, <, <=, > and >=")
        try:
            if not _COMPARISON[type(sign)](left, right):
                return False
        except TypeError:
            raise _Wrong("these two cannot be compared", f"{left!r} and {right!r}") from None
        left = right
    return True


def _call(tree: ast.Call, env: Variables) -> Any:
    if not isinstance(tree.func, ast.Name) or tree.func.id not in FUNCTIONS or tree.keywords:
        raise _Wrong("${...} has the functions min, max, ceil and floor")
    least, most, function = FUNCTIONS[tree.func.id]
    if not least <= len(tree.args) <= most:
        raise _Wrong(f"{tree.func.id} takes {'one number' if most == 1 else 'numbers'}", f"{len(tree.args)} of them")
    arguments = [_number(_value(argument, env)) for argument in tree.args]
    return function(arguments) if most > 1 else function(arguments[0])


_EVALUATORS: tuple[tuple[type[ast.expr], Callable[[Any, Variables], Any]], ...] = (
    (ast.Constant, lambda tree, _: _constant(tree.value)),
    (ast.Name, lambda tree, env: _name(tree.id, env)),
    (ast.BinOp, _arithmetic),
    (ast.UnaryOp, _unary),
    (ast.BoolOp, _logic),
    (ast.Compare, _compare),
    (ast.IfExp, _choice),
    (ast.Call, _call),
)
