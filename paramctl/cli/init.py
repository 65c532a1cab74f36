"""paramctl init: values for a model's parameters, from named schemes, in a file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from paramctl.cli import inputs, options
from paramctl.cli.command import Command
from paramctl.cli.output import default_output, report_written, warm_up, write_file, write_pipe
from paramctl.cli.render import ROW_FORMATS, Column, emit, numeric, rows

if TYPE_CHECKING:
    from paramctl.init.rules import InitRequest
    from paramctl.model import Model

COLUMNS = [
    Column("path", "Parameter", lambda row: row.path),
    Column("shape", "Shape", lambda row: list(row.shape)),
    Column("dtype", "Dtype", lambda row: row.dtype),
    Column("scheme", "Scheme", lambda row: row.scheme),
    Column("why", "Chosen by", lambda row: row.reason),
    numeric("fan_in", "Fan in"),
    numeric("fan_out", "Fan out"),
    numeric("mean", "Mean"),
    numeric("stddev", "Std"),
    numeric("measured_mean", "Sample mean"),
    numeric("measured_stddev", "Sample std"),
]
PLANNED = COLUMNS[:9]
"""The columns of a dry run, which generates no values."""


def _preset_names() -> Iterable[str]:
    from paramctl.init.presets import PRESETS

    return PRESETS


@click.command(cls=Command, short_help="Initialize parameters by named schemes")
@options.model
@click.option("--scheme", metavar="SCHEME", help="Scheme of trainable weights that have fans")
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
@options.fan_convention("the preset's, or true")
@options.seed
@options.dtype
@options.output("File to write; '-' writes safetensors to standard output", default="NAME.h5")
@options.force
@click.option("--dry-run", is_flag=True, help="Print the report without writing")
@options.quiet("Print no report")
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

    The first that applies to a parameter is used: a --rule; --scheme, for trainable weights that have fans; the
    layer's own initializer; the document's initializers; --preset; the default of the layer type. Biases, norms and
    frozen parameters therefore keep their declared initializers unless a rule names them. A rule with wildcards skips
    parameters that its scheme does not fit, such as biases under glorot.

    SCHEME is NAME, NAME:option=value,..., a mapping as in a document, FILE.py:NAME for a custom function or class, or
    from:FILE[PATH] to copy values from a checkpoint. 'paramctl schemes' lists the names.

    Values depend only on the seed, the parameter's path and shape, and the scheme, so adding a layer never changes
    another layer's values. Given a checkpoint, parameters that no option names keep their values.

    The report has each parameter's scheme, the option or document entry that chose it, its fans, the mean and standard
    deviation of the scheme's distribution, and those of the generated values.

    \b
    Examples:
      paramctl init
      paramctl init mlp.yaml --scheme glorot -o mlp.h5
      paramctl init mlp.yaml --scheme normal:stddev=0.01 --seed 1 --force
      paramctl init rgnet.yaml --rule 'block2/**/kernel=glorot' --rule 'dense/kernel=constant:42' --dry-run
      paramctl init gpt2.yaml --preset torch --dtype bfloat16 -o gpt2.safetensors
      paramctl init weights.h5 --rule 'head/**=he_normal' -o new.h5
    """
    if output is not None and output != "-" and not dry_run:
        warm_up(output)
    from paramctl.init.rules import assign_schemes, resolve_seed
    from paramctl.inspect.plan import plan, shifts
    from paramctl.source.open import require_built

    opened = inputs.open_argument(model, define, input_shape)
    typed = require_built(opened.model).with_dtype(dtype)
    request = _request(opened.model, scheme, rules_, preset, fan_convention)
    schemes = assign_schemes(typed, request, stored=opened.checkpoint is not None)
    if dry_run:
        emit(rows(format, list(plan(typed, schemes, request.convention)), PLANNED))
        return
    from paramctl.inspect.measured import sums_about
    from paramctl.source.drawn import Drawn
    from paramctl.source.stored import Stored
    from paramctl.store.io.write_values import WriteOptions

    seed = resolve_seed(opened.model, seed)
    source = Drawn(typed, schemes, seed, Stored(opened.checkpoint, dtype) if opened.checkpoint else None)
    if output == "-":
        write_pipe(source)
        return
    path = output or default_output(opened.model)
    # only the report needs measurements, and they take time
    measure = None if quiet else sums_about(shifts(typed, schemes))
    measured = write_file(source, path, WriteOptions(force, measure=measure))
    if not quiet:
        moments = {name: sums.mean_and_stddev for name, sums in measured.items()}
        emit(rows(format, list(plan(typed, schemes, request.convention, moments.get)), COLUMNS))
    report_written(source, path, f", seed {seed}")


def _request(
    model: Model, scheme: str | None, rules: tuple[str, ...], preset: str | None, convention: str | None
) -> InitRequest:
    """Return the requested initialization. Raises UsageError for a malformed rule."""
    from paramctl.init.presets import PRESETS
    from paramctl.init.rules import InitRequest

    return InitRequest(
        tuple(map(_rule, rules)),
        _scheme(scheme, "--scheme") if scheme else None,
        preset or "",
        PRESETS[preset].schemes(model) if preset else {},
        convention or (PRESETS[preset].convention if preset else "true"),
    )


def _rule(text: str) -> Any:
    """Return the rule in ``PATTERN=SCHEME``; the scheme ``keep`` becomes None."""
    from paramctl.init.rules import Rule

    pattern, equals, scheme = (part.strip() for part in text.partition("="))
    if not equals or not pattern or not scheme:
        raise click.UsageError(f"--rule must be PATTERN=SCHEME (got {text!r})")
    return Rule(pattern, None if scheme == "keep" else _scheme(scheme, f"--rule {pattern}"))


def _scheme(text: str, option: str) -> Any:
    from paramctl.source.from_checkpoint import parse_scheme

    return parse_scheme(text, option)
