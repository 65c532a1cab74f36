"""The registry of frameworks whose own initial values are known. To add one, add its object here."""

from __future__ import annotations

from paramctl.conversion.exact.flax import LINEN, NNX
from paramctl.conversion.exact.keras import KERAS
from paramctl.conversion.exact.plan import Framework
from paramctl.conversion.exact.torch import Torch

_KNOWN: tuple[Framework, ...] = (Torch(), Torch(fused=False), LINEN, NNX, *KERAS)
FRAMEWORKS: dict[str, Framework] = {framework.name: framework for framework in _KNOWN}
"""Every framework, by the name that is chosen."""
