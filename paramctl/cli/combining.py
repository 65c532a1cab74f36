"""The steps that average, arithmetic and merge share: open several files, and write the result with its notes."""

from __future__ import annotations

from collections.abc import Callable
from os.path import realpath
from typing import TYPE_CHECKING, Any

import click

from paramctl.cli import inputs
from paramctl.cli.output import hold_source, report_written, warm_up, write_file, write_pipe
from paramctl.cli.render import tell
from paramctl.core.text import abbreviate

if TYPE_CHECKING:
    from paramctl.library.weights import Weights
    from paramctl.model import Model


def open_all(paths: tuple[str, ...], output: str) -> list[Model | Weights]:
    """Open the files of a combination. No other process replaces the one that the output replaces."""
    if paths.count("-") > 1:
        raise click.UsageError("Standard input can be only one of the files")
    if output != "-":
        warm_up(output)
    for path in {realpath(path) if path != "-" else path: path for path in paths}.values():
        hold_source(path, output)
    return [inputs.open_argument(path) for path in paths]


def named_files(texts: tuple[str, ...]) -> dict[str, str]:
    """Return the files of ``NAME=FILE`` by name."""
    files: dict[str, str] = {}
    for text in texts:
        name, _, path = text.partition("=")
        if not path or not name.isidentifier():
            raise click.UsageError(f"a file must be written NAME=FILE, and NAME as a variable (got {text!r})")
        if name in files:
            raise click.UsageError(f"two files have the name {name}")
        files[name] = path
    return files


def fractions(text: str) -> list[float]:
    """Return the numbers in a list such as ``0.5,0.3,0.2`` or ``1/3,2/3``."""
    from fractions import Fraction  # slow to import

    numbers = []
    for part in text.split(","):
        try:
            number = float(Fraction(part.strip()[:50]))
        except (ValueError, ZeroDivisionError, OverflowError):
            raise click.UsageError(f"--weights must be numbers, such as 0.5,0.3,0.2 (got {text!r})") from None
        numbers.append(number)
    return numbers


def write(
    weights: Weights,
    output: str,
    force: bool,
    max_shard_size: int | None,
    quiet: bool,
    show: Callable[[list[Any]], None] = lambda report: None,
) -> None:
    """Write a combination to a file or to standard output, and its notes to standard error.

    show: prints the report.
    """
    if output == "-":
        write_pipe(weights)
        return
    report = write_file(weights, output, force=force, max_shard_size=max_shard_size, measure=not quiet)
    if not quiet:
        show(report)
        report_written(weights, output)
        bad = {row.path: f"{row.path} ({row.nan:,} NaN, {row.inf:,} infinite)" for row in report if row.nan or row.inf}
        if bad:
            tell(f"{output} has values that are not finite: {abbreviate([*bad.values()])}")
