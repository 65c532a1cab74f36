"""train: steps of an optimizer on examples."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import inf
from os import PathLike, fspath
from os.path import dirname, lexists, realpath
from typing import TYPE_CHECKING, Any

import numpy as np

from paramctl.address.resolve import resolve_whole
from paramctl.compute.data import check_examples
from paramctl.compute.losses import LOSSES
from paramctl.compute.optimizers import parse_optimizer
from paramctl.compute.run import BATCH_SIZE, check_computable
from paramctl.compute.shuffle import Shuffled
from paramctl.compute.values import Values
from paramctl.errors import AddressError, OutputError
from paramctl.init.rules import resolve_seed
from paramctl.library.arguments import InputLike, choice, expect, whole
from paramctl.library.arguments import seed as checked_seed
from paramctl.library.gradients import loss_of
from paramctl.library.opening import Openable, texts
from paramctl.library.running import as_arrays, with_values
from paramctl.library.training_state import Saved, checksums, state_path
from paramctl.library.weights import Weights
from paramctl.model import Model
from paramctl.parallel import Progress
from paramctl.source.computed import Replaced
from paramctl.source.save import check_writable
from paramctl.store.io.atomic import check_target
from paramctl.store.io.write_values import WriteOptions
from paramctl.store.registry import for_writing, written_name

if TYPE_CHECKING:
    from paramctl.compute.train import StepReport


def train(
    model: Openable,
    data: InputLike,
    *,
    loss: str = "mse",
    optimizer: str = "sgd",
    learning_rate: float | None = None,
    batch_size: int = BATCH_SIZE,
    epochs: int | None = None,
    steps: int | None = None,
    weights: Openable | None = None,
    watch: str | Sequence[str] = (),
    output: str | PathLike[str] | None = None,
    save_every: int = 1000,
    resume: bool = False,
    force: bool = False,
    seed: int | None = None,
    dtype: str = "float32",
    on_step: Callable[[StepReport], None] | None = None,
    progress: Progress | None = None,
) -> Weights:
    """Train a model on examples, and return it with the trained values.

    data: the inputs by name, as ``run`` takes them, and the targets as ``y``.
    loss: as of ``gradients``. optimizer: a name, optionally with options, such as ``adam:beta_1=0.8``.
    learning_rate: the optimizer's own default if None. batch_size: the examples of a step; the last may be fewer.
    epochs: passes over the examples, by default 1. steps: the number of steps instead, counted from the beginning.
    weights: the values to begin with, as convert takes them; the model's own by default.
    watch: addresses of trainable parameters to report on in each step.
    output: a file for the values, written every ``save_every`` steps and at the end, and beside it OUTPUT.state.npz.
    resume: go on from that state. The result is that of training without a stop, bit for bit. Only the number of steps
        may differ: the model, the values to begin with, the data and the other arguments must be the same.
    force: replace an existing output and its state, which is removed before the first step.
    seed: of the values, the order of the examples, and dropout; the document's by default, else 0.
    on_step: called after each step; without it, the report has all steps.
    Frozen parameters keep their values, and a tied array takes one step along the sum of its gradients.
    Raises AddressError for data that do not fit, and InputError if a result is not finite, or without autograd.
    """
    choice("loss", loss, LOSSES)
    choice("dtype", dtype, ("float32", "float64"))
    expect("optimizer", optimizer, str, "a text")
    size, every = whole("batch_size", batch_size, 1) or 1, whole("save_every", save_every, 1) or 1
    total = _total(epochs, steps)
    from paramctl.compute.gradients import Differentiation  # an extra
    from paramctl.compute.train import Training

    chosen = parse_optimizer(optimizer, "optimizer")
    rate = chosen.default_rate if learning_rate is None else _rate(learning_rate)
    path = None if output is None else fspath(output)
    if path is not None:
        _check_output(path, resume, force, [model, weights, *(data.values() if isinstance(data, Mapping) else [data])])
    elif resume:
        raise AddressError("to resume requires the output of the training that stopped", "no output")
    source = with_values(model, weights, checked_seed(seed))
    graph, number = check_computable(source), resolve_seed(source.model, seed)
    function = loss_of(graph, loss)
    examples = check_examples(source.model, graph, as_arrays(data), function, np.dtype(dtype))
    values, batches = Values(source, np.dtype(dtype)), Shuffled(examples, size, number)
    watched = _watched(source.model, texts(watch))
    differentiation = Differentiation(source.model, graph, function, True)
    if not differentiation.trained:
        raise AddressError(f"{source.model.name} must have a trainable parameter", "none")
    training = Training(differentiation, values, batches, chosen, rate, number, watched)
    last = total(batches.epoch_steps)
    saved = None
    if path is not None:
        values_of = {"optimizer": optimizer, "learning_rate": rate, "batch_size": size, "seed": number, "dtype": dtype}
        saved = Saved(training, {"loss": loss, **values_of, **checksums(training, examples)}, source, path)
        _begin(saved, last, resume, force)
    reports: list[StepReport] = []
    for _ in range(training.step, last):
        report = training.advance()
        (on_step or reports.append)(report)
        if progress is not None:
            progress(training.step, last)
        if saved is not None and training.step % every == 0 and training.step != last:
            saved.write()
    if saved is not None:
        saved.write()  # also if all steps were done before: the output may be gone
    return Weights(Replaced(source, training.changed), lambda measured: reports)


def _total(epochs: int | None, steps: int | None) -> Callable[[int], int]:
    """Return a function from the steps of an epoch to the number of steps."""
    passes, number = whole("epochs", epochs, 1), whole("steps", steps, 1)
    if passes is not None and number is not None:
        raise AddressError("epochs and steps exclude each other", "both")
    return lambda epoch_steps: number or (passes or 1) * epoch_steps


def _rate(value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"learning_rate must be a number (got {type(value).__name__})")
    rate = float(value)
    if not 0 < rate < inf:  # NaN too
        raise AddressError("learning_rate must be a positive finite number", f"{value}")
    return rate


def _check_output(path: str, resume: bool, force: bool, read: Sequence[Any]) -> None:
    """Raise OutputError for an output or a state that exists, or would replace a file that is read.

    read: the model, the weights and the data, as train takes them.
    """
    for_writing(path)
    targets = [path, state_path(path)]
    names = [fspath(each) for each in read if isinstance(each, (str, PathLike))]
    locations = [each.source.origin.location for each in read if isinstance(each, Weights)]
    files = {realpath(name) for name in [*names, *(location.name for location in locations if location is not None)]}
    for target in targets:
        written = realpath(target)
        in_folder = target.endswith("/") and written in map(dirname, files)
        if in_folder or written in files or realpath(written_name(target)) in files:
            raise OutputError(f"{target}: training reads this file. Write to another one")
        if not target.endswith("/"):
            check_target(target, force or resume)


def _begin(saved: Saved, last: int, resume: bool, force: bool) -> None:
    """Go on from the state, or remove that of another training. Raises an error if the output cannot be written."""
    if resume:
        saved.restore()
        if saved.training.step > last:
            raise AddressError(f"{saved.state} has {saved.training.step:,} steps already", f"{last:,} steps")
    is_new = not lexists(saved.output)
    check_writable(saved.trained, saved.output, WriteOptions(force=force or resume))
    if is_new and saved.output.endswith("/"):
        os.rmdir(saved.output)
    if not resume:  # a stop before the first write must not leave the state of another training
        with suppress(FileNotFoundError):
            os.unlink(saved.state)


def _watched(model: Model, addresses: Sequence[str]) -> list[str]:
    """Return the paths that keep the arrays which addresses select. Raises AddressError for one that is not trained."""
    paths: dict[str, None] = {}
    for address in addresses:
        trained = [path for path in resolve_whole(model, address, "watched") if model.owner(path).trainable]
        if not trained:
            raise AddressError("only trainable parameters can be watched", repr(address))
        paths |= dict.fromkeys(model.owner(path).path for path in trained)
    return [*paths]
