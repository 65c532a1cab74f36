"""Kinds: what the option of a layer, an activation or a scheme may be.

A kind reads a node, says its rule in words, and gives its JSON schema. An option is declared by an
annotation that is an ordinary type for a type checker and carries a kind: ``Count`` is an int to the
one and a positive whole number to the other.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

from paramctl.declare.located import MAX_INTEGER, Located, parse_call
from paramctl.errors import DocumentError, suggest

MAX_AXES = 64
"""How many axes an array may have: as many as in NumPy."""


class OptionType:
    """What an option may be. ``words`` completes "x must be ..."."""

    words = "anything"
    takes_list = False
    takes_mapping = False
    deferred = False  # holds layers: left unread until its own variables are known

    def read(self, node: Located, name: str) -> Any:
        """The value of the option of this name, or the error that says the rule."""
        return node.plain()

    def refuse(self, node: Located, name: str, hint: str = "") -> DocumentError:
        if not hint and isinstance(node.value, str) and node.value.startswith(("$", "{")):
            hint = "Variables are written ${name}."
        return node.error(f"{name} must be {self.words}", hint=hint)

    def schema(self) -> dict[str, Any]:
        """The JSON schema (draft 7) of what a document may hold here."""
        return {}


class FlagType(OptionType):
    words = "true or false"

    def read(self, node: Located, name: str) -> bool:
        if isinstance(node.value, bool):
            return node.value
        raise self.refuse(node, name)

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


class IntegerType(OptionType):
    """A whole number, perhaps with a least; 4.0 is one, 4.5 and true are not."""

    def __init__(self, words: str, least: int | None = None) -> None:
        self.words, self.least = words, least

    def read(self, node: Located, name: str) -> int:
        value = node.value
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or abs(value) > MAX_INTEGER:
            raise self.refuse(node, name)
        if self.least is not None and value < self.least:
            raise self.refuse(node, name)
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "integer"} | ({} if self.least is None else {"minimum": self.least})


class NumberType(OptionType):
    """A finite number, perhaps bounded: ``least <= x <= most``, ``above < x < below``."""

    def __init__(
        self,
        words: str,
        least: float = -math.inf,
        most: float = math.inf,
        above: float = -math.inf,
        below: float = math.inf,
    ) -> None:
        self.words, self.least, self.most, self.above, self.below = words, least, most, above, below

    def read(self, node: Located, name: str) -> int | float:
        value = node.value
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.refuse(node, name)
        if not self.least <= value <= self.most or not self.above < value < self.below:
            raise self.refuse(node, name)
        return value

    def schema(self) -> dict[str, Any]:
        bounds = {
            "minimum": self.least,
            "maximum": self.most,
            "exclusiveMinimum": self.above,
            "exclusiveMaximum": self.below,
        }
        return {"type": "number"} | {key: value for key, value in bounds.items() if math.isfinite(value)}


class TextType(OptionType):
    words = "text"

    def read(self, node: Located, name: str) -> str:
        if isinstance(node.value, str):
            return node.value
        raise self.refuse(node, name)

    def schema(self) -> dict[str, Any]:
        return {"type": "string"}


class ChoiceType(OptionType):
    """One of a few words."""

    def __init__(self, *choices: str) -> None:
        self.choices = choices
        self.words = f"{', '.join(choices[:-1])} or {choices[-1]}"

    def read(self, node: Located, name: str) -> str:
        if isinstance(node.value, str):
            if node.value in self.choices:
                return node.value
            raise self.refuse(node, name, suggest(node.value, self.choices))
        raise self.refuse(node, name)

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.choices)}


class ListType(OptionType):
    """A list of one kind. With a length, one value stands for that many; without, for itself alone."""

    takes_list = True

    def __init__(self, item: OptionType, words: str, length: int | None = None) -> None:
        self.item, self.words, self.length = item, words, length

    def read(self, node: Located, name: str) -> tuple[Any, ...]:
        if isinstance(node.value, list) and len(node.value) > MAX_AXES:
            raise node.error(f"{name} may have at most {MAX_AXES} items")
        if not isinstance(node.value, list):
            return (self.read_item(node, name),) * (self.length or 1)
        if self.length is not None and len(node.value) != self.length:
            raise self.refuse(node, name)
        return tuple(self.read_item(item, name) for item in node.value)

    def read_item(self, item: Located, name: str) -> Any:
        try:
            return self.item.read(item, name)
        except DocumentError:
            raise self.refuse(item, name) from None

    def schema(self) -> dict[str, Any]:
        item = self.item.schema()
        bounds = {} if self.length is None else {"minItems": self.length, "maxItems": self.length}
        return {"anyOf": [item, {"type": "array", "items": item} | bounds]}


class ShapeType(ListType):
    """Sizes of axes, null where not known; a single size is a shape of one axis."""

    def read_item(self, item: Located, name: str) -> Any:
        if item.value == "None":
            raise self.refuse(item, name, "Write null for a size not known; the batch axis is left out.")
        return None if item.value is None else super().read_item(item, name)

    def schema(self) -> dict[str, Any]:
        size = {"anyOf": [self.item.schema(), {"type": "null"}]}
        return {"anyOf": [self.item.schema(), {"type": "array", "items": size}]}


class NamesType(OptionType):
    """A name or a list of names, each as a node, for whoever looks it up."""

    words = "a name or a list of names"
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
    """An initializer: a call, kept as it is written; ``paramctl.init`` knows what it may be."""

    words = "an initializer: a name, or a name with its options"
    takes_mapping = True

    def read(self, node: Located, name: str) -> Located:
        if parse_call(node) is None:
            raise self.refuse(node, name)
        return node

    def schema(self) -> dict[str, Any]:
        return {"$ref": "#/definitions/initializer"}


POSITIVE = IntegerType("a positive whole number", 1)
NATURAL = IntegerType("a whole number, not negative", 0)

Flag = Annotated[bool, FlagType()]
Count = Annotated[int, POSITIVE]
Natural = Annotated[int, NATURAL]
Integer = Annotated[int, IntegerType("a whole number")]
Number = Annotated[float, NumberType("a finite number")]
Positive = Annotated[float, NumberType("a positive finite number", above=0)]
NotNegative = Annotated[float, NumberType("a finite number, not negative", least=0)]
Rate = Annotated[float, NumberType("a number from 0 up to but not including 1", least=0, below=1)]
Share = Annotated[float, NumberType("a number from 0 to 1", least=0, most=1)]
Text = Annotated[str, TextType()]
Names = Annotated[list[Located], NamesType()]
Scheme = Annotated[Located, SchemeType()]
Shape = Annotated[tuple[int | None, ...], ShapeType(POSITIVE, "a list of positive whole numbers, null where not known")]
Counts = Annotated[tuple[int, ...], ListType(POSITIVE, "a positive whole number or a list of them")]
Axes = Annotated[tuple[int, ...], ListType(IntegerType("an axis"), "the number of an axis or a list of them")]
