"""The L2 norm of an array."""

from __future__ import annotations

import numpy as np

from paramctl.core.dtypes import Array


def l2_norm(values: Array) -> float:
    """Return the L2 norm of all values, computed in float64, where squares may be beyond its range."""
    wide = values.astype(np.float64).reshape(-1)
    largest = float(np.abs(wide).max(initial=0))
    if 1e-100 < largest < 1e100 or not largest or not np.isfinite(largest):
        return float(np.linalg.norm(wide))
    return float(np.linalg.norm(wide / largest)) * largest  # a square would be infinite, or 0
