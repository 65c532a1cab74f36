"""initialize: values from named schemes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from paramctl.core.parameter import FLOAT_DTYPES
from paramctl.errors import AddressError
from paramctl.init.fans import CONVENTIONS
from paramctl.init.presets import PRESETS
from paramctl.init.rules import LSUV, InitRequest, Rule, Scheme, assign_schemes, resolve_seed
from paramctl.inspect.plan import PlanRow, plan
from paramctl.library.arguments import InputLike, as_json, choice, expect
from paramctl.library.arguments import seed as checked_seed
from paramctl.library.opening import Openable, as_source, openable, texts
from paramctl.library.weights import Weights
from paramctl.model import Model
from paramctl.source.base import Source
from paramctl.source.drawn import Drawn
from paramctl.source.from_checkpoint import parse_scheme
from paramctl.source.open import require_built
from paramctl.source.stored import Stored

SchemeLike = str | Mapping[str, Any] | Scheme
"""A scheme as the command line has it, ``"normal:stddev=0.01"``, or as a document, ``{"random_normal": {...}}``."""


def initialize(
    model: Openable,
    *,
    patterns: str | Sequence[str] = (),
    scheme: SchemeLike | None = None,
    rules: Mapping[str, SchemeLike | None] | Sequence[tuple[str, SchemeLike | None]] = (),
    preset: str | None = None,
    fan_convention: str | None = None,
    seed: int | None = None,
    dtype: str | None = None,
    layout: str | None = None,
    like: Openable | None = None,
    inputs: InputLike = None,
    exactly: str | None = None,
    order: str | Sequence[str] = (),
    allow: str | Sequence[str] = (),
) -> Weights:
    """Initialize a model by named schemes, or some arrays of a checkpoint.

    patterns: of the parameters that get the scheme, as by a rule; every trainable weight that has fans by default.
    scheme: for these. ``lsuv``: an orthogonal one, scaled until the outputs of each
        layer have variance 1 for the examples in ``inputs``, which ``run`` describes; None for 128 random ones.
    rules: schemes by pattern, the first that matches; None keeps what the parameter would have without rules.
    preset: the defaults of a framework or a family of models.
    fan_convention: ``true``, ``keras`` or ``torch``; the preset's by default, else ``true``.
    seed: the document's by default, else 0.
    dtype: of floating-point arrays.
    layout, like: for a checkpoint that does not record the roles of its axes. ``torch``: arrays called weight have the
        fans of torch.nn.init. like: the model whose arrays these are, in the layout of their names or this one. With
        ``exactly``, the layout of the result.
    exactly: the framework whose own initial values the model gets, bit for bit: ``torch``, ``flax:linen``,
        ``keras:jax``. Schemes are then those that the layers are constructed with, or torch.nn.init after that.
    order: for ``exactly``, the order in which the layers are constructed, if it is not the document's: patterns,
        ``rand(2, 4)`` for numbers drawn before, and ``pattern=scheme`` for parameters that are initialized again.
    allow: ``close`` for values that do not have the framework's bits, such as orthogonal ones, which LAPACK computes.
    Values are generated when they are read. They depend only on the seed, each parameter's path and shape, and its
    scheme. The report has the scheme of each array and what chose it.
    Raises DocumentError for a scheme that is unknown or does not fit, and AddressError for a rule that matches nothing.
    """
    _check_exactly(exactly, scheme, {"order": order, "allow": allow}, {"fan_convention": fan_convention, "like": like})
    if scheme == LSUV:
        from paramctl.library.lsuv import scaled  # computes with the model

        if layout is not None or like is not None or patterns:
            raise AddressError("lsuv is for a whole model with layers", "patterns, layout or like")
        drawn = initialize(
            model,
            scheme="orthogonal",
            rules=rules,
            preset=preset,
            fan_convention=fan_convention,
            seed=seed,
            dtype=dtype,
        )
        return scaled(drawn, inputs)
    if inputs is not None:
        chosen_scheme = as_scheme(scheme, "scheme")
        raise AddressError("inputs are for the scheme lsuv", repr(chosen_scheme.text) if chosen_scheme else "no scheme")
    choice("preset", preset, PRESETS)
    choice("fan_convention", fan_convention, CONVENTIONS)
    choice("dtype", dtype, FLOAT_DTYPES)
    choice("layout", layout, ("keras", "torch"))
    seed = checked_seed(seed)
    arrays = openable(model)
    structure = require_built(arrays if isinstance(arrays, Model) else arrays.model)
    base = None if isinstance(arrays, Model) else _in_dtype(arrays.source, dtype)
    typed = known = structure.with_dtype(dtype)
    chosen = PRESETS[preset] if preset is not None else None
    pairs = rules.items() if isinstance(rules, Mapping) else [*map(_pair, rules)]
    pairs = [*pairs, *_scheme_rules(texts(patterns), scheme)]
    if exactly is None and (layout is not None or like is not None):
        typed, known = _with_roles(typed, base is not None, layout, like, scheme if not patterns else None)
        fan_convention = _convention(fan_convention, layout, like)
    convention = fan_convention or (chosen.convention if chosen else "true")
    request = InitRequest(
        tuple(_rule(pattern, value) for pattern, value in pairs),
        as_scheme(scheme, "scheme") if not patterns else None,
        preset or "",
        chosen.schemes(structure) if chosen else {},
        convention,
    )
    if exactly is not None:
        from paramctl.library.exact import initialized_exactly  # the engines of the frameworks

        if base is not None:
            raise AddressError(f"exactly {exactly} requires a model document, which has an order", structure.name)
        return initialized_exactly(typed, exactly, request, seed, texts(order), texts(allow), layout)
    assigned = assign_schemes(known, request, stored=base is not None)

    def report(measured: Mapping[str, Any]) -> list[PlanRow]:
        moments = {path: sums.mean_and_stddev for path, sums in measured.items()}
        return list(plan(known, assigned, convention, moments.get))

    source = Drawn(typed, assigned, resolve_seed(structure, seed), base)
    return Weights(source, report, seed=source.seed)


def _check_exactly(
    exactly: str | None, scheme: SchemeLike | None, only: Mapping[str, Any], others: Mapping[str, Any]
) -> None:
    """Raise AddressError for arguments that do not belong together.

    only, others: the arguments that are only for a framework's own values, and those that are not for them.
    """
    for name, value in (only if exactly is None else others).items():
        if value and exactly is None:
            raise AddressError(f"{name} is for a framework's own values: add exactly", ", ".join(texts(value)))
        if value is not None and exactly is not None:
            raise AddressError(f"{name} is not for a framework's own values", f"exactly {exactly}")
    if scheme == LSUV and exactly is not None:
        raise AddressError("the scheme lsuv is not for a framework's own values", f"exactly {exactly}")


def _scheme_rules(patterns: Sequence[str], scheme: SchemeLike | None) -> list[tuple[str, SchemeLike | None]]:
    """Return the rules that give a scheme to patterns."""
    if patterns and scheme is None:
        raise AddressError("patterns require a scheme", ", ".join(map(repr, patterns)))
    return [(pattern, scheme) for pattern in patterns]


def _with_roles(
    model: Model, stored: bool, layout: str | None, like: Openable | None, scheme: SchemeLike | None
) -> tuple[Model, Model]:
    """Return the model to write, and the model with the roles that decide about schemes.

    stored: True for the arrays of a checkpoint. scheme: for all weights with fans.
    The roles that torch's layout gives without a model hold for fans alone, so they are not written.
    """
    from paramctl.conversion.match import like_reference
    from paramctl.conversion.roles import with_roles_of, with_torch_roles

    if not stored:
        raise AddressError("--layout and --like are for checkpoints, because a document has layers", model.name)
    if like is not None:
        reference = like_reference(as_source(like))
        known = with_roles_of(model, reference, layout, reference.model.name)
        return known, known
    if layout != "torch":
        raise AddressError("--layout keras requires the model: name it with --like", model.name)
    if scheme is not None:
        rule = "--layout torch does not say which weights are of embeddings, so --scheme requires patterns or --like"
        raise AddressError(rule, model.name)
    return model, with_torch_roles(model)


def _convention(fan_convention: str | None, layout: str | None, like: Openable | None) -> str | None:
    """Return the convention of fans: without a model, only that of torch.nn.init follows from a shape."""
    if layout is None or like is not None:
        return fan_convention
    if fan_convention not in (None, "torch"):
        rule = "--layout torch has the fans of torch.nn.init; others require the layers, from --like"
        raise AddressError(rule, f"--fan-convention {fan_convention}")
    return "torch"


def _in_dtype(source: Source, dtype: str | None) -> Source:
    if dtype is None:
        return source
    if isinstance(source, Stored):
        return Stored(source.checkpoint, dtype)
    from paramctl.edit.cast_rules import cast_source  # rare, and not free to import

    return cast_source(source, [dtype])


def _pair(rule: Any) -> tuple[str, SchemeLike | None]:
    if not isinstance(rule, tuple) or len(rule) != 2:
        raise TypeError(f"a rule must be a pair of a pattern and a scheme (got {rule!r})")
    return rule


def _rule(pattern: str, scheme: SchemeLike | None) -> Rule:
    expect("the pattern of a rule", pattern, str, "a text")
    return Rule(pattern, as_scheme(scheme, f"rule {pattern}"))


def as_scheme(scheme: SchemeLike | None, option: str) -> Scheme | None:
    """Return a scheme that is written as text or as in a document. option: for errors."""
    if isinstance(scheme, str):
        return parse_scheme(scheme, option)
    if isinstance(scheme, Mapping):
        return parse_scheme(as_json(option, scheme), option)
    if scheme is not None and not hasattr(scheme, "distribution"):
        raise TypeError(f"{option} must be a text or a mapping (got {type(scheme).__name__})")
    return scheme
