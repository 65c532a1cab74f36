"""paramctl check: the faults of models and checkpoints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

import paramctl
from paramctl.cli import inputs, options, progress
from paramctl.cli.command import Command
from paramctl.cli.completions import complete_names
from paramctl.cli.finding_formats import folded, github, sarif
from paramctl.cli.render import FOR_PEOPLE, ROW_FORMATS, Column, emit, rows, tell
from paramctl.cli.several import of_each, refuse_standard_input, split_files
from paramctl.core.text import quantity
from paramctl.errors import ParamctlError

SEVERITIES = ("error", "warning", "note")
COLUMNS = [
    Column("severity", "Severity", lambda row: row.severity),
    Column("name", "Check", lambda row: row.name),
    Column("place", "Place", lambda row: row.place),
    Column("text", "Finding", lambda row: row.text),
]
FILE = Column("file", "File", lambda row: row.file)
PATHS = Column("paths", "Parameters", lambda row: list(row.paths))
LISTING = [
    Column("name", "Check", lambda row: row.name),
    Column("severity", "Severity", lambda row: row.severity),
    Column("description", "Description", lambda row: row.description),
]


def _names(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names in comma-separated lists."""
    return tuple(name.strip() for value in values for name in value.split(",") if name.strip())


def _known() -> list[str]:
    """Return the names of checks and severities."""
    from paramctl.inspect.check.registry import all_checks

    return [*(each.name for each in all_checks()), *SEVERITIES]


def _names_option(name: str, text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return an option that takes names of checks and severities. text: its help."""
    return click.option(
        name, metavar="NAME,...", multiple=True, callback=_names, shell_complete=complete_names(_known), help=text
    )


@click.command(cls=Command, short_help="Find faults, such as NaN and dead units")
@options.source
@options.addresses
@click.option("--like", metavar="MODEL", help="Model whose names, shapes, dtypes and ties it must have")
@options.rename
@click.option(
    "--as", "as_dtype", metavar="[PATTERN=]DTYPE", multiple=True, help="Find the values that this dtype cannot hold"
)
@_names_option("--select", "Only these checks or severities")
@_names_option("--ignore", "All but these checks or severities")
@click.option(
    "--fail-on",
    type=click.Choice(SEVERITIES),
    default="warning",
    show_default=True,
    help="Exit with 1 for findings of this severity or a worse one",
)
@click.option("--list", "list_", is_flag=True, help="List the checks instead")
@options.filters
@options.state
@options.quiet("Print nothing; the exit code is the result")
@options.seed
@options.define
@options.input_shape
@options.format_(*ROW_FORMATS, "sarif", "github")
def check(
    source: str | None,
    addresses: tuple[str, ...],
    like: str | None,
    rename: tuple[str, ...],
    as_dtype: tuple[str, ...],
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    fail_on: str,
    list_: bool,
    filters: dict[str, Any],
    state: bool,
    quiet: bool,
    seed: int | None,
    define: tuple[str, ...],
    input_shape: tuple[str, ...],
    format: str,
) -> int:
    """Find faults, such as NaN and dead units: of values, arrays, names, ties and files.

    Exit code: 0 nothing found, or only notes; 1 findings, see --fail-on; 2 error.

    A finding is an error if it cannot be right, such as NaN or a damaged file; a warning if it probably is not, such as
    a weight whose values are all equal; and a note if it may be meant, such as equal arrays that are not tied. --list
    shows the checks.

    A file that exists but cannot be read is a finding. A file that does not exist, or a wrong option, is an error.

    --like compares names, shapes, dtypes and ties with those of another model, in the layout of Keras or torch. -D
    applies to each model document. With --as, values that would overflow, underflow or be rounded in another dtype are
    found too.

    The table has one row for findings that repeat in similar layers; the other formats have all. The format sarif is
    for code scanning, and github prints commands that annotate a run of GitHub Actions.

    \b
    Examples:
      paramctl check model.safetensors
      paramctl check mlp.h5 --like mlp.yaml
      paramctl check model.safetensors --as float16 --select overflow,underflow
      paramctl check epoch-*.safetensors --ignore note --format github
      paramctl check --list
    """
    from paramctl.inspect.check.registry import choose
    from paramctl.library.checking import unreadable

    if list_:
        if format not in ROW_FORMATS:
            raise click.UsageError(f"--list has no format {format}")
        emit(rows(format, choose(select, ignore), LISTING))
        return 0
    files, addresses = split_files(source, addresses)
    refuse_standard_input(files)
    reference = inputs.open_argument(like, define, lenient=True) if like is not None else None
    arguments = dict(
        like=reference,
        rename=rename,
        as_dtype=as_dtype,
        select=select,
        ignore=ignore,
        seed=seed,
        state=state,
        **filters,
    )

    def check_file(file: str | None) -> Any:
        try:
            opened = inputs.open_argument(file, define, input_shape, lenient=True)
        except ParamctlError as error:
            return unreadable(file or options.DEFAULT_MODEL, error)
        if state:
            inputs.note_state(opened, file)
        with progress.bar("checking") as report:
            return paramctl.check(opened, *addresses, **arguments, progress=report)

    results, code = (
        ([(str(source), check_file(source))], 0) if len(files) == 1 else of_each(files, check_file)  # one error ends it
    )
    findings = [finding for _, result in results for finding in result.findings]
    if not quiet:
        emit(_lines(format, findings, len(files) > 1))
        if results:
            tell(_closing(findings, [result for _, result in results]))
    return code or int(any(result.at_least(fail_on) for _, result in results))


def _lines(format: str, findings: Sequence[Any], several: bool) -> Iterator[str]:
    """Yield the lines of findings in a format."""
    if format == "sarif":
        yield from sarif(findings)
    elif format == "github":
        yield from github(findings)
    elif format in FOR_PEOPLE:
        if findings:
            yield from rows(format, folded(findings), [FILE, *COLUMNS] if several else COLUMNS)
    else:
        yield from rows(format, findings, [*COLUMNS, PATHS, FILE])


def _closing(findings: Sequence[Any], results: Sequence[Any]) -> str:
    arrays, values = sum(result.arrays for result in results), sum(result.values for result in results)
    checked = f"{quantity(arrays, 'array')}, {quantity(values, 'value')} checked"
    if not findings:
        return f"no findings: {checked}"
    counts = Counter(finding.severity for finding in findings)
    return f"{', '.join(quantity(counts[severity], severity) for severity in SEVERITIES)}: {checked}"
