"""check: the faults of a model or checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike, fspath

from paramctl.errors import ParamctlError
from paramctl.inspect.check.damage import damage
from paramctl.inspect.check.finding import SEVERITIES, Finding, Severity
from paramctl.inspect.check.registry import CHECKSUM, choose
from paramctl.inspect.check.run import run_checks
from paramctl.inspect.check.subject import Subject
from paramctl.library.arguments import filters
from paramctl.library.opening import Openable, as_source, openable, rename_rules, texts
from paramctl.parallel import Progress
from paramctl.source.base import SelectedValues, Source, place_of, select_values
from paramctl.source.derived import rename as renamed


@dataclass(frozen=True, slots=True)
class Findings:
    """The findings of checks, the worst first.

    arrays, values: the numbers of arrays and of values that were checked.
    """

    findings: list[Finding]
    arrays: int = 0
    values: int = 0

    def at_least(self, severity: Severity) -> list[Finding]:
        """Return the findings of a severity, and those that are worse."""
        accepted = SEVERITIES[: SEVERITIES.index(severity) + 1]
        return [finding for finding in self.findings if finding.severity in accepted]

    @property
    def healthy(self) -> bool:
        """True if no finding is an error or a warning."""
        return not self.at_least("warning")


def check(
    weights: Openable,
    *addresses: str,
    like: Openable | None = None,
    rename: Mapping[str, str] | Sequence[str] = (),
    as_dtype: str | Sequence[str] = (),
    select: str | Sequence[str] = (),
    ignore: str | Sequence[str] = (),
    trainable: bool | None = None,
    dtype: str | None = None,
    kind: str | None = None,
    min_size: int | None = None,
    seed: int | None = None,
    state: bool = False,
    progress: Progress | None = None,
) -> Findings:
    """Check a model or checkpoint for faults: of values, arrays, names, ties and files.

    like: the model whose names, shapes, dtypes and ties it must have.
    rename: new names for the arrays, before they are compared with those of ``like``.
    as_dtype: also find the values that this dtype cannot hold: DTYPE for floating-point arrays, or PATTERN=DTYPE.
    select, ignore: names of checks, or severities. All checks run by default.
    trainable, dtype, kind, min_size: only parameters like this.
    seed: of a model's values. state: check the arrays of the file's optimizer too.
    A file whose contents cannot be read is a finding. Raises InputError for one that does not exist, and AddressError
    for an address or a check that does not.
    """
    checks = choose(texts(select), texts(ignore))
    try:
        opened = openable(weights)
    except ParamctlError as error:
        if not isinstance(weights, (str, PathLike)):
            raise
        return unreadable(weights, error)
    source = as_source(opened, seed, state=state)
    if rules := rename_rules(rename):
        source = renamed(source, rules)
    reference = as_source(like) if like is not None else None
    restricted = filters(trainable, dtype, kind, min_size)
    selected = _each_once(select_values(source, addresses, restricted, decodable=False))
    casts = _cast_dtypes(source, texts(as_dtype))
    hashed = any(each.name == CHECKSUM for each in checks)
    subject = Subject(source, selected, reference, casts, progress, hashed=hashed)
    values = sum(each.selection.size for each in selected)
    return Findings(run_checks(subject, checks, place_of(source)), len({each.path for each in selected}), values)


def _each_once(selection: Sequence[SelectedValues]) -> list[SelectedValues]:
    """Return selected values without whole arrays that are selected under another of their names too."""
    seen: set[str] = set()
    kept = []
    for selected in selection:
        owner = selected.source.model.owner(selected.path).path
        if not selected.selection.everything or owner not in seen:
            kept.append(selected)
        if selected.selection.everything:
            seen.add(owner)
    return kept


def _cast_dtypes(source: Source, rules: Sequence[str]) -> dict[str, str]:
    """Return the dtypes that rules give to arrays, without those that they have already."""
    if not rules:
        return {}
    from paramctl.edit.cast_rules import cast_source  # rare, and not free to import

    owners = cast_source(source, rules).model.owners()
    return {owner.path: owner.dtype for owner in owners if owner.dtype != source.model.owner(owner.path).dtype}


def unreadable(path: str | PathLike[str], error: ParamctlError) -> Findings:
    """Return the findings about a file that raised an error when it was opened.

    Raises the error again if the contents of the file are not at fault: it does not exist, or an option is wrong.
    """
    return Findings(damage(fspath(path), error))
