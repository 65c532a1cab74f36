"""Options: how a layer, an activation, or a scheme declares its arguments, and how they are read.

A *call* is written as ``name``, ``name: main option``, or ``name: {options}``. Its options are declared
as annotations that carry an option type, with the main option first::

    units: Count
    use_bias: Flag = True

``bind_options`` reads the options of every call, so an unknown, missing, or invalid option causes the
same error everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, NamedTuple, Self, dataclass_transform, get_args, get_origin

from paramctl.declare.located import Located, preview
from paramctl.declare.option_types import OptionType
from paramctl.errors import DocumentError, suggest


class Option(NamedTuple):
    """A declared option.

    nullable: it accepts null.
    instead: the ways to write a value alone, ``{}``, if that does not mean the first option, because readers would take
        it for another, as in ``normal: 0.1``.
    """

    name: str
    type: OptionType
    required: bool
    default: Any
    nullable: bool
    instead: tuple[str, ...] = ()

    def read(self, node: Located) -> Any:
        return None if node.value is None and self.nullable else self.type.read(node, self.name)


def declared_options(annotations: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Option]:
    """Return the options among annotations: those that carry an option type, possibly with ``| None``."""
    options = {}
    for name, annotation in annotations.items():
        if isinstance(annotation, str) and "ClassVar" not in annotation:
            raise TypeError(f"{name}: options are read from annotations, so no 'from __future__ import annotations'")
        option_type, nullable = _option_type(annotation)
        if option_type is not None:
            options[name] = Option(name, option_type, name not in defaults, defaults.get(name), nullable)
    return options


def _option_type(annotation: Any) -> tuple[OptionType | None, bool]:
    """Return the option type in an annotation, if any, and whether the annotation allows None."""
    if get_origin(annotation) is Annotated:
        metadata = get_args(annotation)[1]
        return (metadata, False) if isinstance(metadata, OptionType) else (None, False)
    for member in get_args(annotation):  # of a union such as ``Count | None``
        option_type, _ = _option_type(member)
        if option_type is not None:
            return option_type, type(None) in get_args(annotation)
    return None, False


def arguments_by_name(subject: str, arguments: Located | None, options: Mapping[str, Option]) -> dict[str, Located]:
    """Return the arguments of a call by option name. ``subject`` names the call in errors.

    ===================================  ===========================================================
    ``dense: {units: 3}``                a mapping gives options by name
    ``dense: 3``                         any other value is the main option
    ``random_uniform: [0, 1]``           a list gives options in order if the main one takes no list
    ``random_uniform: 1``                an error, because it could be either end
    ``activation: {gelu: {}}``           a mapping that names no option is the value of a required
                                         main option that takes mappings
    ===================================  ===========================================================
    """
    if arguments is None:
        return {}
    main = next(iter(options.values()), None)
    if isinstance(arguments.value, dict):
        names_no_option = bool(arguments.value) and options.keys().isdisjoint(arguments.value)
        if main and main.required and main.type.takes_mapping and names_no_option:
            return {main.name: arguments}
        return arguments.value
    if main is None:
        raise arguments.error(f"{subject} takes no options")
    values = arguments.value if isinstance(arguments.value, list) and not main.type.takes_list else None
    if main.instead and (values is None or len(values) == 1):
        hint = _instead_hint(subject, values[0] if values else arguments, options)
        raise arguments.error(f"{subject} takes its options by name", hint=hint)
    if values is not None:
        if len(values) > len(options):
            raise arguments.error(f"{subject} takes at most {len(options)} options: {', '.join(options)}")
        return dict(zip(options, values, strict=False))
    return {main.name: arguments}


def _instead_hint(subject: str, value: Located, options: Mapping[str, Option]) -> str:
    """Return a hint with the ways to write a positive number alone, in the form of its place, or with the options."""
    main = next(iter(options.values()))
    if not isinstance(value.value, (int, float)) or value.value <= 0:
        return f"Its options are {', '.join(options)}."
    texts = [text.replace("{}", preview(value)) for text in main.instead]
    if value.line:  # in a document, not on a command line
        texts = [f"{{{subject}: {{{text.replace('=', ': ').replace(',', ', ')}}}}}" for text in texts]
        return f"Write {' or '.join(texts)}."
    return f"Write {' or '.join(f'{subject}:{text}' for text in texts)}."


def bind_options(
    subject: str, at: Located, arguments: Mapping[str, Located], options: Mapping[str, Option]
) -> dict[str, Any]:
    """Read arguments as the options declare, and fill in defaults.

    subject: the name of the layer, activation, or scheme, for errors.
    at: the node that holds the arguments. An error about an unknown option points at its key.
    Raises DocumentError if an option is unknown, missing, or invalid.
    """
    values = {}
    for name, node in arguments.items():
        option = options.get(name)
        if option is None:
            raise unknown_option(subject, at.key(name), name, options)
        values[name] = option.read(node)
    for name, option in options.items():
        if name not in values:
            if option.required:
                raise missing_option(subject, at, name, arguments)
            values[name] = option.default
    return values


def unknown_option(subject: str, key: Located, name: str, known: Iterable[str]) -> DocumentError:
    """Return the error for an option that is not declared."""
    hint = suggest(name, known)
    if not hint:
        hint = f"Its options are {', '.join(known)}." if known else "It has no options."
    return key.error(f"{subject} has no such option", repr(name), hint)


def missing_option(subject: str, at: Located, name: str, arguments: Iterable[str]) -> DocumentError:
    """Return the error for a required option that the arguments do not contain."""
    others = ", ".join(arguments)
    return at.error(f"{subject} requires the option {name!r}", f"only {others}" if others else "no options")


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Configurable:
    """An object whose class declares options as annotations. Instances hold the options and are immutable."""

    signature: ClassVar[dict[str, Option]] = {}

    def __init__(self, **options: Any) -> None:
        # Options are kept in the instance's __dict__ directly, because __setattr__ rejects all assignments.
        defaults = {name: option.default for name, option in self.signature.items() if not option.required}
        vars(self).update(defaults | options)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __init_subclass__(cls) -> None:
        # a class's own annotations only: the options of its bases are in the inherited signature
        cls.signature = cls.signature | declared_options(vars(cls).get("__annotations__", {}), vars(cls))

    @classmethod
    def read(cls, subject: str, at: Located, arguments: Mapping[str, Located]) -> Self:
        """Return an instance with options from arguments by name. See ``bind_options``."""
        instance = cls.__new__(cls)
        vars(instance).update(bind_options(subject, at, arguments, cls.signature))  # which has every option
        return instance

    @classmethod
    def read_call(cls, subject: str, name: Located, arguments: Located | None) -> Self:
        """Return an instance from the name and the arguments of a call."""
        return cls.read(subject, arguments or name, arguments_by_name(subject, arguments, cls.signature))
