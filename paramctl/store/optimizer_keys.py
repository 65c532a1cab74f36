"""Keys under which training scripts keep the state of an optimizer in a checkpoint."""

from __future__ import annotations

import re

OPTIMIZER_KEYS = r"(^|_)(optim(izer)?s?|opt)($|_)|optimizer"
"""A pattern to search for in a key at the root of a checkpoint. Further in, a module may have such a name."""
WRAPPER = frozenset({"target", "state"})
"""The items of the older ``flax.optim.Optimizer``, which has the parameters too."""
_KEYS = re.compile(OPTIMIZER_KEYS, re.IGNORECASE)


def is_optimizer_key(key: str) -> bool:
    """Return whether a key at the root of a checkpoint is that of an optimizer's state."""
    return _KEYS.search(key) is not None
