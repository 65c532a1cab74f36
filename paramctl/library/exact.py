"""initialize(exactly=...): a framework's own initial values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from paramctl.address.resolve import resolve
from paramctl.conversion.exact.order import InitializedAgain, OrderItem, parse_order
from paramctl.conversion.exact.plan import Framework, Promise
from paramctl.conversion.exact.registry import FRAMEWORKS
from paramctl.conversion.exact.source import CLOSE, Exactly
from paramctl.errors import AddressError
from paramctl.init.presets import PRESETS
from paramctl.init.registry import SchemeMismatch, Target, distribution_if_applicable, format_scheme
from paramctl.init.rules import DEFAULT, AssignedScheme, InitRequest, assign_schemes, resolve_seed
from paramctl.inspect.plan import PlanRow, plan
from paramctl.library.arguments import choice
from paramctl.library.converting import convert
from paramctl.library.weights import Weights
from paramctl.model import Model
from paramctl.source.arranged import Arranged
from paramctl.source.base import Source


def initialized_exactly(
    model: Model,
    framework: str,
    request: InitRequest,
    seed: int | None,
    order: Sequence[str],
    allow: Sequence[str],
    layout: str | None,
) -> Weights:
    """Return a model with the initial values that a framework gives it.

    request: the rules and the scheme; without a preset, the framework's defaults apply to all other parameters.
    order, allow, layout: see ``initialize``.
    Raises AddressError for a layer or a scheme whose values in the framework are unknown.
    """
    choice("exactly", framework, FRAMEWORKS)
    for word in allow:
        choice("allow", word, (CLOSE,))
    chosen = FRAMEWORKS[framework]
    preset = PRESETS[chosen.preset]
    assigned = _assigned(model, request, chosen)
    items = order or model.order
    assigned |= _initialized_again(model, assigned, parse_order(items), preset.convention)
    source = Exactly(model, chosen, assigned, resolve_seed(model, seed), items, CLOSE in allow)
    exactly = {path: promise.text for path, promise in source.plan.promises.items()}

    def report(measured: Mapping[str, Any]) -> list[PlanRow]:
        moments = {path: sums.mean_and_stddev for path, sums in measured.items()}
        return list(plan(model, source.assigned, preset.convention, moments.get, exactly))

    weights = Weights(source, report, seed=source.seed, notes=_notes(source))
    if layout != "torch":
        return weights
    converted = convert(weights, layout=layout)  # not in two steps: a file has one bias where torch adds two
    same = _same_values(source, converted.source)

    def report_of_tensors(measured: Mapping[str, Any]) -> list[PlanRow]:
        return report({path: measured[name] for path, name in same.items() if name in measured})

    notes = [*weights.notes, *converted.notes]
    return Weights(converted.source, report_of_tensors, seed=source.seed, notes=notes)


def _same_values(exactly: Exactly, converted: Source) -> dict[str, str]:
    """Return the array of the converted source that has all values of a parameter, and no other, by its path."""
    pairs = [(path, {*arrangement.paths}) for path, arrangement in exactly.plan.arrangements.items()]
    if isinstance(converted, Arranged):
        pairs += [(path, {name}) for name, each in converted.arrangements.items() for path in each.paths]
    parameters, arrays = exactly.model.parameters, converted.model.parameters
    single = [
        (path, *names) for path, names in pairs if len(names) == 1 and path in parameters and names <= arrays.keys()
    ]
    return {path: name for path, name in single if arrays[name].size == parameters[path].size}


def _assigned(model: Model, request: InitRequest, framework: Framework) -> dict[str, AssignedScheme]:
    """Return the scheme of each parameter: a requested one, or the framework's default.

    Raises AddressError for a preset that is another framework's, which has no parameter of this one's.
    """
    native = PRESETS[framework.preset]
    if (
        request.preset
        and request.preset != native.name
        and request.preset in {each.preset for each in FRAMEWORKS.values()}
    ):
        raise AddressError(f"exactly {framework.name} has its own defaults, not a preset's", request.preset)
    request = replace(request, convention=native.convention)
    defaults = assign_schemes(model, replace(request, preset=native.name, from_preset=native.schemes(model)))
    assigned = defaults if request.preset in ("", native.name) else assign_schemes(model, request)
    return {
        path: _checked(defaults[path] if scheme.reason == DEFAULT else scheme, framework, f"--preset {native.name}")
        for path, scheme in assigned.items()
    }


def _checked(assigned: AssignedScheme, framework: Framework, default: str) -> AssignedScheme:
    """Return a scheme, or the framework's default in place of the layer type's.

    Raises AddressError for a scheme that is not named, which no framework has.
    """
    if assigned.reason in (DEFAULT, default):
        return assigned._replace(reason=f"the default of {framework.name}", node=None)
    if assigned.node is None:
        raise AddressError(f"exactly {framework.name} requires named schemes", repr(assigned.scheme))
    return assigned


def _initialized_again(
    model: Model, assigned: Mapping[str, AssignedScheme], order: Sequence[OrderItem], convention: str
) -> dict[str, AssignedScheme]:
    """Return the schemes of the parameters that an order initializes again, and no later scheme after it."""
    again = {}
    for item in order:
        if not isinstance(item, InitializedAgain):
            continue
        text = format_scheme(item.scheme)
        for path in {model.owner(path).path for path in resolve(model, item.pattern).paths}:
            if assigned[path].node is None:
                with suppress(SchemeMismatch):  # a pattern skips parameters to which its scheme does not apply
                    distribution = distribution_if_applicable(
                        item.scheme, Target.of(model.parameters[path], convention)
                    )
                    again[path] = AssignedScheme(text, distribution, f"--order {item.pattern}")
    return again


def _notes(source: Exactly) -> list[str]:
    """Return what holds for all values: where they have the framework's bits, and what a sequence costs."""
    promises = source.plan.promises.values()
    notes = [f"the bits of {conditions}"] if (conditions := _conditions(promises)) else []
    if close := sum(not promise.is_exact for promise in promises):
        notes.append(f"{close:,} of {len(promises):,} parameters are only close")
    if not source.plan.engine.addressable:
        notes.append("the framework draws in sequence, so reading one parameter passes over all draws before it")
    return notes


def _conditions(promises: Iterable[Promise]) -> str:
    """Return all conditions under which values have the framework's bits: of each library, its newest version."""
    needed: dict[str, str] = {}
    for promise in promises:
        for condition in promise.text.split(", ") if promise.is_exact else ():
            library = condition.partition(">=")[0]
            needed[library] = max(needed.get(library, condition), condition, key=_numbers)
    return ", ".join(needed.values())


def _numbers(condition: str) -> list[int]:
    """Return the numbers of a version: 2 and 12 for ``torch>=2.12``."""
    return [int(number) for number in re.findall("[0-9]+", condition.partition(">=")[2])]
