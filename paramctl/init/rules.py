"""Which scheme each parameter gets, and why.

The first that applies: a rule; the scheme for every trainable weight that has fans; its layer's own
initializer; the document's ``initializers``, for what is trained; a preset; its type's default. What is frozen
changes by a rule alone. Of an array that a file holds already, only rules, the scheme and the preset make another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from paramctl.address.patterns import compile_pattern, is_pattern
from paramctl.address.resolve import resolve
from paramctl.core.parameter import Axis, Parameter
from paramctl.declare.located import Located
from paramctl.errors import AddressError
from paramctl.init import registry
from paramctl.init.distributions import Distribution
from paramctl.init.registry import LIKE, SchemeMismatch, Target
from paramctl.model import Model


class Scheme(Protocol):
    """What a rule may assign: its text, and the law that it gives a parameter, Unfit if it gives it none."""

    @property
    def text(self) -> str: ...

    def distribution(self, target: Target) -> Distribution: ...


@dataclass(frozen=True, slots=True)
class LocatedScheme:
    """A scheme as a document has it, or a command line."""

    node: Located

    @property
    def text(self) -> str:
        return registry.scheme_text(self.node)

    def distribution(self, target: Target) -> Distribution:
        return registry.distribution_if_fits(self.node, target)


class Rule(NamedTuple):
    """What matches a pattern gets this; None is to keep what it would be without rules."""

    pattern: str
    gives: Scheme | None


@dataclass(frozen=True, slots=True)
class InitRequest:
    """What a command line asks for. preset: a scheme for a parameter by its path; convention: of fans."""

    rules: tuple[Rule, ...] = ()
    scheme: Scheme | None = None
    preset: str = ""
    from_preset: Mapping[str, Located] = field(default_factory=dict)
    convention: str = "true"


class AssignedScheme(NamedTuple):
    """What a parameter gets: the scheme in words, its law, and the rule that chose it."""

    scheme: str
    distribution: Distribution
    reason: str


NO_REQUEST = InitRequest()
SCHEME = "--scheme"


def assign_schemes(model: Model, wishes: InitRequest = NO_REQUEST, stored: bool = False) -> dict[str, AssignedScheme]:
    """The choice for each array of a model, by path; where ``stored``, only for those that get other values.

    Raises DocumentError where a scheme is unknown, misspelt or does not fit its parameter, and
    AddressError for a rule that matches nothing.
    """
    ruled, kept = _by_rule(model, wishes)
    document = _Initializers(model.initializers)
    chosen = {}
    alike: dict[
        tuple[int, tuple[Axis, ...], str], tuple[str, Distribution]
    ] = {}  # most layers of a network are one of a few
    for parameter in model.owners():
        if parameter.path in ruled:
            chosen[parameter.path] = ruled[parameter.path]
            continue
        found = None if parameter.path in kept else _wished(parameter, wishes, stored)
        if found is None and not stored:
            found = _declared(parameter, document, wishes)
        if found is None:
            continue
        gives, why = found
        identity = id(gives.node) if isinstance(gives, LocatedScheme) else id(gives)
        own = "" if isinstance(gives, LocatedScheme) else parameter.path
        key = (identity, parameter.axes, own)
        if key not in alike:
            law = _law(gives, Target.of(parameter, wishes.convention))
            alike[key] = gives.text, law
        chosen[parameter.path] = AssignedScheme(*alike[key], why)
    if stored and wishes.scheme and not any(each.reason == SCHEME for each in chosen.values()) and not wishes.rules:
        rule = "it gives values to weights whose fans are known, and none of these arrays is known to be one"
        raise AddressError(f"{SCHEME} {wishes.scheme.text}: {rule}; {LIKE}", model.name)
    return chosen


def _law(gives: Scheme, target: Target) -> Distribution:
    """The law; an Unfit becomes an error that points where the scheme is written."""
    if isinstance(gives, LocatedScheme):
        return registry.distribution(gives.node, target)
    try:
        return gives.distribution(target)
    except SchemeMismatch as unfit:
        raise AddressError(f"{gives.text} for {target.path}: {unfit}", str(target.shape)) from None


def _wished(parameter: Parameter, wishes: InitRequest, stored: bool) -> tuple[Scheme, str] | None:
    """What --scheme gives, to trainable weights that have fans and to nothing else; for a file, a preset too."""
    if wishes.scheme and parameter.kind == "weight" and parameter.trainable is not False and parameter.fans:
        return wishes.scheme, SCHEME
    return _preset(parameter, wishes) if stored else None


def _preset(parameter: Parameter, wishes: InitRequest) -> tuple[Scheme, str] | None:
    if parameter.trainable and parameter.path in wishes.from_preset:
        return LocatedScheme(wishes.from_preset[parameter.path]), f"--preset {wishes.preset}"
    return None


def _declared(parameter: Parameter, document: _Initializers, wishes: InitRequest) -> tuple[Scheme, str]:
    own = parameter.initializer
    assert own is not None, f"{parameter.path} has no initializer"
    if own.place is not None:
        return LocatedScheme(own), "its layer's own"
    if parameter.trainable:
        found = document.find(parameter.path)
        if found:
            return LocatedScheme(found[1]), f"initializers: {found[0]}"
    return _preset(parameter, wishes) or (LocatedScheme(own), "the type's default")


class _Initializers:
    """The document's own patterns, the first that matches counting; plain names are looked up."""

    def __init__(self, initializers: Sequence[tuple[str, Located]]) -> None:
        self.patterns: list[tuple[int, str, Callable[[str], bool], Located]] = []
        self.exact: dict[str, tuple[int, str, Located]] = {}
        for position, (text, scheme) in enumerate(initializers):
            registry.lookup(scheme)
            if is_pattern(text):
                self.patterns.append((position, text, compile_pattern(text), scheme))
            else:
                self.exact.setdefault(text, (position, text, scheme))

    def find(self, path: str) -> tuple[str, Located] | None:
        exact = self.exact.get(path)
        for position, text, matches, scheme in self.patterns:
            if exact is not None and position > exact[0]:
                break
            if matches(path):
                return text, scheme
        return (exact[1], exact[2]) if exact else None


def _by_rule(model: Model, wishes: InitRequest) -> tuple[dict[str, AssignedScheme], set[str]]:
    """What the rules give, by path, and the paths that they keep; the first that matches counts.

    A pattern passes over parameters to which its scheme does not fit, such as a bias under glorot;
    a plain name must fit. Either name of a tied array will do, where it stands in full.
    """
    ruled: dict[str, AssignedScheme] = {}
    kept: set[str] = set()
    for rule in wishes.rules:
        fitted = 0
        refusal = "only names that are tied to others"
        owners, loose = _meant(rule, model)
        for owner in owners:
            new = owner.path not in ruled and owner.path not in kept
            if rule.gives is None:
                kept |= {owner.path} if new else set()
                continue
            target = Target.of(owner, wishes.convention)
            try:
                law = rule.gives.distribution(target) if loose else _law(rule.gives, target)
            except SchemeMismatch as unfit:
                refusal = f"{owner.path} {owner.shape}: {unfit}"
                continue
            fitted += 1
            if new:
                ruled[owner.path] = AssignedScheme(rule.gives.text, law, f"--rule {rule.pattern}")
        if rule.gives is not None and not fitted:
            raise AddressError(f"--rule {rule.pattern}: {rule.gives.text} fits nothing that it matches", refusal)
    return ruled, kept


def _meant(rule: Rule, model: Model) -> tuple[list[Parameter], bool]:
    """The arrays that a rule's address means, and whether it may pass over some of them."""
    found = resolve(model, rule.pattern)
    if found.indices is not None:
        raise AddressError("a scheme is for whole parameters, and this names a slice", repr(rule.pattern))
    if found.is_pattern:
        return [model.parameters[path] for path in found.paths if path not in model.tied], True
    return [model.owner(path) for path in found.paths], len(found.paths) > 1
