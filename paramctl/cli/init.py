"""paramctl init: values for a model's parameters, by named schemes, into a file."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from paramctl.cli import options, progress
from paramctl.cli.command import Command
from paramctl.cli.render import ROW_FORMATS, Column, emit, numeric, rows

if TYPE_CHECKING:
    from paramctl.init.rules import InitRequest
    from paramctl.model import Model
    from paramctl.saving import Moments
    from paramctl.source.base import Source

PRESETS = ("keras", "torch", "flax", "gpt2")


COLUMNS = [
    Column("path", "Parameter", lambda row: row.path),
    Column("shape", "Shape", lambda row: list(row.shape)),
    Column("dtype", "Dtype", lambda row: row.dtype),
    Column("scheme", "Scheme", lambda row: row.scheme),
    Column("why", "Why", lambda row: row.reason),
    numeric("fan_in", "Fan in"),
    numeric("fan_out", "Fan out"),
    numeric("mean", "Mean"),
    numeric("stddev", "Stddev"),
    numeric("measured_mean", "Measured mean"),
    numeric("measured_stddev", "Measured stddev"),
]


@click.command(cls=Command)
@options.model
@click.option(
    "--scheme",
    metavar="SCHEME",
    help="For every trainable weight that has fans: NAME, NAME:option=value,..., or as a document has it; FILE.py:NAME"
    " is a function or class of one's own, from:FILE[PATH] copies.",
)
@click.option(
    "--rule",
    "rules_",
    metavar="PATTERN=SCHEME",
    multiple=True,
    help="For what matches, of any kind; 'keep' leaves it as it is. May be repeated: the first that matches counts.",
)
@click.option(
    "--preset",
    type=click.Choice(PRESETS),
    help="What the framework, or the family of models, gives what nothing else names.",
)
@options.fan_convention("[default: the preset's, else true]")
@options.seed
@options.dtype
@options.output("Where to write; '-' streams safetensors to standard output. [default: NAME.h5]")
@options.force
@click.option("--dry-run", is_flag=True, help="Print what would be done, and write nothing.")
@click.option("-q", "--quiet", is_flag=True, help="Print no report.")
@options.define
@options.input_shape
@options.format_(*ROW_FORMATS)
def init(
    model: str | None,
    scheme: str | None,
    rules_: tuple[str, ...],
    preset: str | None,
    fan_convention: str | None,
    seed: int | None,
    dtype: str | None,
    output: str | None,
    force: bool,
    dry_run: bool,
    quiet: bool,
    define: tuple[str, ...],
    input_shape: tuple[str, ...],
    format: str,
) -> None:
    """Initialize a model's parameters by named schemes, and write them to a file.

    The first that applies to a parameter: a --rule; --scheme, for trainable weights that have fans; its layer's
    own initializer; the document's initializers; a --preset; its type's default. So biases, norms and
    what is frozen keep what they declare unless a rule names them. A rule whose pattern has wildcards passes over
    what its scheme does not fit, such as biases under glorot.

    Values depend on the seed, the path, the shape and the scheme alone: another layer more changes no
    other's. A checkpoint in the place of MODEL keeps what neither --rule, --scheme nor --preset names.

    The report says for each parameter its scheme and why, its fans, the mean and standard deviation of its law, and
    those measured in the values. paramctl schemes lists the schemes.

    \b
    paramctl init
    paramctl init mlp.yaml --scheme glorot -o mlp.h5
    paramctl init mlp.yaml --scheme normal:stddev=0.01 --seed 1 --force
    paramctl init rgnet.yaml --rule 'block2/**/kernel=glorot' --rule 'dense/kernel=constant:42' --dry-run
    paramctl init gpt2.yaml --preset torch --dtype bfloat16 -o gpt2.safetensors
    paramctl init weights.h5 --rule 'head/**=he_normal' -o new.h5
    """
    if output is not None and output != "-" and not dry_run:
        options.warm_up(output)
    from paramctl.init.rules import assign_schemes
    from paramctl.inspect.plan import plan

    found = options.open_argument(model, define, input_shape)
    typed = options.require_built(found.model).with_dtype(dtype)
    wishes = _wishes(found.model, scheme, rules_, preset, fan_convention)
    chosen = assign_schemes(typed, wishes, stored=found.checkpoint is not None)
    if dry_run:
        emit(rows(format, list(plan(typed, chosen, wishes.convention)), COLUMNS[:9]))
        return
    from paramctl.source.base import Source

    seed = seed if seed is not None else found.model.seed or 0
    source = Source(typed, chosen, seed, found.checkpoint)
    if output == "-":
        options.refuse_terminal("safetensors")
        to_pipe(source)
        return
    path = output or options.default_output(found.model)
    moments = to_file(source, path, force, measured=not quiet)
    if not quiet:
        emit(rows(format, list(plan(source.model, chosen, wishes.convention, moments.of)), COLUMNS))
    tell(source, path, f", seed {seed}")


def _wishes(
    model: Model, scheme: str | None, rules: tuple[str, ...], preset: str | None, convention: str | None
) -> InitRequest:
    from paramctl.init.presets import CONVENTION, PRESETS
    from paramctl.init.rules import InitRequest, Rule

    made = []
    for text in rules:
        pattern, equals, gives = text.partition("=")
        if not equals or not pattern.strip() or not gives.strip():
            raise click.UsageError(f"--rule is followed by PATTERN=SCHEME (got {text!r})")
        gives = gives.strip()
        made.append(Rule(pattern.strip(), None if gives == "keep" else _scheme(gives, f"--rule {pattern}")))
    return InitRequest(
        tuple(made),
        _scheme(scheme, "--scheme") if scheme else None,
        preset or "",
        PRESETS[preset](model) if preset else {},
        convention or CONVENTION.get(preset or "", "true"),
    )


def _scheme(text: str, option: str) -> Any:
    from paramctl.source.base import parse_scheme

    return parse_scheme(text, option)


def to_file(source: Source, path: str, force: bool, measured: bool = False, most: int | None = None) -> Moments:
    """Write a source to a file, with a progress bar; what was measured."""
    from paramctl.inspect.plan import shifts
    from paramctl.saving import Moments, save_as

    about = shifts(source.model, source.chosen)
    moments = Moments(about)
    total = sum(parameter.bytes for parameter in source.model.owners())
    pieces = save_as(source, path, force, most, about if measured else None)
    for piece in progress.shown(pieces, total, lambda piece: piece.bytes, f"writing {path}"):
        moments.add(piece)
    return moments


def to_pipe(source: Source) -> None:
    """Write a source to standard output, as safetensors."""
    from paramctl.saving import stream

    total = sum(parameter.bytes for parameter in source.model.owners())
    for data in progress.shown(stream(source), total, len, "writing"):
        sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def tell(source: Source, path: str, more: str = "", copied: bool = False) -> None:
    """What was done, in one line on standard error, and in another what did not go along; copied: all of the file."""
    from paramctl.model import totals
    from paramctl.saving import not_copied

    owners = list(source.model.owners())
    count = "1 array" if len(owners) == 1 else f"{len(owners):,} arrays"
    click.echo(f"wrote {path}: {count}, {totals(owners).parameters:,} values{more}", err=True)
    for lost in [] if copied else not_copied(source, path):
        click.echo(f"{path} is without what the source holds beside: {lost}", err=True)
