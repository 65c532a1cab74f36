"""The arrays in which equal values are a fault: weights. Biases, scales and states often start as zeros or ones."""

from __future__ import annotations

import re

from paramctl.core.parameter import Parameter

WEIGHT_NAMES = frozenset(
    ("weight", "kernel", "weights", "embedding", "embeddings", "w", "recurrent_kernel", "depthwise_kernel")
)
"""The last names of weights in the files of the frameworks, which record no kinds."""

OFTEN_CONSTANT = re.compile(
    r"bias|beta|gamma|scale|norm|running|moving|variance|mean|zero|mask|token|position|pos_|lora_b|lora_up|gate|inv_freq",
    re.IGNORECASE,
)
"""Words in the names of arrays that are constant in healthy models: offsets, scales, masks, learned positions and the
second factors of adapters."""


def is_weight(parameter: Parameter) -> bool:
    """Return True for an array whose equal values are a fault: a weight of floating-point or complex numbers.

    A file of another program records no kinds: its weights have two axes or more and a name of weights, or two axes of
    several values each and no name of arrays that are often constant.
    """
    if parameter.dtype == "bool" or "int" in parameter.dtype:
        return False
    if parameter.kind != "unknown":
        return parameter.kind == "weight" and parameter.size > 1
    if len(parameter.shape) < 2 or OFTEN_CONSTANT.search(parameter.path):
        return False
    last = re.split(r"[./:]", parameter.path)[-1]
    return last in WEIGHT_NAMES or sum(size > 1 for size in parameter.shape) > 1
