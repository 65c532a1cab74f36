"""memory: an estimate of the bytes that a model takes."""

from __future__ import annotations

from paramctl.core.parameter import FLOAT_DTYPES
from paramctl.errors import InputError
from paramctl.inspect.memory import Memory, estimate_memory
from paramctl.inspect.optimizers import OPTIMIZERS
from paramctl.library.arguments import choice, whole
from paramctl.library.opening import Openable, openable
from paramctl.model import Model


def memory(model: Openable, *, optimizer: str = "adam", batch: int = 1, dtype: str | None = None) -> Memory:
    """Estimate the bytes that a model takes for inference and for training: rows of parts, and a total of each.

    optimizer: such as ``sgd``, ``momentum``, ``adam`` or ``adamw``. batch: the number of examples at once.
    dtype: of floating-point parameters and activations; their own by default.
    Raises InputError if a file lacks parameters of its own configuration.
    """
    choice("optimizer", optimizer, OPTIMIZERS)
    choice("dtype", dtype, FLOAT_DTYPES)
    examples = whole("batch", batch, 1)
    assert examples is not None
    arrays = openable(model)
    if isinstance(arrays, Model):
        return estimate_memory(arrays, optimizer, examples, dtype)
    if missing := arrays.source.origin.missing:
        raise InputError(f"{arrays.model.name}: lacks parameters of its own configuration: {', '.join(missing)}")
    return estimate_memory(arrays.model, optimizer, examples, dtype)
