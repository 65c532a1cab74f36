"""paramctl probe: activations and gradients through the layers of a model."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from math import isfinite, log10
from typing import TYPE_CHECKING, Any

import click

import paramctl
from paramctl.cli import inputs, options
from paramctl.cli.command import Command
from paramctl.cli.pictures import check_picture, new_figure, write_picture
from paramctl.cli.render import ROW_FORMATS, Column, emit, json_value, numeric, rows, tell

if TYPE_CHECKING:
    from paramctl.compute.probe import Probe

WIDTH = 12
"""The width of a bar: two characters for a decade, with 1 in the middle."""


def _bar(value: float | None) -> str:
    """Return a bar from the middle, which is 1, to the power of ten of a value."""
    if value is None or not value or not isfinite(value):
        return ""
    middle = WIDTH // 2
    length = max(-middle, min(middle, round(2 * log10(value))))
    return " " * middle + "|" + "=" * length if length >= 0 else (" " * (middle + length) + "=" * -length + "|")


def _share(name: str) -> Any:
    return lambda row: "" if getattr(row, name) is None else f"{getattr(row, name):.1%}"


LAYERS = [
    Column("path", "Layer", lambda row: row.path),
    Column("type", "Type", lambda row: row.type),
    numeric("mean", "Mean", priority=2),
    numeric("stddev", "Std"),
    numeric("rms", "RMS"),
    Column("dead", "Dead", lambda row: row.dead, _share("dead"), right=True),
    Column("saturated", "Saturated", lambda row: row.saturated, _share("saturated"), right=True),
    numeric("gradient", "Gradient RMS"),
]
BARS = [
    Column("forward_bar", "RMS, 1 at |", lambda row: row.rms, lambda row: _bar(row.rms), priority=3),
    Column("gradient_bar", "Gradient RMS", lambda row: row.gradient, lambda row: _bar(row.gradient), priority=3),
]
PARAMETERS = [
    Column("path", "Parameter", lambda row: row.path),
    Column("shape", "Shape", lambda row: list(row.shape), lambda row: str(row.shape)),
    numeric("norm", "Weight norm"),
    numeric("gradient_norm", "Gradient norm"),
    numeric("ratio", "Ratio"),
]
SCHEMES = [
    Column("scheme", "Scheme", lambda row: row.scheme),
    numeric("forward", "Forward"),
    numeric("backward", "Backward"),
    Column("dead", "Dead", lambda row: row.dead, _share("dead"), right=True),
    Column("saturated", "Saturated", lambda row: row.saturated, _share("saturated"), right=True),
    Column(
        "findings",
        "Findings",
        lambda row: row.findings,
        lambda row: "; ".join(row.findings) or "signals pass",
        priority=0,
    ),
]


@click.command(cls=Command, short_help="Show how activations and gradients spread")
@options.model
@click.option("--scheme", metavar="SCHEME", show_default="the model's own", help="Scheme for the trainable weights")
@click.option("--compare", metavar="SCHEME,...", help="Schemes to show side by side, such as glorot,he,orthogonal")
@options.weights("Checkpoint with the parameters")
@options.input_("Values of an input, as in 'paramctl run'")
@options.rows("--input", default=128)
@click.option("--parameters", is_flag=True, help="List parameters and their gradients instead of layers")
@options.plot
@options.force
@options.compute_dtype
@options.seed
@options.define
@options.input_shape
@options.format_(*ROW_FORMATS)
def probe(
    model: str | None,
    scheme: str | None,
    compare: str | None,
    weights: str | None,
    input_: tuple[str, ...],
    count: int,
    parameters: bool,
    plot: str | None,
    force: bool,
    dtype: str,
    seed: int | None,
    define: tuple[str, ...],
    input_shape: tuple[str, ...],
    format: str,
) -> None:
    """Show how activations and gradients spread through the layers, and where they vanish or explode.

    For each layer: the mean, standard deviation and root mean square (RMS) of its output, the share of units that are 0
    for every example (dead), the share of values near an end of the function's range (saturated), and the RMS of the
    gradient with respect to the output. The gradient at the model's output is standard normal. --parameters lists the
    norms of each parameter and its gradient instead.

    Lines on standard error say where signals become 100 times smaller or larger, and where over half of the units are
    dead or the values saturated. For a model document, they also name the best of the schemes glorot_uniform,
    he_normal, lecun_normal and orthogonal, if it does better. --compare shows schemes side by side: the factors by
    which the RMS changes from input to output (forward) and back (backward).

    Gradients require autograd: pip install 'paramctl[grad]'. Without it, their columns are empty.

    \b
    Examples:
      paramctl probe mlp.yaml
      paramctl probe mlp.yaml --scheme normal:stddev=0.01
      paramctl probe lenet.yaml --compare glorot,he,lecun,orthogonal
      paramctl probe lenet.yaml --weights lenet.h5 --input x.npy --parameters
    """
    if compare is not None and (scheme is not None or parameters or weights is not None):
        raise click.UsageError("--compare excludes --scheme, --weights and --parameters")
    names = _scheme_names(compare) if compare is not None else []
    for option, name in [("--scheme", scheme)] if compare is None else [("--compare", name) for name in names]:
        _check_scheme(option, name)
    check_picture(plot, force)
    opened = inputs.open_argument(model, define, input_shape)
    values = inputs.open_argument(weights) if weights is not None else None
    probes = paramctl.probe(
        opened,
        inputs.input_files(input_),
        scheme=scheme,
        compare=names,
        weights=values,
        rows=count,
        seed=seed,
        dtype=dtype,
    )
    if plot is not None:
        _plot(probes, plot, force)
    if compare is not None:
        emit(rows(format, probes, SCHEMES))
    elif format == "json":
        emit([json_value(asdict(probes[0]), indent=2)])
    else:
        emit(_rows(format, probes[0], parameters))
    for line in _verdict(probes, compare is not None):
        tell(line)


def _scheme_names(text: str) -> list[str]:
    """Return the schemes in a list with commas, some of which separate options: ``normal:mean=0,stddev=1,he``."""
    parts = re.split(r",(?![^\[{(]*[\]})])", text)
    names: list[str] = []
    for part in map(str.strip, parts):
        if names and ":" in names[-1] and re.match(r"\w+=", part):
            names[-1] += f",{part}"
        else:
            names.append(part)
    if not all(names):
        raise click.UsageError(f"--compare must be schemes with commas between them (got {text!r})")
    return names


def _check_scheme(option: str, name: str | None) -> None:
    """Raise DocumentError at an option, before anything is computed, for a scheme that is unknown."""
    from paramctl.init.rules import LSUV
    from paramctl.source.from_checkpoint import parse_scheme

    if name is not None and name != LSUV:
        parse_scheme(name, option)


def _rows(format: str, probed: Probe, parameters: bool) -> Iterator[str]:
    if parameters:
        return rows(format, probed.parameters, PARAMETERS)
    return rows(format, probed.layers, LAYERS + BARS if format == "table" else LAYERS)


def _verdict(probes: Sequence[Probe], compared: bool) -> Iterator[str]:
    """Yield the findings, and the scheme that does better."""
    if find_spec("autograd") is None:
        yield "gradients are not computed: they require autograd, pip install 'paramctl[grad]'"
    if compared:
        best = min(probes, key=lambda each: each.cost)
        if len(probes) > 1 and isfinite(best.cost):
            yield f"signals change least with {best.scheme}"
        return
    yield from probes[0].findings or ["signals pass: they change less than 100 times, forward and back"]
    for better in probes[1:]:
        back = "" if better.backward is None else f", gradients {better.backward:.3g} times"
        yield f"better with --scheme {better.scheme}: activations change {better.forward:.3g} times{back}"


def _plot(probes: Sequence[Probe], path: str, force: bool) -> None:
    """Write a picture of the root mean squares over the layers."""
    figure = new_figure(8, 6)
    above, below = figure.subplots(2, 1, sharex=True)
    for each in probes:
        label = each.scheme or "own values"
        above.plot([layer.rms for layer in each.layers], marker=".", label=label)
        below.plot([layer.gradient or float("nan") for layer in each.layers], marker=".", label=label)
    for axes, title in ((above, "RMS of activations"), (below, "RMS of gradients")):
        axes.set(yscale="log", ylabel=title)
        axes.legend()
    below.set_xlabel("layer")
    write_picture(figure, path, force)
