"""paramctl init: values for a model's parameters, from named schemes, in a file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

import paramctl
from paramctl.cli import inputs, options
from paramctl.cli.command import Command
from paramctl.cli.output import default_output, hold_source, note_ties, report_written, warm_up, write_file, write_pipe
from paramctl.cli.render import ROW_FORMATS, Column, emit, numeric, rows, tell

if TYPE_CHECKING:
    from paramctl.init.rules import Scheme

COLUMNS = [
    Column("path", "Parameter", lambda row: row.path),
    Column("shape", "Shape", lambda row: row.shape),
    Column("dtype", "Dtype", lambda row: row.dtype, priority=2),
    Column("scheme", "Scheme", lambda row: row.scheme, priority=0),
    Column("reason", "Chosen by", lambda row: row.reason),
    numeric("fan_in", "Fan in", priority=3),
    numeric("fan_out", "Fan out", priority=3),
    numeric("mean", "Mean", priority=2),
    numeric("stddev", "Std", priority=2),
    numeric("measured_mean", "Sample mean", priority=2),
    numeric("measured_stddev", "Sample std", priority=2),
]
EXACTLY = Column("exactly", "Exactly", lambda row: row.exactly, priority=1)
PLANNED = COLUMNS[:9]
"""The columns of a dry run, which generates no values."""


def _preset_names() -> Iterable[str]:
    from paramctl.init.presets import PRESETS

    return PRESETS


def _frameworks() -> Iterable[str]:
    from paramctl.conversion.exact.registry import FRAMEWORKS

    return FRAMEWORKS


@click.command(cls=Command, short_help="Initialize parameters by named schemes")
@options.model
@options.patterns
@click.option("--scheme", metavar="SCHEME", help="Scheme of matching parameters, or of trainable weights with fans")
@options.input_("For --scheme lsuv: values of an input, as in 'paramctl run'")
@click.option(
    "--rule",
    "rules_",
    metavar="PATTERN=SCHEME",
    multiple=True,
    help="Scheme of matching parameters, or 'keep'; the first match wins; repeatable",
)
@click.option(
    "--preset",
    type=options.LazyChoice(_preset_names),
    help="Schemes of a framework or model family, where nothing else applies",
)
@click.option(
    "--exactly",
    type=options.LazyChoice(_frameworks),
    metavar="FRAMEWORK",
    help="A framework's own initial values, bit for bit: torch, keras:jax and others",
)
@click.option(
    "--order",
    metavar="ITEM",
    multiple=True,
    help="For --exactly: the next layers that are constructed, or rand(SIZES); repeatable",
)
@click.option(
    "--allow",
    type=click.Choice(("close",)),
    multiple=True,
    help="For --exactly: allow values that differ in their last bits",
)
@options.fan_convention("the preset's, or true")
@options.seed
@options.dtype
@options.layout("Layout of a checkpoint, or of an exact file", "that of --like")
@click.option("--like", metavar="MODEL", help="Model whose layers the arrays of a checkpoint belong to")
@options.output("File to write; '-' is a safetensors stream", default="MODEL.h5, by the model's name")
@options.force
@click.option("--report", is_flag=True, help="Print a row for each parameter: scheme, reason, fans, mean, std")
@click.option("--dry-run", is_flag=True, help="Print the report without writing")
@options.quiet("Print no report and no notes")
@options.define
@options.input_shape
@options.format_(*ROW_FORMATS)
def init(
    model: str | None,
    patterns: tuple[str, ...],
    scheme: str | None,
    input_: tuple[str, ...],
    rules_: tuple[str, ...],
    preset: str | None,
    exactly: str | None,
    order: tuple[str, ...],
    allow: tuple[str, ...],
    fan_convention: str | None,
    seed: int | None,
    dtype: str | None,
    layout: str | None,
    like: str | None,
    output: str | None,
    force: bool,
    report: bool,
    dry_run: bool,
    quiet: bool,
    define: tuple[str, ...],
    input_shape: tuple[str, ...],
    format: str,
) -> None:
    """Initialize a model's parameters by named schemes, and write them to a file.

    The first that applies to a parameter is used: a --rule; --scheme, for trainable weights that have fans; the
    layer's own initializer; the document's initializers; --preset; the default of the layer type. Biases, norms and
    frozen parameters therefore keep their declared initializers unless a rule names them. A rule that
    matches several parameters skips those that its scheme does not fit, such as biases under glorot.

    With patterns, --scheme is for the parameters that they match, as by a --rule.

    A checkpoint of another framework does not record which axes are inputs, which schemes with fans require. --like
    takes the roles of the axes from a model, by names and shapes, in its own layout or that of torch.nn. --layout torch
    alone gives arrays called weight the fans that torch.nn.init computes from their shape.

    SCHEME is NAME, NAME:option=value,..., a mapping as in a document, FILE.py:NAME for a custom function or class, or
    from:FILE[PATH] to copy values from a checkpoint. 'paramctl schemes' lists the names.

    --scheme lsuv draws orthogonal weights and divides them, layer by layer, by the standard deviation of the layer's
    outputs before its activation, for the first 128 examples of --input. An LSTM's outputs are measured themselves. If
    they do not reach the variance 1, the weights stay orthogonal, and a note says so.

    Values depend only on the seed, the parameter's path and shape, and the scheme, so adding a layer never changes
    another layer's values. Given a checkpoint, parameters that no option names keep their values. Without -o, the file
    is MODEL.h5 in the current folder, where MODEL is the model's name.

    A line on standard error says what was written. --report prints a table with each parameter's scheme, the option or
    document entry that chose it, its fans, the mean and standard deviation of the scheme's distribution, and those of
    the generated values. --format prints it in another format, and --dry-run without writing.

    \b
    Examples:
      paramctl init
      paramctl init mlp.yaml --scheme glorot -o mlp.h5
      paramctl init mlp.yaml --scheme normal:stddev=0.01 --seed 1 --force
      paramctl init rgnet.yaml --rule 'block2/**/kernel=glorot' --rule 'dense/kernel=constant:42' --dry-run
      paramctl init gpt2.yaml --preset torch --dtype bfloat16 -o gpt2.safetensors
      paramctl init model.safetensors 'fc.*' --scheme kaiming_uniform --layout torch -o new.safetensors
      paramctl init weights.h5 --rule 'head/kernel=he_normal' --rule 'head/bias=zeros' -o new.h5
    """
    if output is not None and output != "-" and not dry_run:
        warm_up(output)
        hold_source(model, output)
    weights = paramctl.initialize(
        inputs.open_argument(model, define, input_shape),
        patterns=patterns,
        scheme=scheme if scheme == "lsuv" else _scheme(scheme, "--scheme"),
        rules=[*map(_rule, rules_)],
        preset=preset,
        fan_convention=fan_convention,
        seed=seed,
        dtype=dtype,
        layout=layout,
        like=inputs.open_argument(like) if like is not None else None,
        inputs=inputs.input_files(input_),
        exactly=exactly,
        order=order,
        allow=allow,
    )
    more = [EXACTLY] if exactly is not None else []
    if dry_run:
        emit(rows(format, weights.report, [*PLANNED, *more]))
        for note in weights.notes if not quiet else ():
            tell(f"note: {note}")
    elif output == "-":
        write_pipe(weights)
    else:
        path = output or default_output(weights.model)
        reports = not quiet and (report or _is_format_typed())
        plan = write_file(weights, path, force=force, measure=reports)
        if reports:
            emit(rows(format, plan, [*COLUMNS, *more]))
        if not quiet:
            if weights.model.ties:
                note_ties(weights.model, {row.path for row in weights.report if row.reason.startswith("--rule")})
            report_written(weights, path, f", seed {weights.seed}")


def _is_format_typed() -> bool:
    """Return whether an option or the environment sets the format, which asks for the report."""
    source = click.get_current_context().get_parameter_source("format")
    return source not in (None, click.core.ParameterSource.DEFAULT)


def _rule(text: str) -> tuple[str, Scheme | None]:
    """Return the rule in ``PATTERN=SCHEME``; the scheme ``keep`` becomes None."""
    from paramctl.address.quoting import partition_address

    pattern, equals, scheme = (part.strip() for part in partition_address(text))
    if not equals or not pattern or not scheme:
        raise click.UsageError(f"--rule must be PATTERN=SCHEME (got {text!r})")
    return pattern, _scheme(None if scheme == "keep" else scheme, f"--rule {pattern}")


def _scheme(text: str | None, option: str) -> Scheme | None:
    """Return a scheme that errors place at the option."""
    from paramctl.source.from_checkpoint import parse_scheme

    return parse_scheme(text, option) if text else None
