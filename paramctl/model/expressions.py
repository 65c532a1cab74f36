"""Evaluate ``${...}``: arithmetic on variables, with bounded expressions and results.

Python's parser parses an expression, and this module walks the syntax tree. Nothing is evaluated as Python.
A scalar that consists of one ``${...}`` keeps the type of the value: ``"${width}"`` is the integer 64.
Within other text the value is inserted as text: ``"block-${i}"`` is ``block-0``.
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
SUPPORTED = (
    "${...} supports arithmetic, comparisons, and, or, not, a if c else b, min, max, ceil, floor, and items of lists"
)
INPUT = "input"
"""The name of the shape of the input of an entry, without the batch axis. A variable of this name hides it."""

_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    # Exact division of integers gives an integer, so that ``${width / 2}`` can be a size.
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
"""Each function with its minimum and maximum number of arguments."""
CONSTANTS: dict[str, Scalar] = {"true": True, "false": False, "null": None}


_TEMPLATE = re.compile(r"""\$\{((?:[^}'"]|'[^']*'|"[^"]*")*)\}""")
"""An expression in a text, up to the closing brace. A brace within quotes does not close it: ``${'}'}``."""


class Variables:
    """The names that an expression may use: the document's variables, a block's options, and ``i``.

    Names that are not in ``names`` are looked up in ``outer``.
    """

    __slots__ = ("names", "outer")

    def __init__(self, names: dict[str, Located], outer: Variables | None = None) -> None:
        self.names = names
        self.outer = outer

    def get(self, name: str) -> Located | None:
        scope: Variables | None = self
        while scope is not None:
            if name in scope.names:
                return scope.names[name]
            scope = scope.outer
        return None

    def known(self) -> list[str]:
        """Return every name, innermost first."""
        return [*self.names, *(self.outer.known() if self.outer else ())]

    def get_input(self) -> Located | None:
        """Return the shape of the input of the entry in whose options the expression is; None outside entries."""
        return None

    def resolve(self, node: Located) -> Located:
        """Return the node with every ``${...}`` replaced by its value. Raises DocumentError if it is invalid."""
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
        # A variable may be a list, so ["${a}", "${a}"] doubles with each step of a chain.
        if result.size > MAX_NODES or result.height > MAX_DEPTH:
            raise node.error(
                f"expanded variables may nest at most {MAX_DEPTH} deep and contain at most {MAX_NODES:,} values"
            )
        return result


class EntryVariables(Variables):
    """The names that the options of an entry may use: those around it, and its input.

    find: returns the shape of the input. Called only if an expression uses it, because an input of an unknown shape, or
        several inputs, are errors there only.
    """

    __slots__ = ("_find", "_input")

    def __init__(self, outer: Variables, find: Callable[[], Located]) -> None:
        super().__init__({}, outer)
        self._find = find
        self._input: Located | None = None

    def get_input(self) -> Located:
        if self._input is None:
            self._input = self._find()
        return self._input


class ExpressionError(ValueError):
    """An invalid expression. The caller adds the position."""

    def __init__(self, rule: str, received: str | None = None, hint: str = "") -> None:
        super().__init__(rule)
        self.rule, self.received, self.hint = rule, received, hint


def _splice(node: Located, text: str, variables: Variables) -> Located:
    try:
        if len(text) > MAX_TEMPLATE:
            raise ExpressionError(
                f"text that contains ${{...}} may have at most {MAX_TEMPLATE:,} characters", f"{len(text):,}"
            )
        parts = _parts(text)
        if len(parts) == 1 and not isinstance(parts[0], str):  # one ``${...}`` alone keeps its type
            value = _evaluate(parts[0], variables)
            if isinstance(value, Located):
                return value if value.source is not None else value.at(node)  # ``i`` has no position of its own
            return _at(node, value)
        spliced = "".join(part if isinstance(part, str) else _text(_evaluate(part, variables)) for part in parts)
        if len(spliced) > MAX_TEXT:
            raise ExpressionError(f"text may grow to at most {MAX_TEXT:,} characters", f"{len(spliced):,}")
        return _at(node, spliced)
    except ExpressionError as error:
        raise node.error(error.rule, error.received, error.hint) from None


def _at(node: Located, value: Scalar) -> Located:
    result = Located(value, node.source, node.line, node.column)
    result.dynamic = False  # a value that contains ``${`` is not an expression
    return result


@lru_cache(maxsize=4096)
def _parts(text: str) -> tuple[str | ast.expr, ...]:
    """Split text into literal pieces and parsed expressions."""
    parts: list[str | ast.expr] = []
    end = 0
    for match in _TEMPLATE.finditer(text):
        if match.start() > end:
            parts.append(text[end : match.start()])
        parts.append(_parse(match[1].strip()))
        end = match.end()
    if "${" in text[end:]:  # the pattern did not match it, so it has no closing brace
        raise ExpressionError("${ must be closed by }")
    if end < len(text):
        parts.append(text[end:])
    return tuple(parts)


def _parse(expression: str) -> ast.expr:
    if len(expression) > MAX_EXPRESSION:
        raise ExpressionError(f"an expression may have at most {MAX_EXPRESSION} characters", f"{len(expression):,}")
    tree = syntax_tree(expression)
    if tree is None:
        raise ExpressionError(SUPPORTED)
    return tree


def syntax_tree(expression: str) -> ast.expr | None:
    """Return the syntax tree of a short expression, or None if it is not one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", SyntaxWarning)  # such as for ``1if a else 2``
            return ast.parse(expression, mode="eval").body
    except (SyntaxError, SyntaxWarning, ValueError, RecursionError, MemoryError):
        return None


def _text(value: Located | Scalar) -> str:
    return scalar_text(_scalar(value) if isinstance(value, Located) else value)


def _scalar(node: Located) -> Scalar:
    if isinstance(node.value, (list, dict)):
        raise ExpressionError("a list or a mapping cannot be used in a calculation")
    return node.value


def _evaluate(tree: ast.expr, variables: Variables) -> Located | Scalar:
    """Return the value. For a single name this is its node, which keeps its position and may be a list or mapping."""
    if isinstance(tree, ast.Name) and (node := _variable(tree.id, variables)) is not None:
        return node
    return _bounded(_value(tree, variables))


def _bounded(value: Any) -> Scalar:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and abs(value) <= MAX_INTEGER:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise ExpressionError("the result must be a finite number that fits in 64 bits")


def _value(tree: ast.expr, variables: Variables) -> Any:
    for node_type, evaluate in _EVALUATORS:
        if isinstance(tree, node_type):
            return evaluate(tree, variables)
    raise ExpressionError(SUPPORTED)


def _constant(value: object) -> Scalar:
    if value is None or isinstance(value, (bool, float, int, str)):
        return _bounded(value)
    raise ExpressionError("${...} supports integers, decimals, true, false, null, and quoted text")


def _variable(name: str, variables: Variables) -> Located | None:
    node = variables.get(name)
    return variables.get_input() if node is None and name == INPUT else node


def _item(tree: ast.Subscript, variables: Variables) -> Scalar:
    """Return an item of a list: ``${input[-1]}``."""
    node = _variable(tree.value.id, variables) if isinstance(tree.value, ast.Name) else None
    if node is None and isinstance(tree.value, ast.Name):
        _name(tree.value.id, variables)  # raises an error that lists the names
    if node is None or not isinstance(node.value, list):
        raise ExpressionError(SUPPORTED)
    index, size = _value(tree.slice, variables), len(node.value)
    if isinstance(index, bool) or not isinstance(index, int) or not -size <= index < size:
        rule = f"the index must be a whole number from {-size} to {size - 1}" if size else "the list is empty"
        raise ExpressionError(rule, _text(index))
    item = _scalar(node.value[index])
    if item is None and variables.get(tree.value.id) is None:  # type: ignore[attr-defined]
        raise ExpressionError("this size of the input is unknown", hint="Give it in the document or by --input-shape.")
    return item


def _name(name: str, variables: Variables) -> Scalar:
    node = _variable(name, variables)
    if node is not None:
        return _scalar(node)
    if name in CONSTANTS:
        return CONSTANTS[name]
    known = variables.known()
    hint = suggest(name, known)
    if not hint:
        hint = f"Variables here: {', '.join(known[:10])}." if known else "No variables are defined here."
    raise ExpressionError("no variable has this name", repr(name), hint)


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)):  # true is not 1 here
        raise ExpressionError("arithmetic requires numbers", repr(value) if isinstance(value, str) else _text(value))
    return value


def _unary(tree: ast.UnaryOp, variables: Variables) -> Any:
    value = _value(tree.operand, variables)
    if isinstance(tree.op, ast.Not):
        return not value
    if isinstance(tree.op, ast.Invert):
        raise ExpressionError(SUPPORTED)
    return -_number(value) if isinstance(tree.op, ast.USub) else _number(value)


def _logic(tree: ast.BoolOp, variables: Variables) -> Any:
    value = None
    for operand in tree.values:  # as in Python, stop at the first operand that decides
        value = _value(operand, variables)
        if bool(value) is isinstance(tree.op, ast.Or):
            break
    return value


def _choice(tree: ast.IfExp, variables: Variables) -> Any:
    return _value(tree.body if _value(tree.test, variables) else tree.orelse, variables)


def _arithmetic(tree: ast.BinOp, variables: Variables) -> Any:
    operation = _ARITHMETIC.get(type(tree.op))
    if operation is None:
        raise ExpressionError(SUPPORTED)
    left, right = _number(_value(tree.left, variables)), _number(_value(tree.right, variables))
    try:
        return _bounded(operation(left, right))
    except ZeroDivisionError:
        raise ExpressionError("division by zero") from None
    except OverflowError:
        raise ExpressionError("the result must be a finite number that fits in 64 bits") from None


def _power(base: Any, exponent: Any) -> Any:
    if isinstance(base, int) and isinstance(exponent, int) and exponent > 64 and abs(base) > 1:
        raise OverflowError  # checked before the power is computed: 9 ** 9 ** 9 would take forever
    return base**exponent


def _compare(tree: ast.Compare, variables: Variables) -> bool:
    left = _value(tree.left, variables)
    for sign, operand in zip(tree.ops, tree.comparators, strict=True):
        right = _value(operand, variables)
        if type(sign) not in _COMPARISON:
            raise ExpressionError("${...} supports the comparisons ==, !=, <, <=, >, and >=")
        try:
            if not _COMPARISON[type(sign)](left, right):
                return False
        except TypeError:
            raise ExpressionError("these values cannot be compared", f"{left!r} and {right!r}") from None
        left = right
    return True


def _call(tree: ast.Call, variables: Variables) -> Any:
    if not isinstance(tree.func, ast.Name) or tree.func.id not in FUNCTIONS or tree.keywords:
        raise ExpressionError("${...} supports the functions min, max, ceil, and floor")
    least, most, function = FUNCTIONS[tree.func.id]
    if not least <= len(tree.args) <= most:
        raise ExpressionError(
            f"{tree.func.id} takes {'one number' if most == 1 else 'numbers'}", f"{len(tree.args)} of them"
        )
    arguments = [_number(_value(argument, variables)) for argument in tree.args]
    return function(arguments) if most > 1 else function(arguments[0])


_EVALUATORS: tuple[tuple[type[ast.expr], Callable[[Any, Variables], Any]], ...] = (
    (ast.Constant, lambda tree, _: _constant(tree.value)),
    (ast.Name, lambda tree, variables: _name(tree.id, variables)),
    (ast.Subscript, _item),
    (ast.BinOp, _arithmetic),
    (ast.UnaryOp, _unary),
    (ast.BoolOp, _logic),
    (ast.Compare, _compare),
    (ast.IfExp, _choice),
    (ast.Call, _call),
)
