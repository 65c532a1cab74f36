"""Option types: the values that an option of a layer, an activation, or a scheme may have.

An option type reads a node, states its rule, and gives its JSON schema. Options are declared as
annotations. ``units: Count`` is an ``int`` to a type checker, and its metadata is an option type that
accepts positive integers.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

from paramctl.declare.located import MAX_INTEGER, Located, parse_call
from paramctl.errors import DocumentError, suggest

MAX_AXES = 64
"""The number of axes that an array may have, as in NumPy."""


class OptionType:
    """The type of an option. ``rule`` completes the sentence "NAME must be ...".

    takes_list, takes_mapping: whether a list, or a mapping, can be a value.
    deferred: whether the value holds layers, whose variables are not known when the option is read.
    """

    rule = "anything"
    takes_list = False
    takes_mapping = False
    deferred = False

    def read(self, node: Located, name: str) -> Any:
        """Return the value of the option called ``name``. Raises DocumentError with the rule."""
        return node.plain()

    def refuse(self, node: Located, name: str, hint: str = "") -> DocumentError:
        """Return the error for a value that breaks the rule."""
        # ``$width`` and ``{width}`` are the usual mistakes for ``${width}``.
        if not hint and isinstance(node.value, str) and node.value.startswith(("$", "{")):
            hint = "Variables are written ${name}."
        return node.error(f"{name} must be {self.rule}", hint=hint)

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema (draft 7) of the values."""
        return {}


class FlagType(OptionType):
    rule = "true or false"

    def read(self, node: Located, name: str) -> bool:
        if isinstance(node.value, bool):
            return node.value
        raise self.refuse(node, name)

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


class IntegerType(OptionType):
    """An integer, optionally with a minimum. 4.0 is accepted; 4.5 and true are not."""

    def __init__(self, rule: str, minimum: int | None = None) -> None:
        self.rule, self.minimum = rule, minimum

    def read(self, node: Located, name: str) -> int:
        value = node.value
        # other programs write 4 as 4.0, and ${width * 0.5} gives it
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or abs(value) > MAX_INTEGER:
            raise self.refuse(node, name)
        if self.minimum is not None and value < self.minimum:
            raise self.refuse(node, name)
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "integer"} | ({} if self.minimum is None else {"minimum": self.minimum})


class NumberType(OptionType):
    """A finite number with optional bounds: ``minimum <= x <= maximum`` and ``above < x < below``."""

    def __init__(
        self,
        rule: str,
        minimum: float = -math.inf,
        maximum: float = math.inf,
        above: float = -math.inf,
        below: float = math.inf,
    ) -> None:
        self.rule, self.above, self.below = rule, above, below
        self.minimum, self.maximum = minimum, maximum

    def read(self, node: Located, name: str) -> int | float:
        value = node.value
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.refuse(node, name)
        if not self.minimum <= value <= self.maximum or not self.above < value < self.below:
            raise self.refuse(node, name)
        return value

    def schema(self) -> dict[str, Any]:
        bounds = {
            "minimum": self.minimum,
            "maximum": self.maximum,
            "exclusiveMinimum": self.above,
            "exclusiveMaximum": self.below,
        }
        return {"type": "number"} | {key: value for key, value in bounds.items() if math.isfinite(value)}


class TextType(OptionType):
    rule = "text"

    def read(self, node: Located, name: str) -> str:
        if isinstance(node.value, str):
            return node.value
        raise self.refuse(node, name)

    def schema(self) -> dict[str, Any]:
        return {"type": "string"}


class ChoiceType(OptionType):
    """One of several words."""

    def __init__(self, *choices: str) -> None:
        self.choices = choices
        self.rule = f"{', '.join(choices[:-1])} or {choices[-1]}"

    def read(self, node: Located, name: str) -> str:
        if isinstance(node.value, str):
            if node.value in self.choices:
                return node.value
            raise self.refuse(node, name, suggest(node.value, self.choices))
        raise self.refuse(node, name)

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.choices)}


class ListType(OptionType):
    """A list of items of one type. A single value is repeated ``length`` times, or once without a length."""

    takes_list = True

    def __init__(self, item: OptionType, rule: str, length: int | None = None) -> None:
        self.item, self.rule, self.length = item, rule, length

    def read(self, node: Located, name: str) -> tuple[Any, ...]:
        if isinstance(node.value, list) and len(node.value) > MAX_AXES:
            raise node.error(f"{name} may have at most {MAX_AXES} items")
        if not isinstance(node.value, list):  # kernel_size: 3 of a 2D convolution means [3, 3]
            return (self.read_item(node, name),) * (self.length or 1)
        if self.length is not None and len(node.value) != self.length:
            raise self.refuse(node, name)
        return tuple(self.read_item(item, name) for item in node.value)

    def read_item(self, item: Located, name: str) -> Any:
        try:
            return self.item.read(item, name)
        except DocumentError:  # state the rule of the whole list, at the position of the item
            raise self.refuse(item, name) from None

    def schema(self) -> dict[str, Any]:
        item = self.item.schema()
        bounds = {} if self.length is None else {"minItems": self.length, "maxItems": self.length}
        return {"anyOf": [item, {"type": "array", "items": item} | bounds]}


class ShapeType(ListType):
    """A list of sizes, null where unknown. A single size is a shape with one axis."""

    def read_item(self, item: Located, name: str) -> Any:
        if item.value == "None":  # Keras prints shapes as (None, 4), and YAML reads None as text
            raise self.refuse(item, name, "Write null for an unknown size, and omit the batch axis.")
        return None if item.value is None else super().read_item(item, name)

    def schema(self) -> dict[str, Any]:
        size = {"anyOf": [self.item.schema(), {"type": "null"}]}
        return {"anyOf": [self.item.schema(), {"type": "array", "items": size}]}


class NamesType(OptionType):
    """A name or a list of names, returned as nodes so that a failed lookup has a position."""

    rule = "a name or a list of names"
    takes_list = True

    def read(self, node: Located, name: str) -> list[Located]:
        names = node.value if isinstance(node.value, list) else [node]
        for item in names:
            if not isinstance(item.value, str) or not item.value:
                raise self.refuse(item, name)
        if not names:
            raise self.refuse(node, name)
        return names

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}


class SchemeType(OptionType):
    """An initializer, returned unread: ``paramctl.init`` interprets it."""

    rule = "an initializer: a name, or a name with its options"
    takes_mapping = True

    def read(self, node: Located, name: str) -> Located:
        if parse_call(node) is None:
            raise self.refuse(node, name)
        return node

    def schema(self) -> dict[str, Any]:
        return {"$ref": "#/definitions/initializer"}


POSITIVE = IntegerType("a positive integer", 1)
NATURAL = IntegerType("a non-negative integer", 0)

Flag = Annotated[bool, FlagType()]
Count = Annotated[int, POSITIVE]
Natural = Annotated[int, NATURAL]
Integer = Annotated[int, IntegerType("an integer")]
Number = Annotated[float, NumberType("a finite number")]
Positive = Annotated[float, NumberType("a positive finite number", above=0)]
NonNegative = Annotated[float, NumberType("a non-negative finite number", minimum=0)]
Rate = Annotated[float, NumberType("a number from 0 to less than 1", minimum=0, below=1)]
UnitInterval = Annotated[float, NumberType("a number from 0 to 1", minimum=0, maximum=1)]
Text = Annotated[str, TextType()]
Names = Annotated[list[Located], NamesType()]
Scheme = Annotated[Located, SchemeType()]
Shape = Annotated[
    tuple[int | None, ...], ShapeType(POSITIVE, "a list of positive integers, with null for unknown sizes")
]
Counts = Annotated[tuple[int, ...], ListType(POSITIVE, "a positive integer or a list of them")]
Axes = Annotated[tuple[int, ...], ListType(IntegerType("an axis number"), "an axis number or a list of them")]
