"""paramctl merge: LoRA adapters merged into the weights of their base model."""

from __future__ import annotations

import click

import paramctl
from paramctl.cli import combining, options
from paramctl.cli.command import Command
from paramctl.cli.render import ROW_FORMATS, Column, emit, numeric, rows

COLUMNS = [
    Column("path", "Parameter", lambda row: row.path),
    Column("shape", "Shape", lambda row: row.shape),
    Column("adapter", "Adapter", lambda row: row.adapter),
    Column("change", "Change", lambda row: row.change),
    Column("rank", "Rank", lambda row: row.rank, right=True),
    numeric("scale", "Scale"),
]


@click.command(cls=Command, short_help="Merge LoRA adapters into a checkpoint")
@click.argument("base", type=click.Path(allow_dash=True), help="Checkpoint of the base model")
@click.option(
    "--lora", metavar="ADAPTER", multiple=True, required=True, help="Folder or file of an adapter; repeatable"
)
@click.option(
    "--scale",
    type=float,
    metavar="S",
    default=1.0,
    show_default=True,
    help="Factor for what the adapters add, besides their own alpha",
)
@options.result
@options.format_(*ROW_FORMATS)
def merge(
    base: str,
    lora: tuple[str, ...],
    scale: float,
    output: str,
    max_shard_size: int | None,
    dtype: tuple[str, ...],
    allow: tuple[str, ...],
    force: bool,
    quiet: bool,
    format: str,
) -> None:
    """Merge LoRA adapters into the weights of their base model, one after the other, as PEFT's merge_and_unload does.

    An adapter is a folder with adapter_model.safetensors and adapter_config.json, as PEFT writes it, or one file with
    the names of kohya's scripts. Linear layers, embeddings, convolutions and the Conv1D of GPT-2 are supported, and so
    are rank and alpha patterns, rsLoRA, biases and modules_to_save. Other kinds, such as DoRA, are an error.

    Values are computed in float64, and rounded once to the dtype of the base or that of --dtype. Everything that no
    adapter changes stays.

    A tensor of an adapter that belongs to no array of the base is an error, and so is an adapter of an array that is
    tied to another. An adapter may have a prefix in its names that the base lacks, or lack one; a line says so.

    \b
    Examples:
      paramctl merge base.safetensors --lora adapter/ -o merged.safetensors
      paramctl merge llama/ --lora style/ --lora facts/ --scale 0.5 -o merged/ --dtype bfloat16
    """
    (weights,) = combining.open_all((base,), output)
    merged = paramctl.merge(weights, lora, scale=scale, dtype=dtype, allow=allow)
    combining.write(merged, output, force, max_shard_size, quiet, lambda report: emit(rows(format, report, COLUMNS)))
