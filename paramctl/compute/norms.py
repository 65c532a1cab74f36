"""The L2 norm of an array."""

from __future__ import annotations

import numpy as np

from paramctl.core.dtypes import Array


def l2_norm(values: Array) -> float:
    """Return the L2 norm of all values, computed in float64."""
    return float(np.linalg.norm(values.astype(np.float64).reshape(-1)))
