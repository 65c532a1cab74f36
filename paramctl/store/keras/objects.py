"""The parts of a Keras model: objects (layers and models), their calls, and the network of a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from paramctl.model import Block
from paramctl.model.layers import Layer

SEQUENTIAL, FUNCTIONAL, INPUT = "Sequential", "Functional", "InputLayer"


class NotInKeras(ValueError):
    """A construct of a model document that Keras' models do not have. Its text is shown to users."""


@dataclass(eq=False, slots=True)
class KerasObject:
    """A layer or a model of Keras. A shared layer is one object with several calls.

    class_name: the name of its Python class, which its path in a file follows.
    name: its own name.
    block: the block of the document that it represents; None for an InputLayer and the whole model.
    network: the layers of a model; None for a layer.
    """

    class_name: str
    name: str
    block: Block | None = None
    network: Network | None = None

    @property
    def layer(self) -> Layer | None:
        """The layer of its block; for a block with branches, the layer that declares them. None without a layer."""
        return self.block.layer if self.block is not None else None


class Call(NamedTuple):
    """One call of an object, with the ids of its inputs and outputs (see Block)."""

    object: KerasObject
    input_ids: tuple[int, ...]
    output_ids: tuple[int, ...]


@dataclass(slots=True)
class Network:
    """The contents of a model.

    calls: the InputLayers first, then each call after those whose outputs it takes.
    input_ids, output_ids: the inputs and outputs of the whole model.
    layers: as Keras lists them, each once. A Sequential leaves out its InputLayer.
    """

    sequential: bool
    calls: list[Call]
    input_ids: tuple[int, ...]
    output_ids: tuple[int, ...]
    layers: list[KerasObject] = field(default_factory=list)
