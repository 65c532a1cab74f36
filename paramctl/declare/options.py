"""Options: how a layer, an activation or a scheme declares its arguments, and how they are read.

Whatever is written as ``name``, ``name: main option`` or ``name: {options}`` is a *call*. What
may be called declares its options as annotations that carry a kind, main option first::

    units: Count
    use_bias: Flag = True

Calls are bound by one function, ``bind``, so a misspelt option, a missing one or one of another
kind is refused alike everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, NamedTuple, Self, dataclass_transform, get_args, get_origin

from paramctl.declare.located import Located
from paramctl.declare.option_types import OptionType
from paramctl.errors import DocumentError, suggest


class Option(NamedTuple):
    """One declared option."""

    name: str
    kind: OptionType
    required: bool
    default: Any
    nullable: bool

    def read(self, node: Located) -> Any:
        return None if node.value is None and self.nullable else self.kind.read(node, self.name)


def declared_options(annotations: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Option]:
    """The options among annotations: those that carry a Kind, or a Kind and None."""
    options = {}
    for name, annotation in annotations.items():
        if isinstance(annotation, str) and "ClassVar" not in annotation:
            raise TypeError(f"{name}: options are read from annotations, so no 'from __future__ import annotations'")
        kind, nullable = _kind(annotation)
        if kind is not None:
            options[name] = Option(name, kind, name not in defaults, defaults.get(name), nullable)
    return options


def _kind(annotation: Any) -> tuple[OptionType | None, bool]:
    if get_origin(annotation) is Annotated:
        kind = get_args(annotation)[1]
        return (kind, False) if isinstance(kind, OptionType) else (None, False)
    for part in get_args(annotation):
        kind, _ = _kind(part)
        if kind is not None:
            return kind, type(None) in get_args(annotation)
    return None, False


def arguments_by_name(what: str, arguments: Located | None, options: Mapping[str, Option]) -> dict[str, Located]:
    """A call's arguments by the names of its options.

    A mapping gives options by name. Anything else is the main option, except that a list is the
    options in their order where the main one takes no list: ``random_uniform: [0, 1]``. Where the main
    one is required and takes a mapping, one that names no option is its value: ``activation: {gelu: {}}``.
    """
    if arguments is None:
        return {}
    main = next(iter(options.values()), None)
    if isinstance(arguments.value, dict):
        if (
            main
            and main.required
            and main.kind.takes_mapping
            and arguments.value
            and options.keys().isdisjoint(arguments.value)
        ):
            return {main.name: arguments}
        return arguments.value
    if main is None:
        raise arguments.error(f"{what} takes no options")
    if isinstance(arguments.value, list) and not main.kind.takes_list:
        if len(arguments.value) > len(options):
            raise arguments.error(f"{what} takes at most {len(options)} options: {', '.join(options)}")
        return dict(zip(options, arguments.value, strict=False))
    return {main.name: arguments}


def bind_options(what: str, at: Located, given: Mapping[str, Located], options: Mapping[str, Option]) -> dict[str, Any]:
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


def unknown_option(what: str, key: Located, name: str, known: Iterable[str]) -> DocumentError:
    """The error for an option that nobody declared."""
    hint = suggest(name, known)
    if not hint:
        hint = f"Its options are {', '.join(known)}." if known else "It has no options."
    return key.error(f"{what} has no such option", repr(name), hint)


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Declared:
    """What declares its options as annotations; an instance has them read, as attributes.

    Options left out have their defaults; nothing can be set later.
    """

    signature: ClassVar[dict[str, Option]] = {}

    def __init__(self, **options: Any) -> None:
        defaults = {name: option.default for name, option in self.signature.items() if not option.required}
        vars(self).update(defaults | options)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} cannot be changed")

    def __init_subclass__(cls) -> None:
        cls.signature = cls.signature | declared_options(vars(cls).get("__annotations__", {}), vars(cls))

    @classmethod
    def read(cls, what: str, at: Located, given: Mapping[str, Located]) -> Self:
        """An instance from options given by name; ``what`` and ``at`` are for errors, as in bind."""
        return cls(**bind_options(what, at, given, cls.signature))

    @classmethod
    def read_call(cls, what: str, name: Located, arguments: Located | None) -> Self:
        """An instance from a call's name and arguments."""
        return cls.read(what, arguments or name, arguments_by_name(what, arguments, cls.signature))
