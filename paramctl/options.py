"""Options: how a layer, an activation or a scheme declares its arguments, and how they are read.

Whatever is written as ``name``, ``name: main option`` or ``name: {options}`` is a *call*. What
may be called declares its options as annotations, main option first::

    units: Count
    use_bias: Flag = True

Each annotation is an ordinary type for a type checker and carries a Kind, which reads a node,
says its rule in words, and gives its JSON schema. Calls are bound by one function, ``bind``, so
a misspelt option, a missing one or one of another type is refused alike everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, NamedTuple, Self, dataclass_transform, get_args, get_origin

from paramctl.errors import DocumentError, suggest
from paramctl.node import Node


class Kind:
    """What an option may be. ``words`` completes "x must be ..."."""

    words = "anything"
    takes_list = False
    takes_mapping = False
    deferred = False  # holds layers: left unread until its own variables are known

    def read(self, node: Node, name: str) -> Any:
        """The value of the option of this name, or the error that says the rule."""
        return node.plain()

    def refuse(self, node: Node, name: str, hint: str = "") -> DocumentError:
        return node.error(f"{name} must be {self.words}", hint=hint)

    def schema(self) -> dict[str, Any]:
        """The JSON schema (draft 7) of what a document may hold here."""
        return {}


class IsFlag(Kind):
    words = "true or false"

    def read(self, node: Node, name: str) -> bool:
        if isinstance(node.value, bool):
            return node.value
        raise self.refuse(node, name)

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


class IsWhole(Kind):
    """A whole number, perhaps with a least; 4.0 is one, 4.5 and true are not."""

    def __init__(self, words: str, least: int | None = None) -> None:
        self.words, self.least = words, least

    def read(self, node: Node, name: str) -> int:
        value = node.value
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.refuse(node, name)
        if self.least is not None and value < self.least:
            raise self.refuse(node, name)
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "integer"} | ({} if self.least is None else {"minimum": self.least})


class IsNumber(Kind):
    """A finite number, perhaps bounded: ``least <= x``, ``above < x``, ``x < below``."""

    def __init__(
        self,
        words: str,
        least: float = -math.inf,
        above: float = -math.inf,
        below: float = math.inf,
    ) -> None:
        self.words, self.least, self.above, self.below = words, least, above, below

    def read(self, node: Node, name: str) -> int | float:
        value = node.value
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.refuse(node, name)
        if value < self.least or not self.above < value < self.below:
            raise self.refuse(node, name)
        return value

    def schema(self) -> dict[str, Any]:
        bounds = {
            "minimum": self.least,
            "exclusiveMinimum": self.above,
            "exclusiveMaximum": self.below,
        }
        return {"type": "number"} | {key: value for key, value in bounds.items() if math.isfinite(value)}


class IsText(Kind):
    words = "text"

    def read(self, node: Node, name: str) -> str:
        if isinstance(node.value, str):
            return node.value
        raise self.refuse(node, name)

    def schema(self) -> dict[str, Any]:
        return {"type": "string"}


class Choice(Kind):
    """One of a few words."""

    def __init__(self, *choices: str) -> None:
        self.choices = choices
        self.words = f"{', '.join(choices[:-1])} or {choices[-1]}"

    def read(self, node: Node, name: str) -> str:
        if isinstance(node.value, str):
            if node.value in self.choices:
                return node.value
            raise self.refuse(node, name, suggest(node.value, self.choices))
        raise self.refuse(node, name)

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.choices)}


class Several(Kind):
    """A list of one kind. With a length, one value stands for that many; without, for itself alone."""

    takes_list = True

    def __init__(self, item: Kind, words: str, length: int | None = None) -> None:
        self.item, self.words, self.length = item, words, length

    def read(self, node: Node, name: str) -> tuple[Any, ...]:
        if not isinstance(node.value, list):
            return (self.read_item(node, name),) * (self.length or 1)
        if self.length is not None and len(node.value) != self.length:
            raise self.refuse(node, name)
        return tuple(self.read_item(item, name) for item in node.value)

    def read_item(self, item: Node, name: str) -> Any:
        try:
            return self.item.read(item, name)
        except DocumentError:
            raise self.refuse(item, name) from None

    def schema(self) -> dict[str, Any]:
        item = self.item.schema()
        bounds = {} if self.length is None else {"minItems": self.length, "maxItems": self.length}
        return {"anyOf": [item, {"type": "array", "items": item} | bounds]}


class IsShape(Several):
    """Sizes of axes, null where not known; a single size is a shape of one axis."""

    def read_item(self, item: Node, name: str) -> Any:
        return None if item.value is None else super().read_item(item, name)

    def schema(self) -> dict[str, Any]:
        size = {"anyOf": [self.item.schema(), {"type": "null"}]}
        return {"anyOf": [self.item.schema(), {"type": "array", "items": size}]}


class IsNames(Kind):
    """A name or a list of names, each as a node, for whoever looks it up."""

    words = "a name or a list of names"
    takes_list = True

    def read(self, node: Node, name: str) -> list[Node]:
        names = node.value if isinstance(node.value, list) else [node]
        for item in names:
            if not isinstance(item.value, str) or not item.value:
                raise self.refuse(item, name)
        if not names:
            raise self.refuse(node, name)
        return names

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}


class IsScheme(Kind):
    """An initializer: a call, kept as it is written; ``paramctl.init`` knows what it may be."""

    words = "an initializer: a name, or a name with its options"
    takes_mapping = True

    def read(self, node: Node, name: str) -> Node:
        if call(node) is None:
            raise self.refuse(node, name)
        return node

    def schema(self) -> dict[str, Any]:
        return {"$ref": "#/definitions/initializer"}


POSITIVE = IsWhole("a positive whole number", 1)

Flag = Annotated[bool, IsFlag()]
Count = Annotated[int, POSITIVE]
Natural = Annotated[int, IsWhole("a whole number, not negative", 0)]
Whole = Annotated[int, IsWhole("a whole number")]
Number = Annotated[float, IsNumber("a finite number")]
Positive = Annotated[float, IsNumber("a positive finite number", above=0)]
NotNegative = Annotated[float, IsNumber("a finite number, not negative", least=0)]
Rate = Annotated[float, IsNumber("a number from 0 up to but not including 1", least=0, below=1)]
Text = Annotated[str, IsText()]
Names = Annotated[list[Node], IsNames()]
Scheme = Annotated[Node, IsScheme()]
Shape = Annotated[tuple[int | None, ...], IsShape(POSITIVE, "a list of positive whole numbers, null where not known")]
Counts = Annotated[tuple[int, ...], Several(POSITIVE, "a positive whole number or a list of them")]
Axes = Annotated[tuple[int, ...], Several(IsWhole("an axis"), "the number of an axis or a list of them")]


class Option(NamedTuple):
    """One declared option."""

    name: str
    kind: Kind
    required: bool
    default: Any
    nullable: bool

    def read(self, node: Node) -> Any:
        return None if node.value is None and self.nullable else self.kind.read(node, self.name)


def declared(annotations: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Option]:
    """The options among annotations: those that carry a Kind, or a Kind and None."""
    options = {}
    for name, annotation in annotations.items():
        kind, nullable = _kind(annotation)
        if kind is not None:
            options[name] = Option(name, kind, name not in defaults, defaults.get(name), nullable)
    return options


def _kind(annotation: Any) -> tuple[Kind | None, bool]:
    if get_origin(annotation) is Annotated:
        kind = get_args(annotation)[1]
        return (kind, False) if isinstance(kind, Kind) else (None, False)
    for part in get_args(annotation):
        kind, _ = _kind(part)
        if kind is not None:
            return kind, type(None) in get_args(annotation)
    return None, False


def call(node: Node) -> tuple[Node, Node | None] | None:
    """The name and the arguments of a call, or None if the node is not one."""
    value = node.value
    if isinstance(value, str) and value:
        return node, None
    if isinstance(value, dict) and len(value) == 1:
        name, arguments = next(iter(value.items()))
        return node.key(name), (None if arguments.value is None else arguments)
    return None


def by_name(what: str, arguments: Node | None, options: Mapping[str, Option]) -> dict[str, Node]:
    """A call's arguments by the names of its options.

    A mapping gives options by name. Anything else is the main option, except that a list is the
    options in their order where the main one takes no list: ``random_uniform: [0, 1]``. Where the
    main one takes a mapping, one that names no option is its value: ``activation: {gelu: {}}``.
    """
    if arguments is None:
        return {}
    main = next(iter(options.values()), None)
    if isinstance(arguments.value, dict):
        if main and main.kind.takes_mapping and arguments.value and options.keys().isdisjoint(arguments.value):
            return {main.name: arguments}
        return arguments.value
    if main is None:
        raise arguments.error(f"{what} takes no options")
    if isinstance(arguments.value, list) and not main.kind.takes_list:
        if len(arguments.value) > len(options):
            raise arguments.error(f"{what} takes at most {len(options)} options: {', '.join(options)}")
        return dict(zip(options, arguments.value, strict=False))
    return {main.name: arguments}


def bind(what: str, at: Node, given: Mapping[str, Node], options: Mapping[str, Option]) -> dict[str, Any]:
    """Read the arguments given by name as the options declare; defaults fill the rest.

    ``at`` is the node that holds them: its keys are where an unknown option points.
    """
    values = {}
    for name, node in given.items():
        option = options.get(name)
        if option is None:
            raise unknown_option(what, at.key(name), name, options)
        values[name] = option.read(node)
    for name, option in options.items():
        if name not in values:
            if option.required:
                received = ", ".join(given) or "no options"
                raise at.error(f"{what} needs the option {name!r}", received)
            values[name] = option.default
    return values


_LEFT_OUT = frozenset(
    "activity_regularizer autocast batch_input_shape dtype flash_attention implementation input_dtype"
    " lora_alpha lora_rank quantization_config renorm renorm_clipping renorm_momentum return_state seed"
    " sliding_window sparse stateful synchronized unroll use_cudnn use_gate weights".split()
)


def unknown_option(what: str, key: Node, name: str, known: Iterable[str]) -> DocumentError:
    """The error for an option that nobody declared: a slip of the pen, or one that only Keras has."""
    if name in _LEFT_OUT or name.endswith(("_regularizer", "_constraint")):
        return key.error(f"{what}: this option of Keras is not supported in a model document", repr(name))
    hint = suggest(name, known)
    if not hint:
        hint = f"Its options are {', '.join(known)}." if known else "It has no options."
    return key.error(f"{what} has no such option", repr(name), hint)


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Declared:
    """What declares its options as annotations; an instance has them read, as attributes."""

    signature: ClassVar[dict[str, Option]] = {}

    def __init__(self, **options: Any) -> None:
        vars(self).update(options)

    def __init_subclass__(cls) -> None:
        cls.signature = cls.signature | declared(vars(cls).get("__annotations__", {}), vars(cls))

    @classmethod
    def read(cls, what: str, at: Node, given: Mapping[str, Node]) -> Self:
        """An instance from options given by name; ``what`` and ``at`` are for errors, as in bind."""
        return cls(**bind(what, at, given, cls.signature))

    @classmethod
    def read_call(cls, what: str, name: Node, arguments: Node | None) -> Self:
        """An instance from a call's name and arguments."""
        return cls.read(what, arguments or name, by_name(what, arguments, cls.signature))
