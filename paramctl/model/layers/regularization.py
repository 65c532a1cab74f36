"""Layers that do something in training alone: dropout and noise."""

from paramctl.declare.option_types import Rate, Shape, UnitInterval
from paramctl.model.layers.base import Layer
from paramctl.model.layers.spatial import DataFormat


class Dropout(Layer):
    """Sets a share of the values to 0 in training, and scales the others up. Srivastava et al. (2014)."""

    rate: UnitInterval
    noise_shape: Shape | None = None


class SpatialDropout1D(Layer, rank=1):
    """Dropout of whole channels."""

    rate: UnitInterval


class SpatialDropout2D(Layer, rank=2):
    """Dropout of whole channels."""

    rate: UnitInterval
    data_format: DataFormat = "channels_last"


class SpatialDropout3D(Layer, rank=3):
    """Dropout of whole channels."""

    rate: UnitInterval
    data_format: DataFormat = "channels_last"


class AlphaDropout(Layer):
    """Dropout that keeps mean and deviation, for selu. Klambauer et al. (2017)."""

    rate: UnitInterval
    noise_shape: Shape | None = None


class GaussianDropout(Layer):
    """Multiplies by noise of mean 1 in training."""

    rate: Rate


class GaussianNoise(Layer):
    """Adds noise of mean 0 in training."""

    stddev: UnitInterval
