"""The rows of a summary: one for each layer, and one for each parameter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from paramctl.core.parameter import Parameter
from paramctl.model.layers import Sizes


class CountedElsewhere(NamedTuple):
    """A parameter whose array is counted in another row.

    name: its name in its layer; empty for all parameters of a layer.
    path: the path at which its array is counted.
    text: ``= PATH, transposed``, with the name that keeps the array; ``counted at PATH`` for that name itself.
    """

    name: str
    path: str
    text: str


class LayerRow(NamedTuple):
    """A row of the table of layers.

    parameters: the number of values counted here; None if the rows below count them, or an input's shape is unknown.
    trainable, non_trainable: the numbers of values that are trained, and that are not; None if the file does not record
        it for all of them. unknown: the number of values for which it does not.
    reuse_of: the path of the layer that this one applies again.
    inputs: the outputs that are its inputs, if not the previous layer's.
    shared: the parameters that are counted elsewhere; a single item for a whole layer that is.
    holds: the paths of the parameters counted in this row.
    missing: the paths of its parameters that the file lacks.
    macs, activations: the multiply-accumulates for one example, and the values of the outputs, summed over the layers
        inside; None if unknown.
    expanded: True if the layers inside have rows of their own.
    name: the last name of the path.
    count: the number of equal blocks or layers that this row represents. All numbers above are sums over these.
    percent, cumulative: the share of this row in the total, and of all rows up to it, as ``rank`` sets them.
    """

    path: str
    depth: int
    type: str
    output_shape: Sizes | None
    parameters: int | None
    trainable: int | None
    non_trainable: int | None
    unknown: int | None
    bytes: int | None
    reuse_of: str | None
    inputs: tuple[str, ...]
    shared: tuple[CountedElsewhere, ...]
    holds: tuple[str, ...]
    macs: int | None
    activations: int | None
    expanded: bool
    missing: tuple[str, ...] = ()
    name: str = ""
    count: int = 1  # type: ignore[assignment]  # not the method of tuples
    percent: float | None = None
    cumulative: float | None = None

    def counted(self, measure: str) -> int | None:
        """Return the parameters, bytes or macs that this row counts, without those of the rows inside."""
        if measure == "macs" and self.expanded:  # macs are those of the layers inside
            return None
        number: int | None = getattr(self, measure)
        return number

    @property
    def kind(self) -> str | None:
        """None: layers have no kind."""
        return None


class ParameterRow(NamedTuple):
    """A parameter.

    dtype, bits, trainable, scheme: of its array, which may be another parameter's. dtype: of the stored values, such as
        q4_k. bits: of a stored value, on average.
    size: the number of stored values. parameters: that of the parameters they hold, which differs for packed weights.
    tied_to: the path of the parameter that keeps its array. counted_at: the path at which its array is counted.
    shared: the same as text, ``= PATH`` or ``counted at PATH``; empty if it is counted here.
    count: the number of equal parameters that this row represents; size, bytes and parameters are sums over these.
    percent, cumulative: the share of this row in the total, and of all rows up to it, as ``rank`` sets them.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    bits: int | float
    kind: str | None
    trainable: bool | None
    size: int
    bytes: int
    axes: tuple[str, ...] | None
    fan_in: int | float | None
    fan_out: int | None
    scheme: str | None
    tied_to: str | None
    counted_at: str
    shared: str
    parameters: int
    count: int = 1  # type: ignore[assignment]  # not the method of tuples
    percent: float | None = None
    cumulative: float | None = None

    @property
    def expanded(self) -> bool:
        """False: nothing is inside a parameter."""
        return False

    def counted(self, measure: str) -> int | None:
        """Return the parameters or bytes that this row counts: 0 if another row has them."""
        number: int = getattr(self, measure)
        return number if self.counted_at == self.path else 0


class StateTotals(NamedTuple):
    """The arrays of an optimizer, which are not parameters: their number, their values, and their bytes."""

    arrays: int
    values: int
    bytes: int

    @classmethod
    def of(cls, arrays: Sequence[Parameter | ParameterRow]) -> StateTotals | None:
        """Return the totals of arrays, None without any."""
        return (
            cls(len(arrays), sum(each.size for each in arrays), sum(each.bytes for each in arrays)) if arrays else None
        )
