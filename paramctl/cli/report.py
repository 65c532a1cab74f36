"""paramctl report: one web page with the facts of a model."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from os.path import abspath, basename, isdir
from typing import TYPE_CHECKING, Any

import click

import paramctl
from paramctl.cli import inputs, options, progress
from paramctl.cli.command import Command
from paramctl.cli.output import default_output
from paramctl.cli.render import PipeClosed, tell
from paramctl.cli.several import refuse_standard_input, split_files

if TYPE_CHECKING:
    from paramctl.library.weights import Weights
    from paramctl.model import Model


@click.command(cls=Command, short_help="Show all of this on one web page")
@options.source
@options.addresses
@options.output("Page to write; '-' for standard output", default="the file's name, with .html")
@options.force
@click.option("--title", metavar="HEADING", show_default="the file's name", help="Heading of the page")
@click.option(
    "--no-values", "values", is_flag=True, flag_value=False, default=True, help="Read no values, only the header"
)
@options.filters
@options.state
@options.seed
@options.define
@options.input_shape
@options.quiet("Print nothing after the page is written")
def report(
    source: str | None,
    addresses: tuple[str, ...],
    output: str | None,
    force: bool,
    title: str | None,
    values: bool,
    filters: dict[str, Any],
    state: bool,
    seed: int | None,
    define: tuple[str, ...],
    input_shape: tuple[str, ...],
    quiet: bool,
) -> int:
    """Write one web page with the facts of a model document or checkpoint, for a browser without a network.

    The page has the totals, the findings of 'paramctl check', a map of the sizes, the tree of layers, and for each
    array its shape, dtype, statistics and histogram, its scheme and seed if the file records them, ties and metadata.
    The tables can be sorted and filtered, and the page works by the keyboard alone, on dark screens and on paper.

    With a second file, the page also has its findings, and the differences from it, the largest relative norm first.

    Addresses and filters select layers and arrays, of both files. Values are read in bounded memory. With --no-values
    nothing but the header is read, so the page has no statistics, no histograms and no findings. With --state, the
    arrays of the file's optimizer are a group of their own.

    The same file gives the same page. The exit code is 0 even if the page has findings or differences.

    \b
    Examples:
      paramctl report model.safetensors
      paramctl report before.h5 after.h5 -o changes.html
      paramctl report gpt2.yaml --no-values -o gpt2.html
      paramctl report model.safetensors 'encoder/**' --title Encoder -o - > encoder.html
      paramctl report hf://openai-community/gpt2 --no-values -o gpt2.html
    """
    files, addresses = split_files(source, addresses)
    refuse_standard_input(files)
    if len(files) > 2:
        raise click.UsageError(f"A report is of one file, or of two to compare (got {len(files)} files)")
    # before the model is opened: a name that cannot be written should not cost a download
    output = output or _page_name(source)
    if output is not None and output != "-":
        _check_output(output, force, files)
    opened = [inputs.open_argument(file, define, input_shape, lenient=len(files) > 1) for file in files]
    if state:
        for arrays, file in zip(opened, files, strict=True):
            inputs.note_state(arrays, file)
    if output is None:  # standard input
        output = default_output(_model(opened[0]), ".html")
        _check_output(output, force, files)
    with progress.bar("reading") as shown:
        page = paramctl.report(
            opened[0],
            *addresses,
            other=opened[1] if len(opened) > 1 else None,
            title=title,
            values=values,
            **filters,
            seed=seed,
            state=state,
            progress=shown,
        )
    if output == "-":
        _print(page.html)
        return 0
    page.save(output, force=force)
    if not quiet:
        tell(f"wrote {output}")
    return 0


def _model(arrays: Model | Weights) -> Model:
    return arrays if isinstance(arrays, paramctl.Model) else arrays.model


def _page_name(source: str | None) -> str | None:
    """Return the name of the page about a file, folder or URL: that of its last part; None for standard input.

    Models in one folder often share their name, as the copies of one do, but files do not.
    """
    from paramctl.store.foreign import DOCUMENTS
    from paramctl.store.registry import FORMATS
    from paramctl.store.urls import is_url, local_path

    path = local_path(source or options.DEFAULT_MODEL)
    if path == "-":
        return None
    if is_url(path):
        name = re.split("[?#]", path)[0].partition("://")[2].rstrip("/").rpartition("/")[2]
        name = name.partition("@")[0] if path.startswith("hf://") else name  # a revision
    else:
        name = basename(abspath(path))
    suffixes = [*DOCUMENTS, *(suffix for each in FORMATS for suffix in (*each.suffixes, *each.read_suffixes))]
    matching = [suffix for suffix in suffixes if name.lower().endswith(suffix) and not isdir(path)]
    stem = name[: len(name) - max(map(len, matching), default=0)]
    return f"{stem or name}.html" if name else None


def _print(page: str) -> None:
    """Write a page to standard output, in UTF-8 for any encoding of the terminal. Raises PipeClosed."""
    try:
        sys.stdout.buffer.write(page.encode())
        sys.stdout.buffer.flush()
    except BrokenPipeError as error:  # click would turn a BrokenPipeError into its own exit code
        raise PipeClosed from error


def _check_output(path: str, force: bool, files: Sequence[str | None]) -> None:
    """Raise an error, before any work, for a page that cannot be written, or that would replace one of the files."""
    from os.path import realpath

    from paramctl.library.reporting import check_page
    from paramctl.store.io.atomic import check_target

    check_page(path)
    check_target(path, force)
    if realpath(path) in [realpath(file or options.DEFAULT_MODEL) for file in files]:
        raise click.UsageError(f"{path} is the file that the report is about")
