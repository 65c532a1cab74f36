"""paramctl extract-lora: a LoRA adapter from the difference between two checkpoints."""

from __future__ import annotations

import click

import paramctl
from paramctl.cli import inputs, options, progress
from paramctl.cli.command import Command
from paramctl.cli.render import ROW_FORMATS, Column, emit, numeric, rows, tell

COLUMNS = [
    Column("path", "Parameter", lambda row: row.path),
    Column("shape", "Shape", lambda row: row.shape),
    Column("stored", "Stored", lambda row: row.stored),
    Column("rank", "Rank", lambda row: row.rank, right=True),
    numeric("error", "Relative error"),
]


@click.command("extract-lora", cls=Command, short_help="Extract a LoRA adapter from a difference")
@click.argument("base", type=click.Path(allow_dash=True), help="Checkpoint of the base model")
@click.argument("tuned", type=click.Path(allow_dash=True), help="Checkpoint of the same model after training")
@click.option("--rank", type=click.IntRange(1), metavar="R", required=True, help="Rank of the factors of each matrix")
@click.option(
    "--full",
    metavar="PATTERN",
    multiple=True,
    help="Store these in full if they differ, such as embeddings with other names; repeatable",
)
@click.option("-o", "--output", "output", metavar="FOLDER", required=True, help="Folder to write")
@options.force
@options.quiet("Print no report and no notes")
@options.format_(*ROW_FORMATS)
def extract_lora(
    base: str,
    tuned: str,
    rank: int,
    full: tuple[str, ...],
    output: str,
    force: bool,
    quiet: bool,
    format: str,
) -> None:
    """Write a LoRA adapter that changes BASE into TUNED, as nearly as its rank allows.

    The folder has adapter_model.safetensors and adapter_config.json in PEFT's layout. Each matrix of a linear layer
    that differs becomes two factors of the rank, from the singular values of the difference. The report has their
    relative error: the L2 norm of the part that the factors lack, over that of the difference.

    Other arrays that differ are stored in full: biases, norms, convolutions, and embeddings, which are recognized by
    names such as embed_tokens and wte. --full names embeddings with other names.

    Both files must have the names of torch's modules, such as layers.0.weight.

    \b
    Examples:
      paramctl extract-lora base.safetensors tuned.safetensors --rank 16 -o adapter/
      paramctl extract-lora base.pt tuned.pt --rank 8 --full '**.char_table.weight' -o adapter/
    """
    if base == tuned == "-":
        raise click.UsageError("Standard input can be only one of the files")
    before, after = (inputs.open_argument(path) for path in (base, tuned))
    with progress.bar("extracting", "arrays") as report:
        extracted = paramctl.extract_lora(before, after, output, rank=rank, full=full, force=force, progress=report)
    if not quiet:
        emit(rows(format, extracted, COLUMNS))
        tell(f"wrote {output}: {len(extracted):,} changed arrays")
