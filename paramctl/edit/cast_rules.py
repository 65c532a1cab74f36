"""Casts: the dtypes that rules give to the arrays of a source, and the losses that are allowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from paramctl.address.resolve import resolve_whole
from paramctl.core.dtypes import CastLoss
from paramctl.core.parameter import DTYPE_BYTES, FLOAT_DTYPES, PACKED_BITS
from paramctl.errors import AddressError, suggest
from paramctl.model import Model
from paramctl.source.base import Source
from paramctl.source.derived import Cast
from paramctl.store.contents import check_decodable

SHORT_NAMES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32", "fp64": "float64", "half": "float16"}
"""Names that other tools use. They are not accepted; the error suggests the right one."""


def cast_source(source: Source, rules: Sequence[str], allow: Sequence[str] = ()) -> Cast:
    """Return a source in other dtypes.

    rules: DTYPE for all floating-point arrays, or PATTERN=DTYPE. The first rule that matches an array applies.
    allow: the losses to accept, LOSS or LOSS=PATTERN; see checked_cast.
    Raises AddressError for a rule that is malformed or matches nothing.
    """
    model = source.model
    dtypes: dict[str, str] = {}
    for text in rules:
        pattern, equals, dtype = text.rpartition("=")
        if dtype not in DTYPE_BYTES:
            hint = suggest(SHORT_NAMES.get(dtype, dtype), DTYPE_BYTES)
            raise AddressError(f"a dtype must be one of {', '.join(DTYPE_BYTES)}", repr(dtype), hint)
        if equals:
            paths = [model.owner(path).path for path in resolve_whole(model, pattern, "cast")]
        else:
            # a moment that is cast with the parameters could underflow; a rule that names it may cast it
            owners = (owner for owner in model.owners() if owner.is_parameter)
            paths = [owner.path for owner in owners if is_float(owner.dtype) or owner.dtype in PACKED_BITS]
            if not is_float(dtype):
                raise AddressError("a dtype that is not floating-point needs a pattern: PATTERN=DTYPE", repr(text))
        for path in paths:
            check_decodable(model, path)
            dtypes.setdefault(path, dtype)
    typed = model.map_parameters(
        lambda parameter: replace(parameter, dtype=dtypes.get(model.owner(parameter.path).path, parameter.dtype))
    )
    losses = _losses(model, allow)
    return Cast(source, typed, lambda path: frozenset(losses.get(path, ())), rules=list(rules), allow=list(allow))


def is_float(dtype: str) -> bool:
    return dtype in FLOAT_DTYPES or dtype.startswith("float8")


def _losses(model: Model, allow: Sequence[str]) -> Mapping[str, set[str]]:
    """Return the allowed losses by array."""
    losses: dict[str, set[str]] = {}
    for text in allow:
        kind, equals, pattern = text.partition("=")
        if kind not in CastLoss.KINDS:
            raise AddressError(f"a loss must be one of {', '.join(CastLoss.KINDS)}", repr(text))
        paths = resolve_whole(model, pattern, "cast") if equals else list(model.parameters)
        for path in paths:
            losses.setdefault(model.owner(path).path, set()).add(kind)
    return losses
