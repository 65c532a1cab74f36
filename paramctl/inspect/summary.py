"""Summary of a model: a row for each layer and for each parameter, and the totals.

A shared array is counted once, at its first occurrence. So the counts of the rows add up to the totals, at any depth
and for any selection.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from paramctl.address.resolve import NO_FILTERS, Filters, subtree_matcher
from paramctl.core.parameter import DTYPE_BYTES, PACKED_BITS, Encoding, Parameter
from paramctl.init.rules import assign_schemes
from paramctl.inspect.costs import Cost, Costs, why_unknown
from paramctl.inspect.layer_types import LayerTypes
from paramctl.inspect.packed import Packed, parameter_counts
from paramctl.inspect.repeats import Repeats, Shown
from paramctl.inspect.summary_rows import CountedElsewhere, LayerRow, ParameterRow, StateTotals
from paramctl.model import Block, Input, Model, Tie, Totals, shared_text, totals


class Omitted(NamedTuple):
    """The rows that are not among the first: their number, and their sum; None if it is unknown."""

    rows: int
    counted: int | None


class LeftOut(NamedTuple):
    """The rows of layers and of parameters that are not among the first."""

    layers: Omitted
    parameters: Omitted


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
    left_out: the rows that were left out by ``rank``; None if the rows were not ranked.
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
    left_out: LeftOut | None = None

    def total(self, measure: str) -> int | None:
        """Return the total of parameters, bytes or macs; None if it is unknown."""
        if measure == "macs":
            return self.cost.macs
        if self.unbuilt:
            return None
        return sum(self.totals.bytes.values()) if measure == "bytes" else self.totals.parameters


def summarize(
    model: Model,
    patterns: Sequence[str] = (),
    depth: int | None = None,
    schemes: Mapping[str, str | None] | None = None,
    keep: Filters = NO_FILTERS,
    missing: Mapping[str, tuple[int, ...] | None] = MappingProxyType({}),
    packed: Sequence[Packed] = (),
    optimizer: Sequence[Parameter | ParameterRow] = (),
    group: bool = False,
    only: str | None = None,
) -> Summary:
    """Return the summary of a model.

    patterns: the layers and parameters to include, with everything inside them; all by default.
    depth: the number of levels of blocks to expand into rows; None expands all.
    schemes: the schemes by which a file's arrays were drawn, by path; None for a model that will be drawn.
    keep: the parameters that count.
    missing: the parameters that a file lacks; see Origin.
    packed: the arrays that hold packed parameters.
    optimizer: the arrays of the file's optimizer. The model may have them too, and then they are rows.
    group: return one row for equal blocks, and for equal parameters; see Repeats.
    only: ``layers`` or ``parameters`` to return rows of these alone, None for both.

    Raises AddressError for a pattern that matches nothing, and for a filter by what the file does not record.
    """
    matches = _selector(model, patterns)
    candidates = [parameter for path, parameter in model.parameters.items() if matches(path)]
    selected = {parameter.path for parameter in candidates if keep(parameter)}
    keep.check_recorded(model.name, candidates)
    state = _state_rows(model, selected, group) if optimizer else []
    # patterns and filters select among all arrays, but only parameters have layers, costs and totals
    if (parameters := model.without_optimizer()) is not model:
        model, optimizer = parameters, state
    counted = [model.owner(path) for path in model.parameters if path in selected and model.counted_at(path) == path]
    lacking = {path: shape for path, shape in missing.items() if not patterns or any(map(matches, _around(path, "/")))}
    counts, scales = parameter_counts(packed), {path for each in packed for path in each.scales}
    if schemes is None:
        schemes = {path: assigned.scheme for path, assigned in assign_schemes(model).items()}
    rows = _LayerRows(model, matches, selected, depth, counts, lacking)
    cost = rows.costs.all(model.blocks)
    rows.repeats = repeats = rows.find_repeats(schemes) if group else None
    return Summary(
        model=model.name,
        inputs=model.inputs,
        outputs=model.outputs,
        layers=list(rows.rows(model.blocks, 1)) if only != "parameters" else [],
        parameters=list(_parameter_rows(model, selected, schemes, counts, repeats)) if only != "layers" else [],
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


def _state_rows(model: Model, selected: Collection[str], group: bool) -> list[ParameterRow]:
    """Return the rows of the selected arrays of an optimizer."""
    state = {path for path in selected if not model.parameters[path].is_parameter}
    repeats = None
    if group and state:
        within = {
            path
            for each in model.walk()
            if any(held.path in state for held in each.parameters)
            for path in (each.path, *_around(each.path, model.separator))
        }
        repeats = Repeats(model, lambda block: block.path in within, state.__contains__, lambda _: None)
    return list(_parameter_rows(model, state, {}, {}, repeats))


def _around(path: str, separator: str) -> Iterator[str]:
    """Yield the paths of the blocks that contain a path."""
    while path := path.rpartition(separator)[0]:
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
        self.repeats: Repeats | None = None
        self.types = LayerTypes(model.blocks, model.separator)
        self.costs = Costs(model, self.shown, lambda block: matches(block.path))

    def rows(self, blocks: Sequence[Block], level: int) -> Iterator[LayerRow]:
        for block in blocks:
            if not self.shown(block) or (self.repeats and id(block) not in self.repeats.blocks):
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

    def find_repeats(self, schemes: Mapping[str, str | None]) -> Repeats:
        """Return the repeated blocks and parameters."""
        missing: dict[str, list[str]] = {}  # by the layer that lacks them
        for path in self.missing:
            for around in _around(path, "/"):
                missing.setdefault(around, []).append(path[len(around) :])

        def facts(of: Block | str) -> Hashable:
            if isinstance(of, str):
                return self.parameter_counts.get(self.model.owner(of).path), schemes.get(self.model.owner(of).path)
            return self.types.of(of), self.costs.of(of), of.unbuilt, tuple(missing.get(of.path, ()))

        return Repeats(self.model, self.shown, self.selected.__contains__, facts)

    def row(self, block: Block, level: int, expanded: bool) -> LayerRow:
        # The rows inside an expanded block count for themselves, and a reused layer was counted before.
        inside = list(block.walk()) if block.blocks and not expanded else [block]
        blocks = [] if block.reuse_of and not expanded else inside
        parameters = [
            parameter for inner in blocks for parameter in inner.parameters if parameter.path in self.selected
        ]
        counted = [self.model.owner(parameter.path) for parameter in parameters if self.counts(parameter)]
        counts = totals(counted, self.parameter_counts)
        # an expanded block has no count, unless it holds parameters itself
        known = bool(parameters) if expanded else not any(inner.unbuilt for inner in inside)
        cost = self.costs.of(block)
        missing: tuple[str, ...] = ()
        if self.missing and not expanded:
            missing = tuple(path for path in self.missing if path.startswith(f"{block.path}/"))
        row = LayerRow(
            path=block.path,
            name=block.path.rpartition(self.model.separator)[2],
            depth=level,
            type=self.types.of(block),
            output_shape=block.output,
            parameters=counts.parameters if known else None,
            trainable=counts.trainable if known else None,
            non_trainable=counts.non_trainable if known else None,
            unknown=counts.unknown if known else None,
            bytes=sum(counts.bytes.values()) if known else None,
            reuse_of=block.reuse_of,
            inputs=block.inputs,
            shared=self.shared(block, parameters) if len(counted) < len(parameters) or block.reuse_of else (),
            holds=tuple([parameter.path for parameter in parameters]),
            macs=cost.macs,
            activations=cost.activations,
            expanded=expanded,
            missing=missing,
        )
        return _of_group(row, block, self.repeats) if self.repeats else row

    def target(self, path: str, other: str) -> str:
        """Return how the row of a path names another path."""
        return self.repeats.target(path, other) if self.repeats else other

    def counts(self, parameter: Parameter) -> bool:
        """Return True if the array of a parameter is counted at this parameter."""
        return self.model.counted_at(parameter.path) == parameter.path

    def shared(self, block: Block, parameters: list[Parameter]) -> tuple[CountedElsewhere, ...]:
        """Return the parameters that are counted elsewhere."""
        if block.reuse_of is not None:
            first = self.target(block.path, block.reuse_of)
            return (CountedElsewhere("", first, shared_text(first)),)
        paths = [parameter.path for parameter in parameters if not self.counts(parameter)]
        whole = len(paths) == len(parameters)
        start = len(block.path) + 1
        return tuple(_elsewhere(self.model, path, "" if whole else path[start:], self.repeats) for path in paths)


_SUMS = ("parameters", "trainable", "non_trainable", "unknown", "bytes", "macs", "activations")
"""The numbers of a row that are sums over equal blocks."""


def _of_group(row: LayerRow, block: Block, repeats: Repeats) -> LayerRow:
    """Return the row of a block as that of all blocks which are equal to it."""
    place, shown = repeats.blocks[id(block)], repeats.parameters
    sums = {name: place.times * number for name in _SUMS if (number := getattr(row, name)) is not None}
    return row._replace(
        path=place.path,
        name=place.name,
        count=place.times,
        reuse_of=None if row.reuse_of is None else repeats.target(row.path, row.reuse_of),
        holds=tuple(shown[path].path for path in row.holds if path in shown),
        missing=tuple(place.path + path[len(row.path) :] for path in row.missing),
        **sums,
    )


def _elsewhere(model: Model, path: str, name: str, repeats: Repeats | None) -> CountedElsewhere:
    """Return where the array of a parameter is counted. name: of the parameter in its layer."""
    tie, place = model.tied.get(path), model.counted_at(path)
    kept = tie.kept if tie else path
    if repeats:
        kept, place = repeats.target(path, kept), repeats.target(path, place)
    return CountedElsewhere(name, place, shared_text(kept, tie.transpose) if tie else f"counted at {place}")


def _parameter_rows(
    model: Model,
    selected: Collection[str],
    schemes: Mapping[str, str | None],
    counts: Mapping[str, int],
    repeats: Repeats | None,
) -> Iterator[ParameterRow]:
    # most arrays of a large file have the axes of another, and the very same ones: see stored_parameter
    known: dict[tuple[int, str, Encoding | None], _Facts] = {}
    for path, parameter in model.parameters.items():
        if path not in selected or (repeats and path not in repeats.parameters):
            continue
        owner, tie, counted_at = model.owner(path), model.tied.get(path), model.counted_at(path)
        place = repeats.parameters[path] if repeats else Shown(path, "", 1)
        kind = id(parameter.axes), owner.dtype, owner.encoding
        facts = known.get(kind) or known.setdefault(kind, _facts(parameter, owner))
        elsewhere = None if counted_at == path else _elsewhere(model, path, "", repeats)
        yield ParameterRow(
            path=place.path,
            shape=facts.shape,
            dtype=facts.dtype,
            bits=facts.bits,
            kind=None if parameter.kind == "unknown" else parameter.kind,
            trainable=owner.trainable,
            size=place.times * facts.size,
            bytes=place.times * facts.bytes,
            axes=facts.roles,
            fan_in=facts.fan_in,
            fan_out=facts.fan_out,
            scheme=schemes.get(owner.path),
            tied_to=None if tie is None else repeats.target(path, tie.kept) if repeats else tie.kept,
            counted_at=place.path if elsewhere is None else elsewhere.path,
            shared=elsewhere.text if elsewhere else "",
            parameters=place.times * counts.get(owner.path, facts.size),
            count=place.times,
        )


class _Facts(NamedTuple):
    """The facts of a parameter that follow from its axes, and from the dtype and encoding of its array."""

    shape: tuple[int, ...]
    size: int
    dtype: str
    bits: int | float
    bytes: int
    roles: tuple[str, ...] | None
    fan_in: int | float | None
    fan_out: int | None


def _facts(parameter: Parameter, owner: Parameter) -> _Facts:
    roles, fans = _roles(parameter), parameter.fans or (None, None)
    return _Facts(
        parameter.shape, owner.size, owner.stored_dtype, _bits(owner), owner.stored_bytes, roles, fans[0], fans[1]
    )


def _bits(parameter: Parameter) -> int | float:
    """Return the bits of a stored value, on average."""
    encoding = parameter.encoding
    if encoding and parameter.stored_dtype == encoding.name:
        return int(encoding.bits) if encoding.bits == int(encoding.bits) else encoding.bits
    return PACKED_BITS.get(parameter.dtype) or 8 * DTYPE_BYTES[parameter.dtype]


def _roles(parameter: Parameter) -> tuple[str, ...] | None:
    """Return the roles of the axes; None if the file does not record them."""
    roles = tuple([axis.role for axis in parameter.axes])
    return None if "unknown" in roles else roles
