"""The layers, a module for each kind; importing this one fills the registry.

A new module is one more name in the import below; a new layer is one class in its module.
"""

from paramctl.model.layers import (  # noqa: F401
    attention,
    branching,
    convolution,
    core,
    merging,
    normalization,
    padding,
    pooling,
    rectifying,
    recurrent,
    regularization,
    reshaping,
    wrapping,
)
from paramctl.model.layers.activations import FUNCTIONS
from paramctl.model.layers.base import KERAS_ONLY_LAYERS, LAYERS, Layer, ShapeError, Sizes

__all__ = ["FUNCTIONS", "KERAS_ONLY_LAYERS", "LAYERS", "Layer", "ShapeError", "Sizes"]
