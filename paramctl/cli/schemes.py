"""paramctl schemes: the named initialization schemes, and their effect on a parameter."""

from __future__ import annotations

import click

import paramctl
from paramctl.cli import inputs, options
from paramctl.cli.command import Command
from paramctl.cli.render import ROW_FORMATS, Column, emit, numeric, rows

COLUMNS = [
    Column("scheme", "Scheme", lambda row: row.scheme),
    Column("also", "Aliases", lambda row: list(row.also), priority=2),
    Column("options", "Options", lambda row: list(row.options), priority=3),
    Column("formula", "Formula", lambda row: row.formula),
    Column("source", "Source", lambda row: row.source, priority=4),
]

EFFECT_COLUMNS = [
    Column("scheme", "Scheme", lambda row: row.scheme),
    Column("path", "Parameter", lambda row: row.path),
    Column("shape", "Shape", lambda row: row.shape, priority=2),
    numeric("fan_in", "Fan in", priority=2),
    numeric("fan_out", "Fan out", priority=2),
    Column("account", "Derivation of fans", lambda row: row.account, priority=3),
    Column("distribution", "Distribution", lambda row: row.distribution),
    numeric("mean", "Mean"),
    numeric("stddev", "Std"),
    numeric("low", "Min", priority=3),
    numeric("high", "Max", priority=3),
]


@click.command(cls=Command, short_help="List initialization schemes and their effect")
@click.argument("schemes", metavar="[SCHEME]...", nargs=-1, help="Schemes, optionally with options")
@click.option("--parameter", metavar="MODEL:PATH", help="Parameter, such as mlp.yaml:dense/kernel")
@options.fan_convention("true")
@options.define
@options.input_shape
@options.format_(*ROW_FORMATS)
def schemes(
    schemes: tuple[str, ...],
    parameter: str | None,
    fan_convention: str | None,
    define: tuple[str, ...],
    input_shape: tuple[str, ...],
    format: str,
) -> None:
    """List the named initialization schemes, or show the effect of some on a parameter.

    Names, options and defaults are those of Keras, or of torch where only torch has the scheme. A gain is a number or
    the name of the activation that follows: torch's gain where torch defines one, otherwise the gain that preserves
    the second moment.

    With --parameter, prints the fans and how they follow from the axes, the distribution, its mean and standard
    deviation, and its bounds.

    \b
    Examples:
      paramctl schemes
      paramctl schemes he_normal --parameter gpt2.yaml:block-0/mlp/expand/kernel
      paramctl schemes glorot lecun_normal:gain=gelu --parameter 'gpt2.yaml:block-0/**/kernel'
    """
    if parameter is None:
        emit(rows(format, paramctl.schemes(*schemes), COLUMNS))
        return
    if not schemes:
        raise click.UsageError("--parameter requires at least one SCHEME, such as he_normal")
    file, colon, address = parameter.rpartition(":")
    if not colon or not file or not address:
        raise click.UsageError(f"--parameter must be MODEL:PATH, such as mlp.yaml:dense/kernel (got {parameter!r})")
    target = (inputs.open_argument(file, define, input_shape), address)
    effects = paramctl.schemes(*schemes, parameter=target, fan_convention=fan_convention or "true")
    emit(rows(format, effects, EFFECT_COLUMNS))
