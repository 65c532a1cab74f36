"""The layers, one module for each family. Importing this package fills the registry.

Add a layer as one class in the module of its family. Add a module by its name in the import below.
"""

from paramctl.model.layers import (  # noqa: F401
    attention,
    branching,
    convolution,
    core,
    experts,
    expression,
    functions,
    merging,
    normalization,
    padding,
    pooling,
    rectifying,
    recurrent,
    regularization,
    reshaping,
    scaling,
    wrapping,
)
from paramctl.model.layers.activations import FUNCTIONS
from paramctl.model.layers.base import KERAS_ONLY_LAYERS, LAYERS, Layer
from paramctl.model.layers.shapes import ShapeError, Sizes

__all__ = ["FUNCTIONS", "KERAS_ONLY_LAYERS", "LAYERS", "Layer", "ShapeError", "Sizes"]
