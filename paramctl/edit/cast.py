"""A source in other dtypes: what a cast would lose is refused, unless it is allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from paramctl.address.resolve import resolve_whole
from paramctl.core.dtypes import Array, CastLoss, checked_cast
from paramctl.core.parameter import DTYPE_BYTES, FLOAT_DTYPES, Parameter
from paramctl.errors import AddressError, OutputError, suggest
from paramctl.model import Model
from paramctl.source.base import Source
from paramctl.store.checkpoint import Provenance

SHORT = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32", "fp64": "float64", "half": "float16"}
"""What others call some dtypes, which is understood and not taken."""


class CastSource(Source):
    """A source whose arrays have the dtypes of ``model``; losses: by path, what may be lost of it."""

    def __init__(self, base: Source, model: Model, losses: Callable[[str], frozenset[str]]) -> None:
        super().__init__(model, seed=base.seed, checkpoint=base.checkpoint)
        self.base, self.losses = base, losses

    @property
    def notes(self) -> dict[str, Provenance]:
        return self.base.notes

    def pieces(self, parameter: Parameter) -> Iterator[tuple[str, int, int]]:
        return self.base.pieces(parameter)

    def read(self, path: str, start: int, stop: int) -> Array:
        dtype = self.model.parameters[path].dtype
        try:
            return checked_cast(self.base.read(path, start, stop), dtype, self.losses(path))
        except CastLoss as loss:
            raise OutputError(f"{path}: {loss}; --allow {loss.kind} does it all the same") from loss


def cast_source(source: Source, rules: Sequence[str], allowed: Sequence[str]) -> Source:
    """A source in the dtypes that rules give: DTYPE for floating-point arrays, PATTERN=DTYPE for any; the first counts.

    allowed: LOSS, or LOSS=PATTERN. Raises AddressError for a rule that is malformed or matches nothing.
    """
    model = source.model
    wanted: dict[str, str] = {}
    for text in rules:
        pattern, equals, dtype = text.rpartition("=")
        if dtype not in DTYPE_BYTES:
            hint = suggest(SHORT.get(dtype, dtype), DTYPE_BYTES)
            raise AddressError(f"a dtype is one of {', '.join(DTYPE_BYTES)}", repr(dtype), hint)
        if equals:
            paths = [model.owner(path).path for path in resolve_whole(model, pattern, "cast")]
        else:
            paths = [each.path for each in model.owners() if is_float(each.dtype)]
            if not is_float(dtype):
                raise AddressError("for what is no floating-point dtype say which arrays: PATTERN=DTYPE", repr(text))
        for path in paths:
            wanted.setdefault(path, dtype)
    typed = model.map_parameters(lambda each: replace(each, dtype=wanted.get(model.owner(each.path).path, each.dtype)))
    losses = _losses(model, allowed)
    return CastSource(source, typed, lambda path: frozenset(losses.get(path, ())))


def is_float(dtype: str) -> bool:
    return dtype in FLOAT_DTYPES or dtype.startswith("float8")


def _losses(model: Model, allowed: Sequence[str]) -> Mapping[str, set[str]]:
    made: dict[str, set[str]] = {}
    for text in allowed:
        kind, equals, pattern = text.partition("=")
        if kind not in CastLoss.KINDS:
            raise AddressError(f"what may be lost is one of {', '.join(CastLoss.KINDS)}", repr(text))
        paths = resolve_whole(model, pattern, "cast") if equals else list(model.parameters)
        for path in paths:
            made.setdefault(model.owner(path).path, set()).add(kind)
    return made
