"""paramctl train: train a model on examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from math import isfinite
from typing import TYPE_CHECKING, Any

import click

import paramctl
from paramctl.cli import inputs, options, progress
from paramctl.cli.command import Command
from paramctl.cli.output import report_written, warm_up
from paramctl.cli.render import emit, fit_names, tell
from paramctl.cli.signals import Terminated
from paramctl.core.text import csv_field, printable

if TYPE_CHECKING:
    from paramctl.compute.train import StepReport

FORMATS = ("table", "jsonl", "csv")
HEADING = f"{'Step':>7}  {'Loss':>12}"
CSV_HEADING = "step,loss,parameter,norm,gradient_norm,update_ratio"
WATCHED = f"  {'Weight norm':>12}  {'Gradient norm':>13}  {'Update ratio':>12}  Parameter"


def losses() -> Iterable[str]:
    from paramctl.compute.losses import LOSSES

    return (name for name, loss in LOSSES.items() if loss.has_targets)


@click.command(cls=Command, short_help="Train a model on examples")
@options.model
@options.data(required=True)
@click.option("--loss", type=options.LazyChoice(losses), default="mse", show_default=True, help="Loss to minimize")
@click.option(
    "--optimizer",
    metavar="NAME[:OPTION=VALUE,...]",
    default="sgd",
    show_default=True,
    help="sgd, momentum, nesterov, adagrad, rmsprop, adam or adamw",
)
@click.option(
    "--learning-rate",
    type=click.FloatRange(0, min_open=True),
    metavar="RATE",
    show_default="0.001 for rmsprop, adam and adamw, else 0.01",
    help="Factor of each step",
)
@options.batch_size("Examples of a step")
@click.option("--epochs", type=click.IntRange(1), show_default="1", metavar="N", help="Passes over the examples")
@click.option("--steps", type=click.IntRange(1), metavar="N", help="Number of steps instead of epochs")
@options.weights("Checkpoint with the values to begin with")
@click.option("--watch", metavar="PATTERN", multiple=True, help="Report on these parameters in each step; repeatable")
@click.option(
    "--split-ties", is_flag=True, help="Also the gradient norm of each use of a watched parameter with several"
)
@options.output("File to write the trained values to; FILE.state.npz beside it is for --resume")
@click.option(
    "--save-every", type=click.IntRange(1), default=1000, show_default=True, metavar="N", help="Steps between writes"
)
@click.option("--resume", is_flag=True, help="Go on from the last write")
@options.force
@options.compute_dtype
@options.seed
@options.define
@options.input_shape
@options.quiet("Print no steps")
@options.format_(*FORMATS)
def train(
    model: str | None,
    data: str,
    loss: str,
    optimizer: str,
    learning_rate: float | None,
    batch_size: int,
    epochs: int | None,
    steps: int | None,
    weights: str | None,
    watch: tuple[str, ...],
    split_ties: bool,
    output: str | None,
    save_every: int,
    resume: bool,
    force: bool,
    dtype: str,
    seed: int | None,
    define: tuple[str, ...],
    input_shape: tuple[str, ...],
    quiet: bool,
    format: str,
) -> None:
    """Train a model on examples: small and exact, for teaching and for checks.

    Prints each step's loss. --watch adds, for each parameter that it matches, the norm of the values, that of the
    gradient, and the update ratio: the norm of the change over that of the values. Frozen parameters keep their values.
    A parameter that is used several times takes one step along the sum of its uses' gradients, whose norms --split-ties
    shows.

    The data are those of 'paramctl grad', whose help says which outputs are probabilities. The model must have one
    output. The examples are shuffled in each epoch, in windows of 256 MB, so that any number of them fits in memory.
    Values, order and dropout depend on --seed alone.

    -o is written every --save-every steps and at the end, each time atomically, so Ctrl-C leaves the last complete
    file. With --resume, the same command goes on from there, and gives the same values as without the stop, bit for
    bit.

    Training requires autograd: pip install 'paramctl[grad]'.

    \b
    Examples:
      paramctl train tied_mlp.yaml --data xy.npz --steps 5 --watch shared --split-ties
      paramctl train lenet.yaml --data digits.npz --loss cross_entropy --optimizer adam -o lenet.h5
      paramctl train lenet.yaml --data digits.npz --epochs 3 -o lenet.h5 --resume
    """
    if epochs is not None and steps is not None:
        raise click.UsageError("--epochs and --steps exclude each other")
    if output is not None:
        warm_up(output)
    opened = inputs.open_argument(model, define, input_shape)
    values = inputs.open_argument(weights) if weights is not None else None
    lines: Callable[[StepReport], Iterable[str]] = {"table": _table, "jsonl": _jsonl, "csv": _csv}[format]
    heading = {"table": [HEADING + WATCHED * bool(watch)], "jsonl": [], "csv": [CSV_HEADING]}[format]

    def show(report: StepReport) -> None:
        if quiet:
            return
        if not split_ties:
            report = report._replace(watched=[each._replace(shares={}) for each in report.watched])
        emit([*heading, *lines(report)])
        heading.clear()  # it comes with the first step, so that a refusal prints nothing

    with _naming_last_write(output), progress.bar("training", "steps") as advance:
        trained = paramctl.train(
            opened,
            data,
            loss=loss,
            optimizer=optimizer,
            learning_rate=learning_rate,
            batch_size=batch_size,
            epochs=epochs,
            steps=steps,
            weights=values,
            watch=watch,
            output=output,
            save_every=save_every,
            resume=resume,
            force=force,
            seed=seed,
            dtype=dtype,
            on_step=show,
            progress=advance,
        )
    if not quiet:
        emit(heading)  # no step was left
    if output is not None:
        report_written(trained, output)


@contextmanager
def _naming_last_write(output: str | None) -> Iterator[None]:
    """If a signal ends the block, write to standard error which step the files have."""
    try:
        yield
    except (Terminated, KeyboardInterrupt):
        from paramctl.library.training_state import read_step

        step = read_step(output) if output is not None else None
        if step is not None:
            tell(f"{output} has the values after step {step:,}. To go on from there, use --resume")
        raise


def _table(report: StepReport) -> Iterable[str]:
    start = f"{report.step:>7}  {report.loss:>12.6g}"
    if not report.watched:
        yield start
    names = fit_names([each.path for each in report.watched], len(HEADING + WATCHED) - len("Parameter"))
    for watched, path in zip(report.watched, names, strict=True):
        ratio = "" if watched.update_ratio is None else f"{watched.update_ratio:.4g}"
        yield f"{start}  {watched.norm:>12.6g}  {watched.gradient_norm:>13.6g}  {ratio:>12}  {path}"
        start = " " * len(start)
        for name, norm in watched.shares.items():
            yield f"{start}  {'':>12}  {norm:>13.6g}  {'':>12}  {printable(name)}"


def _jsonl(report: StepReport) -> Iterable[str]:
    import json  # not at the top, for other commands import this module too

    parameters = {
        watched.path: {
            "norm": _finite(watched.norm),
            "gradient_norm": _finite(watched.gradient_norm),
            "update_ratio": _finite(watched.update_ratio),
        }
        | ({"uses": {name: _finite(norm) for name, norm in watched.shares.items()}} if watched.shares else {})
        for watched in report.watched
    }
    facts: dict[str, Any] = {"step": report.step, "loss": report.loss}
    yield json.dumps(facts | ({"parameters": parameters} if parameters else {}), allow_nan=False)


def _finite(value: float | None) -> float | None:
    """Return a number, or None for one that JSON does not have."""
    return value if value is not None and isfinite(value) else None


def _csv(report: StepReport) -> Iterable[str]:
    if not report.watched:
        yield f"{report.step},{report.loss!r},,,,"
    for watched in report.watched:
        ratio = "" if watched.update_ratio is None else repr(watched.update_ratio)
        norms = f"{watched.norm!r},{watched.gradient_norm!r},{ratio}"
        yield f"{report.step},{report.loss!r},{csv_field(watched.path)},{norms}"
        for name, norm in watched.shares.items():
            yield f"{report.step},{report.loss!r},{csv_field(name)},,{norm!r},"
