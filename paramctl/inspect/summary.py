"""Summary of a model: a row for each layer and for each parameter, and the totals.

A shared array is counted once, at its first occurrence. So the counts of the rows add up to the totals, at any depth
and for any selection.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from paramctl.address.resolve import NO_FILTERS, Filters, subtree_matcher
from paramctl.core.parameter import DTYPE_BYTES, PACKED_BITS, Encoding, Parameter
from paramctl.init.rules import assign_schemes
from paramctl.inspect.costs import Cost, Costs, why_unknown
from paramctl.inspect.packed import Packed, parameter_counts
from paramctl.model import Block, Input, Model, Tie, Totals, shared_text, totals
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


def elsewhere(model: Model, path: str, name: str) -> CountedElsewhere:
    """Return where the array of a parameter is counted. name: of the parameter in its layer."""
    tie, place = model.tied.get(path), model.counted_at(path)
    return CountedElsewhere(name, place, shared_text(tie.kept, tie.transpose) if tie else f"counted at {place}")


@dataclass(frozen=True, slots=True)
class LayerRow:
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


@dataclass(frozen=True, slots=True)
class ParameterRow:
    """A parameter.

    dtype, bits, trainable, scheme: of its array, which may be another parameter's. dtype: of the stored values, such as
        q4_k. bits: of a stored value, on average.
    size: the number of stored values. parameters: that of the parameters they hold, which differs for packed weights.
    tied_to: the path of the parameter that keeps its array. counted_at: the path at which its array is counted.
    shared: the same as text, ``= PATH`` or ``counted at PATH``; empty if it is counted here.
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


@dataclass(frozen=True, slots=True)
class Summary:
    """The rows and totals of a model.

    unbuilt: the number of layers that lack the shape of an input. separator: between the names of a path.
    missing: the shapes of the parameters that the file's configuration has and the file lacks, by path.
    encodings: the quantizations of selected arrays, by name.
    packed: the arrays of low-precision parameters. The totals count these parameters, and not their scales.
    stored, scales: the number of all stored values, and that of the values of scales.
    optimizer: the arrays of an optimizer, as rows, if they were asked for. optimizer_totals: of these rows, or of all
        arrays of the file's optimizer; None without any. No other number of the summary includes them.
    cost: of the selected layers, each application of a layer counted. why_unknown: if a cost is; else empty.
    """

    model: str
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    layers: list[LayerRow]
    parameters: list[ParameterRow]
    ties: tuple[Tie, ...]
    totals: Totals
    unbuilt: int
    separator: str
    missing: Mapping[str, tuple[int, ...] | None]
    encodings: Mapping[str, Encoding]
    packed: tuple[Packed, ...]
    stored: int
    scales: int
    cost: Cost
    why_unknown: str
    optimizer: list[ParameterRow]
    optimizer_totals: StateTotals | None


def summarize(
    model: Model,
    patterns: Sequence[str] = (),
    depth: int | None = None,
    schemes: Mapping[str, str | None] | None = None,
    keep: Filters = NO_FILTERS,
    missing: Mapping[str, tuple[int, ...] | None] = MappingProxyType({}),
    packed: Sequence[Packed] = (),
    optimizer: Sequence[Parameter | ParameterRow] = (),
) -> Summary:
    """Return the summary of a model.

    patterns: the layers and parameters to include, with everything inside them; all by default.
    depth: the number of levels of blocks to expand into rows; None expands all.
    schemes: the schemes by which a file's arrays were drawn, by path; None for a model that will be drawn.
    keep: the parameters that count.
    missing: the parameters that a file lacks; see Origin.
    packed: the arrays that hold packed parameters.
    optimizer: the arrays of the file's optimizer. The model may have them too, and then they are rows.

    Raises AddressError for a pattern that matches nothing, and for a filter by what the file does not record.
    """
    matches = _selector(model, patterns)
    candidates = [parameter for path, parameter in model.parameters.items() if matches(path)]
    selected = {parameter.path for parameter in candidates if keep(parameter)}
    keep.check_recorded(model.name, candidates)
    state = [row for row in _parameter_rows(model, selected, {}, {}) if row.kind == "optimizer"] if optimizer else []
    # patterns and filters select among all arrays, but only parameters have layers, costs and totals
    if (parameters := model.without_optimizer()) is not model:
        model, optimizer = parameters, state
    counted = [model.owner(path) for path in model.parameters if path in selected and model.counted_at(path) == path]
    lacking = {
        path: shape for path, shape in missing.items() if not patterns or any(map(matches, _layers_around(path)))
    }
    counts, scales = parameter_counts(packed), {path for each in packed for path in each.scales}
    rows = _LayerRows(model, matches, selected, depth, counts, lacking)
    cost = rows.costs.all(model.blocks)
    return Summary(
        model=model.name,
        inputs=model.inputs,
        outputs=model.outputs,
        layers=list(rows.rows(model.blocks, 1)),
        parameters=list(_parameter_rows(model, selected, schemes, counts)),
        ties=tuple(tie for tie in model.ties if tie.kept in selected or tie.tied in selected),
        totals=totals(counted, counts),
        unbuilt=model.unbuilt,
        separator=model.separator,
        missing=lacking,
        encodings={each.stored_dtype: each.encoding for each in counted if each.encoding},
        packed=tuple(each for each in packed if each.path in selected),
        stored=sum(parameter.size for parameter in counted),
        scales=sum(parameter.size for parameter in counted if parameter.path in scales),
        cost=cost,
        why_unknown=why_unknown(model) if None in cost else "",
        optimizer=state,
        optimizer_totals=StateTotals.of(optimizer),
    )


def _layers_around(path: str) -> Iterator[str]:
    """Yield the paths of the layers and blocks that contain a parameter of Keras."""
    while path := path.rpartition("/")[0]:
        yield path


def _selector(model: Model, patterns: Sequence[str]) -> Callable[[str], bool]:
    return subtree_matcher(model, *patterns) if patterns else lambda path: True


class _LayerRows:
    """The rows of layers, for a selection and a depth."""

    def __init__(
        self,
        model: Model,
        matches: Callable[[str], bool],
        selected: set[str],
        depth: int | None,
        parameter_counts: Mapping[str, int],
        missing: Collection[str],
    ) -> None:
        self.model, self.matches, self.selected, self.depth = model, matches, selected, depth
        self.parameter_counts, self.missing = parameter_counts, missing
        self.costs = Costs(model, self.shown, lambda block: matches(block.path))

    def rows(self, blocks: Sequence[Block], level: int) -> Iterator[LayerRow]:
        for block in blocks:
            if not self.shown(block):
                continue
            expanded = bool(block.blocks) and block.reuse_of is None and level != self.depth
            yield self.row(block, level, expanded)
            if expanded:
                yield from self.rows(block.blocks, level + 1)

    def shown(self, block: Block) -> bool:
        """Return True if a block, or anything inside it, is selected."""
        return self.matches(block.path) or any(
            self.matches(inner.path) or any(parameter.path in self.selected for parameter in inner.parameters)
            for inner in block.walk()
        )

    def row(self, block: Block, level: int, expanded: bool) -> LayerRow:
        # The rows inside an expanded block count for themselves, and a reused layer was counted before.
        blocks = [block] if expanded else [] if block.reuse_of else block.walk()
        parameters = [
            parameter for inner in blocks for parameter in inner.parameters if parameter.path in self.selected
        ]
        counted = [self.model.owner(parameter.path) for parameter in parameters if self.counts(parameter)]
        counts = totals(counted, self.parameter_counts)
        # an expanded block has no count, unless it holds parameters itself
        known = bool(parameters) if expanded else not any(inner.unbuilt for inner in block.walk())
        cost = self.costs.of(block)
        return LayerRow(
            path=block.path,
            depth=level,
            type=block.type,
            output_shape=block.output,
            parameters=counts.parameters if known else None,
            trainable=counts.trainable if known else None,
            non_trainable=counts.non_trainable if known else None,
            unknown=counts.unknown if known else None,
            bytes=sum(counts.bytes.values()) if known else None,
            reuse_of=block.reuse_of,
            inputs=block.inputs,
            shared=self.shared(block, parameters),
            holds=tuple(parameter.path for parameter in parameters),
            macs=cost.macs,
            activations=cost.activations,
            expanded=expanded,
            missing=() if expanded else tuple(path for path in self.missing if path.startswith(f"{block.path}/")),
        )

    def counts(self, parameter: Parameter) -> bool:
        """Return True if the array of a parameter is counted at this parameter."""
        return self.model.counted_at(parameter.path) == parameter.path

    def shared(self, block: Block, parameters: list[Parameter]) -> tuple[CountedElsewhere, ...]:
        """Return the parameters that are counted elsewhere."""
        if block.reuse_of is not None:
            return (CountedElsewhere("", block.reuse_of, shared_text(block.reuse_of)),)
        paths = [parameter.path for parameter in parameters if not self.counts(parameter)]
        whole = len(paths) == len(parameters)
        start = len(block.path) + 1
        return tuple(elsewhere(self.model, path, "" if whole else path[start:]) for path in paths)


def _parameter_rows(
    model: Model, selected: set[str], schemes: Mapping[str, str | None] | None, counts: Mapping[str, int]
) -> Iterator[ParameterRow]:
    if schemes is None:
        schemes = {path: assigned.scheme for path, assigned in assign_schemes(model).items()}
    for path, parameter in model.parameters.items():
        if path not in selected:
            continue
        owner, tie, counted_at = model.owner(path), model.tied.get(path), model.counted_at(path)
        fan_in, fan_out = parameter.fans or (None, None)
        yield ParameterRow(
            path=path,
            shape=parameter.shape,
            dtype=owner.stored_dtype,
            bits=_bits(owner),
            kind=None if parameter.kind == "unknown" else parameter.kind,
            trainable=owner.trainable,
            size=parameter.size,
            bytes=owner.stored_bytes,
            axes=_roles(parameter),
            fan_in=fan_in,
            fan_out=fan_out,
            scheme=schemes.get(owner.path),
            tied_to=tie.kept if tie else None,
            counted_at=counted_at,
            shared="" if counted_at == path else elsewhere(model, path, "").text,
            parameters=counts.get(owner.path, owner.size),
        )


def _bits(parameter: Parameter) -> int | float:
    """Return the bits of a stored value, on average."""
    encoding = parameter.encoding
    if encoding and parameter.stored_dtype == encoding.name:
        return int(encoding.bits) if encoding.bits == int(encoding.bits) else encoding.bits
    return PACKED_BITS.get(parameter.dtype) or 8 * DTYPE_BYTES[parameter.dtype]


def _roles(parameter: Parameter) -> tuple[str, ...] | None:
    """Return the roles of the axes; None if the file does not record them."""
    roles = tuple(axis.role for axis in parameter.axes)
    return None if "unknown" in roles else roles
