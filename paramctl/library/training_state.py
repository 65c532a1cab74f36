"""The state of a training in a file, from which it goes on: the values, the optimizer's arrays, and the settings.

The file records all but the values as an optimizer's state, so that they do not count as parameters.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from paramctl.compute.data import Examples
from paramctl.compute.inputs import TARGETS
from paramctl.core.dtypes import Array
from paramctl.errors import InputError, ParamctlError
from paramctl.library.opening import open as open_weights
from paramctl.library.weights import Weights
from paramctl.model import Model
from paramctl.source.base import Source
from paramctl.source.computed import Computed, Replaced
from paramctl.source.save import save
from paramctl.store.io.write_values import WriteOptions

if TYPE_CHECKING:
    from paramctl.compute.train import Training

READ_BYTES = 16 << 20
"""Bytes of the examples that are read at once for their checksum."""

SUFFIX = ".state.npz"

Settings = Mapping[str, Any]
"""Everything that must be the same when training goes on."""

CHECKSUMS = {"model": "is not that", "initial values": "are not those", "data": "are not those"}
"""The settings that are checksums, each with the words of the error for another one."""


def state_path(output: str) -> str:
    """Return the path of the state for an output. That of a folder is beside it."""
    return f"{output.rstrip('/')}{SUFFIX}"


def checksums(training: Training, examples: Examples) -> Settings:
    """Return checksums of what a training begins with. All examples are read once."""
    model, values = training.differentiation.model, training.values
    arrays: dict[str, Any] = dict(examples.inputs.arrays)
    if examples.targets is not None:
        arrays[TARGETS] = examples.targets
    return {
        "model": _digest(iter([repr(_structure(model)).encode()])),
        "initial values": {each.path: _digest(_pieces(values[each.path])) for each in model.owners()},
        "data": {name: [list(array.shape), _digest(_pieces(array))] for name, array in arrays.items()},
    }


def read_step(output: str) -> int | None:
    """Return the number of steps that the state for an output has, or None without a valid state."""
    try:
        with open_weights(state_path(output)) as state:
            return _step(state.with_state())
    except (ParamctlError, OSError, _Damaged):
        return None


@dataclass
class Saved:
    """A training with its two files: the output and the state. source: of the model before training."""

    training: Training
    settings: Settings
    source: Source
    output: str

    @property
    def state(self) -> str:
        return state_path(self.output)

    @property
    def trained(self) -> Source:
        """The source with the values of the training."""
        return Replaced(self.source, self.training.changed)

    def write(self) -> None:
        """Write the values, and the state from which training goes on. Each file is replaced atomically."""
        options = WriteOptions(force=True)
        # the state comes last and has the values too, so a stop between the two writes loses nothing
        save(self.trained, self.output, options)
        text = np.frombuffer(json.dumps(self.settings, sort_keys=True).encode(), np.uint8)
        arrays: dict[str, Array] = {"settings": text, "step": np.array(self.training.step)}
        arrays |= {f"values/{name}": array for name, array in self.training.changed.items()}
        arrays |= {f"slots/{slot}/{name}": kept[slot] for name, kept in self.training.slots.items() for slot in kept}
        # summary lists these with --state, and counts the values alone
        others = [name for name in arrays if not name.startswith("values/")]
        save(Computed("state", arrays, optimizer=others), self.state, options)

    def restore(self) -> None:
        """Go on from the state. Raises InputError unless it is one of the same training."""
        training = self.training
        with open_weights(self.state) as file:
            state = file.with_state()
            try:
                saved, step = _settings(state), _step(state)
                _check_same(self.state, self.settings, saved)
                values = {name: _array(state, f"values/{name}", array) for name, array in training.changed.items()}
                slots = {
                    name: {slot: _array(state, f"slots/{slot}/{name}", array) for slot, array in kept.items()}
                    for name, kept in training.slots.items()
                }
            except _Damaged as error:
                raise InputError(f"{self.state}: must be the state of a training ({error})") from None
        for name, array in values.items():
            training.values.put(name, array)
        training.slots, training.step = slots, step


class _Damaged(Exception):
    """A part of a state that is missing or has another form. The message says which."""


def _settings(state: Weights) -> dict[str, Any]:
    try:
        saved = json.loads(_stored(state, "settings").tobytes())
    except ValueError:
        raise _Damaged("its settings are damaged") from None
    if not isinstance(saved, dict):
        raise _Damaged("its settings are damaged")
    return saved


def _step(state: Weights) -> int:
    step = _stored(state, "step")
    if step.shape or step.dtype.kind not in "iu" or step < 1:
        raise _Damaged("its step must be a positive number")
    return int(step)


def _array(state: Weights, name: str, like: Array) -> Array:
    array = np.array(_stored(state, name))  # a copy, because the file is closed
    if array.shape != like.shape or array.dtype != like.dtype:
        expected = f"{like.dtype.name} {like.shape}"
        raise _Damaged(f"{name} must be {expected}, not {array.dtype.name} {array.shape}")
    if not np.isfinite(array).all():
        raise _Damaged(f"{name} has values that are not finite")
    return array


def _stored(state: Weights, name: str) -> Array:
    if name not in state:
        raise _Damaged(f"{name} is missing")
    return np.asarray(state[name])


def _check_same(path: str, settings: Settings, saved: Mapping[str, Any]) -> None:
    for name, value in json.loads(json.dumps(settings)).items():
        before = saved.get(name)
        if before == value:
            continue
        if verb := CHECKSUMS.get(name):
            raise InputError(f"{path}: the {name} {verb} of the saved training")
        if name not in saved or isinstance(before, (dict, list)):
            raise _Damaged(f"its settings lack the {name}")
        raise InputError(f"{path}: was saved with another {name} (got {value}, saved {before})")


def _structure(model: Model) -> list[Any]:
    """Return what decides the computation of a model, without its name."""
    document = model.document
    text = [] if document is None else [document.text, sorted(document.variables.items()), document.input_shapes]
    parameters = [(each.path, each.shape, each.dtype, each.kind, each.trainable) for each in model.owners()]
    ties = [(tie.kept, tie.tied, tie.transpose) for tie in model.ties]
    return [text, [(each.name, each.shape, each.dtype) for each in model.inputs], parameters, ties]


def _digest(pieces: Iterator[bytes]) -> str:
    total = blake2b(digest_size=16)
    for piece in pieces:
        total.update(piece)
    return total.hexdigest()


def _pieces(array: Any) -> Iterator[bytes]:
    """Yield the dtype and the bytes of an array or of rows of a file, some rows at a time."""
    if not array.shape:
        yield np.asarray(array).tobytes()
        return
    count = max(READ_BYTES // max(8 * prod(array.shape[1:]), 1), 1)
    for start in range(0, array.shape[0], count):
        rows = np.ascontiguousarray(array[start : start + count])
        if not start:
            yield rows.dtype.str.encode()
        yield rows.tobytes()
