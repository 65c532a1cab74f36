"""report: one page with the facts of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, NamedTuple

from paramctl.errors import AddressError, OutputError, without_credentials
from paramctl.inspect.diff import compare
from paramctl.inspect.metadata import MetadataRow
from paramctl.inspect.ranking import rank
from paramctl.inspect.report.facts import Comparison, Facts
from paramctl.inspect.report.measure import Measured, Phases, all_rows, find, measure, unmeasured
from paramctl.inspect.report.page import page
from paramctl.inspect.summary_rows import ParameterRow
from paramctl.library.arguments import expect
from paramctl.library.measures import aligned, rename_hint
from paramctl.library.metadata import metadata
from paramctl.library.opening import Openable, as_source, openable
from paramctl.library.structure import summary
from paramctl.model import Model
from paramctl.parallel import Progress
from paramctl.store.io.atomic import write_text
from paramctl.store.metadata import ORIGIN_KEYS
from paramctl.store.urls import check_local

if TYPE_CHECKING:
    from paramctl.library.weights import Weights

SUFFIXES = (".html", ".htm")
FRAME = (
    '<iframe title="{title}" sandbox="allow-scripts" srcdoc="{page}" loading="lazy" '
    'style="width: 100%; height: 45rem; border: 1px solid #8888; border-radius: 4px; resize: vertical"></iframe>'
)


@dataclass(frozen=True, slots=True, repr=False)
class Report:
    """A report: its facts, and one HTML page of them. A notebook shows the page in a frame of its own."""

    facts: Facts

    @property
    def html(self) -> str:
        """The page, which needs no network and no other file."""
        return page(self.facts)

    def save(self, path: str | PathLike[str], *, force: bool = False) -> str:
        """Write the page to a file, atomically, and return its path.

        force: replace an existing file. Raises OutputError for a name that does not end in .html or .htm.
        """
        name = fspath(path)
        check_page(name)
        write_text(name, self.html, force)
        return name

    def __repr__(self) -> str:
        return f"<report of {self.facts.title}: {len(self.facts.arrays):,} arrays>"

    def _repr_html_(self) -> str:
        from html import escape  # it has a table of all entities, and only notebooks need it

        return FRAME.format(title=escape(f"Report of {self.facts.title}"), page=escape(self.html))


def check_page(path: str) -> None:
    """Raise OutputError for a URL, and for a name that is not that of a page, such as that of a checkpoint."""
    check_local(path)
    if not path.lower().endswith(SUFFIXES):
        raise OutputError(f"{path}: must end in .html or .htm, because a report is a web page")


def report(
    weights: Openable,
    *addresses: str,
    other: Openable | None = None,
    title: str | None = None,
    values: bool = True,
    trainable: bool | None = None,
    dtype: str | None = None,
    kind: str | None = None,
    min_size: int | None = None,
    seed: int | None = None,
    state: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Report on a model or checkpoint: its layers and arrays, the statistics of their values, findings, and metadata.

    addresses: of the layers and arrays to include, without slices; all by default.
    other: another model or file, whose differences the report shows too.
    title: the heading; the name of the model by default.
    values: read the values. Without them the report has no statistics, histograms and findings.
    trainable, dtype, kind, min_size: only parameters like this.
    seed: of a model's values. state: include the arrays of the file's optimizer.
    Raises AddressError for an address that matches nothing, or that has a slice.
    """
    if title is not None:
        expect("title", title, str, "a text")
    opened = openable(weights)
    filters: dict[str, Any] = {"trainable": trainable, "dtype": dtype, "kind": kind, "min_size": min_size}
    facts = summary(opened, *addresses, **filters, state=state)
    phases = Phases(progress, sum(row.bytes for row in all_rows(facts)), 2 if other is None else 4)
    if values:
        arrays, findings = measure(as_source(opened, seed, state=state), facts, phases)
    else:
        origins = {} if isinstance(opened, Model) else opened.source.origin.provenance
        arrays, findings = Measured(unmeasured(facts, origins), [])
    comparison = None
    if other is not None:
        second = openable(other)
        options = _Options(values, seed, state, bool(addresses) or any(value is not None for value in filters.values()))
        others = _selected(second, addresses, filters, state)
        comparison = _compare(_Side(opened, all_rows(facts)), _Side(second, others), options, phases)
    return Report(
        Facts(
            title=title or _name(opened),
            name=_name(opened),
            format=_format(opened),
            summary=facts,
            arrays=arrays,
            findings=findings if values else None,
            metadata=[] if isinstance(opened, Model) else _metadata(opened),
            comparison=comparison,
            skipped=[] if isinstance(opened, Model) else list(opened.skipped),
        )
    )


def _metadata(weights: Weights) -> list[MetadataRow]:
    """Return the metadata of a file, without the origins of values, which the arrays have as facts of their own."""
    provenance = weights.source.origin.provenance

    def is_elsewhere(row: MetadataRow) -> bool:
        recorded = provenance.get(row.place or "")
        return recorded is not None and row.key in ORIGIN_KEYS and row.value == getattr(recorded, row.key)

    return [row for row in metadata(weights) if not is_elsewhere(row)]


class _Options(NamedTuple):
    """The options of a comparison. values: read the values. restricted: addresses or filters leave arrays out."""

    values: bool
    seed: int | None
    state: bool
    restricted: bool


class _Side(NamedTuple):
    """A model or file, and the arrays of it that are included."""

    weights: Model | Weights
    rows: Sequence[ParameterRow]


def _compare(a: _Side, b: _Side, options: _Options, phases: Phases) -> Comparison:
    """Compare the arrays that either side includes, and check those of the second."""
    values, seed, state, restricted = options
    first, second, names = aligned(a.weights, b.weights, seed=seed, state=state)
    in_a, in_b = first.model.parameters.keys(), {names(path) for path in second.model.parameters}
    wanted_a, wanted_b = ({row.path for row in side.rows} for side in (a, b))
    included, hints = None, []
    if restricted and wanted_a <= in_a and wanted_b <= second.model.parameters.keys():
        included = wanted_a | {names(path) for path in wanted_b}
    elif restricted:
        hints.append("All arrays are compared, because the two files have the layouts of different frameworks.")
    phase = phases.phase(2)
    rows = compare(first, second, names, structure=not values, included=included, decodable=False, progress=phase)
    if hint := rename_hint(rows, second):
        hints.append(hint.replace("Use --rename", "Use paramctl diff --rename"))  # a report has no --rename
    # two names of one array count once, as in the totals
    in_both = {first.model.owner(name).path for name in in_a & in_b if included is None or name in included}
    findings = find(as_source(b.weights, seed, state=state), b.rows, phases.phase(3)) if values else None
    return Comparison(_name(b.weights), rank(rows, "relative_norm"), " ".join(hints), len(in_both), values, findings)


def _selected(
    weights: Model | Weights, addresses: Sequence[str], filters: Mapping[str, Any], state: bool
) -> Sequence[ParameterRow]:
    """Return the arrays that addresses and filters select; none if they match nothing."""
    try:
        return all_rows(summary(weights, *addresses, **filters, state=state))
    except AddressError:
        return []


def _name(weights: Model | Weights) -> str:
    """Return the name of a file without its folder; that of the model if its arrays are not in a file."""
    location = None if isinstance(weights, Model) else weights.source.origin.location
    if location is None:
        return (weights if isinstance(weights, Model) else weights.model).name
    return without_credentials(location.name).rstrip("/").rpartition("/")[2] or location.name


def _format(weights: Model | Weights) -> str:
    """Return the format of a file in words."""
    if isinstance(weights, Model):
        return "model document"
    origin, name = weights.source.origin, weights.model.name
    if origin.location is None:
        return "arrays in memory"
    return f"{origin.format}, of the model {name}" if origin.document or weights.model.document else origin.format
