"""paramctl schemes: the named schemes of initialization, and what they would do to a parameter."""

from __future__ import annotations

from typing import Any

import click

from paramctl.cli import options
from paramctl.cli.command import Command
from paramctl.cli.render import ROW_FORMATS, Column, emit, numeric, rows

COLUMNS = [
    Column("scheme", "Scheme", lambda row: row.scheme),
    Column("also", "Also", lambda row: list(row.also)),
    Column("options", "Options", lambda row: list(row.options)),
    Column("formula", "Formula", lambda row: row.formula),
    Column("source", "Source", lambda row: row.source),
]


EFFECT_COLUMNS = [
    Column("scheme", "Scheme", lambda row: row.scheme),
    Column("path", "Parameter", lambda row: row.path),
    Column("shape", "Shape", lambda row: list(row.shape)),
    numeric("fan_in", "Fan in"),
    numeric("fan_out", "Fan out"),
    Column("account", "Why these fans", lambda row: row.account),
    Column("law", "Law", lambda row: row.distribution),
    numeric("mean", "Mean"),
    numeric("stddev", "Stddev"),
    numeric("low", "Low"),
    numeric("high", "High"),
]


def _complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    from paramctl.init.registry import SCHEMES

    return [name for name in SCHEMES if name.startswith(incomplete)]


@click.command(cls=Command)
@click.argument(
    "schemes", metavar="[SCHEME]...", nargs=-1, help="Which schemes, perhaps with options.", shell_complete=_complete
)
@click.option(
    "--parameter",
    metavar="MODEL:PATH",
    help="Say what the schemes would do to this parameter, or to those that a pattern matches.",
)
@options.fan_convention("[default: true]")
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
    """List the named schemes of initialization, or say what some would do to a parameter.

    Names, options and defaults are Keras'; where only torch has a name, torch's. A gain is a number or the
    name of the activation that follows: torch's gain where torch has one, else that which keeps the second moment.

    With --parameter: the fans and how they come about, the law, its mean and standard deviation, and its bounds.

    \b
    paramctl schemes
    paramctl schemes he_normal --parameter gpt2.yaml:block-0/mlp/expand/kernel
    paramctl schemes glorot lecun_normal:gain=gelu --parameter 'gpt2.yaml:block-0/**/kernel'
    """
    if parameter is None:
        from paramctl.inspect.schemes import scheme_rows as all_schemes

        emit(rows(format, all_schemes(schemes), COLUMNS))
        return
    if not schemes:
        raise click.UsageError("--parameter needs a scheme: what should it say of the parameter?")
    emit(rows(format, _effects(schemes, parameter, fan_convention or "true", define, input_shape), EFFECT_COLUMNS))


def _effects(
    names: tuple[str, ...], parameter: str, convention: str, define: tuple[str, ...], input_shape: tuple[str, ...]
) -> list[Any]:
    from paramctl.address.resolve import resolve
    from paramctl.errors import AddressError
    from paramctl.init.registry import SchemeMismatch
    from paramctl.inspect.schemes import effect_row
    from paramctl.source.base import parse_scheme

    path, colon, address = parameter.rpartition(":")
    if not colon or not path or not address:
        raise click.UsageError(f"--parameter is followed by MODEL:PATH (got {parameter!r})")
    model = options.require_built(options.open_argument(path, define, input_shape).model)
    meant = resolve(model, address)
    found = [model.parameters[path] for path in meant.paths]
    effects = []
    for name in names:
        assigned = parse_scheme(name, "SCHEME")
        for each in found:
            try:
                effects.append(effect_row(assigned, each, convention))
            except SchemeMismatch as unfit:
                if len(found) == 1:
                    raise AddressError(f"{assigned.text} for {each.path}: {unfit}", str(each.shape)) from None
    if not effects:
        raise AddressError("none of these schemes fits any of these parameters", repr(address))
    return effects
