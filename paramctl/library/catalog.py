"""schemes, layers and schema: what a model document may contain."""

from __future__ import annotations

from typing import Any

from paramctl.address.resolve import resolve
from paramctl.errors import AddressError
from paramctl.init.fans import CONVENTIONS
from paramctl.init.registry import SchemeMismatch
from paramctl.inspect import schema as inspect_schema
from paramctl.inspect.layers import OptionRow, TypeRow, option_rows, type_rows
from paramctl.inspect.schemes import EffectRow, SchemeRow, effect_row, scheme_rows
from paramctl.library.arguments import choice, expect
from paramctl.library.opening import Openable, as_model
from paramctl.source.open import require_built


def schemes(
    *names: str, parameter: tuple[Openable, str] | None = None, fan_convention: str = "true"
) -> list[SchemeRow] | list[EffectRow]:
    """List the named schemes, or the effect of some of them on parameters of a model.

    names: all schemes by default.
    parameter: a model and an address. A scheme that does not fit one of several parameters skips it.
    fan_convention: ``true``, ``keras`` or ``torch``.
    Raises AddressError for an unknown name, and if no scheme fits any of the parameters.
    """
    for name in names:
        expect("a scheme", name, str, "a text")
    choice("fan_convention", fan_convention, CONVENTIONS)
    if parameter is None:
        return scheme_rows(names)
    from paramctl.source.from_checkpoint import parse_scheme  # imports NumPy, which the list does not need

    model = require_built(as_model(parameter[0]))
    matches = [model.parameters[path] for path in resolve(model, parameter[1]).paths]
    effects = []
    for name in names:
        scheme = parse_scheme(name, "SCHEME")
        for match in matches:
            try:
                effects.append(effect_row(scheme, match, fan_convention))
            except SchemeMismatch as mismatch:
                if len(matches) == 1:
                    raise AddressError(f"{scheme.text} for {match.path}: {mismatch}", str(match.shape)) from None
    if names and not effects:
        raise AddressError("none of these schemes fits any of these parameters", repr(parameter[1]))
    return effects


def layers(*types: str) -> list[TypeRow] | list[OptionRow]:
    """List the layer types and activations of model documents, or the options of some. Raises AddressError."""
    for each in types:
        expect("a type", each, str, "a text")
    return option_rows(types) if types else type_rows()


def schema() -> dict[str, Any]:
    """Return the JSON schema (draft 7) of model documents."""
    return inspect_schema.schema()
