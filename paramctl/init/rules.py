"""Rules: the assignment of a scheme to each parameter, with the reason.

The first of these applies: a rule; the scheme for all trainable weights with fans; the layer's initializer; the
document's ``initializers``, for trainable parameters; a preset; the layer type's default. Only a rule changes a frozen
parameter. For arrays of a checkpoint, only rules, the scheme, and the preset apply; other arrays keep their values.
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
from paramctl.init.registry import SchemeMismatch, Target
from paramctl.model import Model


class Scheme(Protocol):
    """A scheme that can be assigned: its text, and the distribution that it gives a parameter."""

    @property
    def text(self) -> str: ...

    def distribution(self, target: Target) -> Distribution:
        """Return the distribution of a parameter. Raises SchemeMismatch if the scheme does not apply to it."""
        ...


@dataclass(frozen=True, slots=True)
class LocatedScheme:
    """A scheme as written in a document or on a command line."""

    node: Located

    @property
    def text(self) -> str:
        return registry.format_scheme(self.node)

    def distribution(self, target: Target) -> Distribution:
        return registry.distribution_if_applicable(self.node, target)


class Rule(NamedTuple):
    """A pattern of parameters, and their scheme. None keeps the values that they have without rules."""

    pattern: str
    scheme: Scheme | None


@dataclass(frozen=True, slots=True)
class InitRequest:
    """A requested initialization.

    scheme: the scheme of every trainable weight with fans.
    preset, from_preset: the name of a preset, and its schemes by path.
    convention: the convention of fans.
    """

    rules: tuple[Rule, ...] = ()
    scheme: Scheme | None = None
    preset: str = ""
    from_preset: Mapping[str, Located] = field(default_factory=dict)
    convention: str = "true"


class AssignedScheme(NamedTuple):
    """The scheme of a parameter: its text, its distribution, and what assigned it.

    node: the scheme as written; None for the default of the layer's type, and for a scheme that is not named.
    """

    scheme: str
    distribution: Distribution
    reason: str
    node: Located | None = None


NO_REQUEST = InitRequest()
SCHEME = "--scheme"
DEFAULT = "the type's default"
LSUV = "lsuv"
"""The name of the scheme that computes with the model; see compute.lsuv."""


def resolve_seed(model: Model, seed: int | None = None) -> int:
    """Return the seed to draw a model with: the given one, else the document's, else 0."""
    return seed if seed is not None else model.seed or 0


def assign_schemes(model: Model, request: InitRequest = NO_REQUEST, stored: bool = False) -> dict[str, AssignedScheme]:
    """Return the scheme of each array of a model, by path.

    stored: the arrays are a checkpoint's; those that keep their values are left out.

    Raises DocumentError if a scheme is unknown, misspelled or does not apply to its parameter, and AddressError for a
    rule that matches nothing.
    """
    ruled, kept = _by_rule(model, request)
    document = _Initializers(model.initializers)
    assigned = {}
    # Most layers of a network are copies of a few. Equal axes under one scheme have one distribution.
    cache: dict[tuple[int, tuple[Axis, ...], str], tuple[str, Distribution]] = {}
    for parameter in model.owners():
        if parameter.path in ruled:
            assigned[parameter.path] = ruled[parameter.path]
            continue
        choice = None if parameter.path in kept else _requested(parameter, request, stored)
        if choice is None and not stored:
            choice = _declared(parameter, document, request)
        if choice is None:
            continue
        scheme, reason = choice
        # A scheme of a document depends on the axes only; others, such as from:FILE, may depend on the path.
        identity = id(scheme.node) if isinstance(scheme, LocatedScheme) else id(scheme)
        path = "" if isinstance(scheme, LocatedScheme) else parameter.path
        key = (identity, parameter.axes, path)
        if key not in cache:
            distribution = _required_distribution(scheme, Target.of(parameter, request.convention))
            cache[key] = scheme.text, distribution
        assigned[parameter.path] = AssignedScheme(*cache[key], reason, _written(scheme) if reason != DEFAULT else None)
    if stored and not request.rules:
        _check_has_effect(assigned, request, model.name)
    return assigned


def _written(scheme: Scheme) -> Located | None:
    return scheme.node if isinstance(scheme, LocatedScheme) else None


def _check_has_effect(assigned: Mapping[str, AssignedScheme], request: InitRequest, name: str) -> None:
    """Raise AddressError if the scheme or the preset applies to no array of a checkpoint, which would stay the same."""
    reasons = {assignment.reason for assignment in assigned.values()}
    if request.scheme and SCHEME not in reasons:
        rule = "the scheme is for weights with fans, but the file does not record which of its arrays are"
        hint = "add --like MODEL, or patterns and --layout torch"
        raise AddressError(f"{SCHEME} {request.scheme.text}: {rule}; {hint}", name)
    if request.preset and not assigned:
        rule = "the preset is for layers, but the file does not record of which layers its arrays are"
        raise AddressError(f"--preset {request.preset}: {rule}; add --like MODEL", name)


def _required_distribution(scheme: Scheme, target: Target) -> Distribution:
    """Return the distribution. A mismatch is an error, at the place where the scheme is written."""
    if isinstance(scheme, LocatedScheme):
        return registry.distribution(scheme.node, target)
    try:
        return scheme.distribution(target)
    except SchemeMismatch as mismatch:
        raise AddressError(f"{scheme.text} for {target.path}: {mismatch}", f"shape {target.shape}") from None


def _requested(parameter: Parameter, request: InitRequest, stored: bool) -> tuple[Scheme, str] | None:
    """Return the scheme that --scheme gives trainable weights with fans, or, for a checkpoint, a preset's."""
    if request.scheme and parameter.kind == "weight" and parameter.trainable is not False and parameter.fans:
        return request.scheme, SCHEME
    return _of_preset(parameter, request) if stored else None


def _of_preset(parameter: Parameter, request: InitRequest) -> tuple[Scheme, str] | None:
    if parameter.trainable and parameter.path in request.from_preset:
        return LocatedScheme(request.from_preset[parameter.path]), f"--preset {request.preset}"
    return None


def _declared(parameter: Parameter, document: _Initializers, request: InitRequest) -> tuple[Scheme, str]:
    initializer = parameter.initializer
    assert initializer is not None, f"{parameter.path} has no initializer"
    if initializer.place is not None:  # written in the document, not a default
        return LocatedScheme(initializer), "the layer's initializer"
    if parameter.trainable:
        match = document.find(parameter.path)
        if match:
            return LocatedScheme(match[1]), f"initializers: {match[0]}"
    return _of_preset(parameter, request) or (LocatedScheme(initializer), DEFAULT)


class _Initializers:
    """The ``initializers`` of a document. The first match counts; plain names are looked up in constant time."""

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
        """Return the text and the scheme of the first entry that matches a path."""
        exact = self.exact.get(path)
        for position, text, matches, scheme in self.patterns:
            if exact is not None and position > exact[0]:
                break
            if matches(path):
                return text, scheme
        return (exact[1], exact[2]) if exact else None


def _by_rule(model: Model, request: InitRequest) -> tuple[dict[str, AssignedScheme], set[str]]:
    """Return the schemes that rules assign, by path, and the paths that rules keep. The first match counts.

    A pattern skips parameters to which its scheme does not apply, such as a bias under glorot. A plain name must fit.
    A tied array may be named by either of its names, written in full.
    """
    ruled: dict[str, AssignedScheme] = {}
    kept: set[str] = set()
    for rule in request.rules:
        applied = 0
        refusal = "only names that are tied to others"
        owners, may_skip = _matched(rule, model)
        for owner in owners:
            new = owner.path not in ruled and owner.path not in kept
            if rule.scheme is None:
                kept |= {owner.path} if new else set()
                continue
            target = Target.of(owner, request.convention)
            try:
                scheme = rule.scheme
                distribution = scheme.distribution(target) if may_skip else _required_distribution(scheme, target)
            except SchemeMismatch as mismatch:
                refusal = f"{owner.path} {owner.shape}: {mismatch}"
                continue
            applied += 1
            if new:
                reason = f"--rule {rule.pattern}"
                ruled[owner.path] = AssignedScheme(scheme.text, distribution, reason, _written(scheme))
        if rule.scheme is not None and not applied:
            raise AddressError(f"--rule {rule.pattern}: {rule.scheme.text} applies to none of its matches", refusal)
    return ruled, kept


def _matched(rule: Rule, model: Model) -> tuple[list[Parameter], bool]:
    """Return the arrays that a rule's address matches, and True if the rule may skip some of them."""
    match = resolve(model, rule.pattern)
    if match.indices is not None:
        raise AddressError("a scheme is for whole parameters, not for a slice", repr(rule.pattern))
    if match.is_pattern:
        return [model.parameters[path] for path in match.paths if path not in model.tied], True
    return [model.owner(path) for path in match.paths], len(match.paths) > 1
