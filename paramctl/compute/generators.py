"""Generators of random numbers for computations: of one seed, each purpose has its own."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """A use of random numbers. Its number is a part of the seed, so no two purposes share numbers."""

    ORDER = 1
    """The order of examples, by the epoch and the window."""
    TRAINING = 2
    """Dropout in training, by the step."""
    INPUTS = 3
    """Random inputs."""
    GRADIENTS = 4
    """Dropout in gradients."""
    PROJECTION = 5
    """The sum of outputs whose gradients are signals."""


def generator(seed: int, purpose: Purpose, *numbers: int) -> np.random.Generator:
    """Return the generator of a seed for a purpose. numbers: those of its part, such as an epoch."""
    # NumPy pads a list of entropy with zeros, so that [s, n] would equal [s, n, 0]; a spawn key comes after the padding
    sequence = np.random.SeedSequence(seed, spawn_key=(purpose, *numbers))
    return np.random.Generator(np.random.SFC64(sequence))
