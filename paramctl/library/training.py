"""train: steps of an optimizer on examples."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from os import PathLike, fspath
from os.path import exists
from typing import TYPE_CHECKING, Any

import numpy as np

from paramctl.address.resolve import resolve_whole
from paramctl.compute.data import Examples, check_examples
from paramctl.compute.losses import LOSSES
from paramctl.compute.optimizers import parse_optimizer
from paramctl.compute.run import BATCH_SIZE, check_computable
from paramctl.compute.shuffle import Shuffled
from paramctl.compute.values import Values
from paramctl.core.dtypes import Array
from paramctl.errors import AddressError, InputError, OutputError
from paramctl.init.rules import resolve_seed
from paramctl.library.arguments import InputLike, choice, whole
from paramctl.library.arguments import seed as checked_seed
from paramctl.library.gradients import loss_of
from paramctl.library.opening import Openable, texts
from paramctl.library.opening import open as open_weights
from paramctl.library.running import as_arrays, with_values
from paramctl.library.weights import Weights
from paramctl.model import Model
from paramctl.parallel import Progress
from paramctl.source.base import Source
from paramctl.source.computed import Computed, Replaced
from paramctl.source.save import save as save_source
from paramctl.store.io.write_values import WriteOptions

if TYPE_CHECKING:
    from paramctl.compute.train import StepReport, Training

STATE = ".state.npz"
"""The end of the name of the file from which training goes on; before it, the name of the output."""

Settings = Mapping[str, Any]
"""The arguments that must be the same when training goes on."""


def train(
    model: Openable,
    data: InputLike,
    *,
    loss: str = "mse",
    optimizer: str = "sgd",
    learning_rate: float | None = None,
    batch_size: int = BATCH_SIZE,
    epochs: int = 1,
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
    epochs: passes over the examples. steps: the number of steps instead, counted from the beginning.
    weights: the values to begin with, as convert takes them; the model's own by default.
    watch: addresses of trainable parameters to report on in each step.
    output: a file for the values, written every ``save_every`` steps and at the end, and beside it OUTPUT.state.npz.
    resume: go on from that state. The result is that of training without a stop, bit for bit.
    seed: of the values, the order of the examples, and dropout; the document's by default, else 0.
    on_step: called after each step; without it, the report has all steps.
    Frozen parameters keep their values, and a tied array takes one step along the sum of its gradients.
    Raises AddressError for data that do not fit, and InputError if the loss is not finite, or without autograd.
    """
    choice("loss", loss, LOSSES)
    choice("dtype", dtype, ("float32", "float64"))
    size, every = whole("batch_size", batch_size, 1) or 1, whole("save_every", save_every, 1) or 1
    from paramctl.compute.gradients import Differentiation  # an extra
    from paramctl.compute.train import Training

    chosen = parse_optimizer(optimizer, "optimizer")
    path = None if output is None else fspath(output)
    if path is None and resume:
        raise AddressError("to resume requires the output of the training that stopped", "no output")
    if path is not None and not (resume or force) and exists(path):
        raise OutputError(f"{path} exists")
    source = with_values(model, weights, checked_seed(seed))
    graph, number = check_computable(source), resolve_seed(source.model, seed)
    function = loss_of(graph, loss)
    examples = check_examples(source.model, graph, as_arrays(data), function, np.dtype(dtype))
    values, batches = Values(source, np.dtype(dtype)), Shuffled(examples, size, number)
    rate = chosen.default_rate if learning_rate is None else float(learning_rate)
    watched = _watched(source.model, texts(watch))
    differentiation = Differentiation(source.model, graph, function, True)
    training = Training(differentiation, values, batches, chosen, rate, number, watched)
    settings = _settings(training, examples, loss, optimizer, size, dtype)
    if resume and path is not None:
        _restore(training, settings, f"{path}{STATE}")
    total = whole("steps", steps, 1) or (whole("epochs", epochs, 1) or 1) * batches.epoch_steps
    reports: list[StepReport] = []
    for _ in range(training.step, total):
        report = training.advance()
        (on_step or reports.append)(report)
        if progress is not None:
            progress(training.step, total)
        if path is not None and (training.step % every == 0 or training.step == total):
            _save(training, settings, source, path)
    return Weights(Replaced(source, training.changed), lambda measured: reports)


def _watched(model: Model, addresses: Sequence[str]) -> list[str]:
    """Return the paths that keep the arrays which addresses select. Raises AddressError for one that is not trained."""
    paths: dict[str, None] = {}
    for address in addresses:
        trained = [path for path in resolve_whole(model, address, "watched") if model.owner(path).trainable]
        if not trained:
            raise AddressError("only trainable parameters can be watched", repr(address))
        paths |= dict.fromkeys(model.owner(path).path for path in trained)
    return [*paths]


def _settings(
    training: Training, examples: Examples, loss: str, optimizer: str, batch_size: int, dtype: str
) -> Settings:
    shapes = {path: list(training.values[path].shape) for path in training.changed}
    return {
        "loss": loss,
        "optimizer": optimizer,
        "learning_rate": training.rate,
        "batch_size": batch_size,
        "seed": training.seed,
        "dtype": dtype,
        "rows": examples.rows,
        "shapes": shapes,
    }


def _save(training: Training, settings: Settings, source: Source, path: str) -> None:
    """Write the values, and the state from which training goes on. Each file is replaced atomically."""
    options = WriteOptions(force=True)
    # the state comes last and has the values too, so a stop between the two writes loses nothing
    save_source(Replaced(source, training.changed), path, options)
    text = np.frombuffer(json.dumps(settings, sort_keys=True).encode(), np.uint8)
    arrays: dict[str, Array] = {"settings": text, "step": np.array(training.step)}
    arrays |= {f"values/{name}": array for name, array in training.changed.items()}
    arrays |= {f"slots/{slot}/{name}": kept[slot] for name, kept in training.slots.items() for slot in kept}
    save_source(Computed("state", arrays), f"{path}{STATE}", options)


def _restore(training: Training, settings: Settings, path: str) -> None:
    """Go on from a state. Raises InputError unless it is one of the same training."""
    with open_weights(path) as state:
        try:
            saved = json.loads(np.asarray(state["settings"]).tobytes())
            step = int(np.asarray(state["step"]))
        except (KeyError, ValueError) as error:
            raise InputError(f"{path}: must be the state of a training") from error
        for name, value in json.loads(json.dumps(settings)).items():
            if saved.get(name) != value:
                raise InputError(f"{path}: was saved with another {name} (got {value}, saved {saved.get(name)})")
        for name in training.changed:
            training.values.put(name, np.array(state[f"values/{name}"]))
        for name, kept in training.slots.items():
            kept |= {slot: np.array(state[f"slots/{slot}/{name}"]) for slot in kept}
    training.step = step
