"""The variables of Keras' layers by class: their names in Keras' order, and the facts that each name implies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

AFFINE = ("gamma", "beta")
MOVING = ("moving_mean", "moving_variance")
ADAPTED = ("mean", "variance", "count")
KERNEL = (("kernel",), ("kernel", "bias"))
CELL = (("kernel", "recurrent_kernel"), ("kernel", "recurrent_kernel", "bias"))

DENSE_AXES = {"kernel": ("in", "out"), "recurrent_kernel": ("in", "out"), "bias": ("out",)}
QUERY_AXES = {"kernel": ("in", "out", "out"), "bias": ("out", "out")}
OUTPUT_AXES = {"kernel": ("in", "in", "out"), "bias": ("out",)}

VARIABLES: dict[str, Sequence[tuple[str, ...]]] = {
    "dense": KERNEL,
    **{f"conv{rank}d{suffix}": KERNEL for rank in (1, 2, 3) for suffix in ("", "_transpose")},
    **{f"depthwise_conv{rank}d": KERNEL for rank in (1, 2)},
    **{
        f"separable_conv{rank}d": (
            ("depthwise_kernel", "pointwise_kernel"),
            ("depthwise_kernel", "pointwise_kernel", "bias"),
        )
        for rank in (1, 2)
    },
    "einsum_dense": KERNEL,
    "embedding": (("embeddings",),),
    "batch_normalization": ((*AFFINE, *MOVING), MOVING),
    "layer_normalization": (AFFINE,),
    "group_normalization": (AFFINE,),
    "rms_normalization": (("scale",),),
    "normalization": (ADAPTED,),
    "p_re_lu": (("alpha",),),
    "lstm_cell": CELL,
    "gru_cell": CELL,
    "simple_rnn_cell": CELL,
}
"""The variables of each class, trainable ones first, one tuple for each combination of options.

Combinations with equally many variables are left out where the count cannot tell them apart: a LayerNormalization
with one variable may have gamma or beta.
"""

QUANTIZED: dict[str, Sequence[tuple[str, ...]]] = {
    **dict.fromkeys(("dense", "einsum_dense"), (("kernel", "kernel_scale"), ("kernel", "bias", "kernel_scale"))),
    "embedding": (("embeddings", "embeddings_scale"),),
}
"""The same for layers with integer kernels (Keras 3, dense.py, quantized_build)."""

NORM_NAMES = (*AFFINE, "scale")
STATE_NAMES = (*MOVING, *ADAPTED)


def variable_names(class_name: str | None, variables: Sequence[tuple[int, Mapping[str, Any]]]) -> Sequence[str]:
    """Return the names of a layer's variables, or their numbers if the class does not determine the names.

    class_name: in snake case; None if unknown.
    variables: the number and the listing entry of each, in order.
    """
    numbers, (_, first) = [number for number, _ in variables], variables[0]
    # the class gives several combinations of names, and the number of variables selects one of them
    table = QUANTIZED if _is_integer(first["dtype"]) else VARIABLES
    matches = [names for names in table.get(class_name or "", ()) if len(names) == len(numbers)]
    if len(matches) != 1 or numbers != [*range(len(numbers))]:
        return [str(number) for number in numbers]
    # A custom class may be called Dense too. Its first variable is no kernel if it is a vector.
    if matches[0][0].endswith(("kernel", "embeddings")) and len(first["shape"]) < 2:
        return [str(number) for number in numbers]
    return matches[0]


def is_quantized(name: str, array: Mapping[str, Any]) -> bool:
    """Return whether a variable is the integer kernel of a quantized layer."""
    return name in ("kernel", "embeddings") and _is_integer(array["dtype"])


def _is_integer(dtype: str) -> bool:
    return "int" in dtype


def variable_attributes(
    name: str, dtype: str, axes: tuple[str, ...] = (), rank: int = -1, quantized: bool = False
) -> dict[str, Any]:
    """Return the attributes that a variable's name implies: kind, axes, and trainable=False where that is certain.

    axes: the roles of its axes, ignored unless their number is ``rank``.
    quantized: True if its layer is quantized. Only the bias and the LoRA kernels of such a layer are trained.
    """
    attributes: dict[str, Any] = {} if name.isdecimal() else {"kind": _kind(name, quantized)}
    frozen = quantized and name != "bias" and not name.startswith("lora_")
    if frozen or _is_integer(dtype) or dtype == "bool" or name in STATE_NAMES:
        attributes["trainable"] = False
    if len(axes) == rank and axes:
        attributes["axes"] = ", ".join(axes)
    return attributes


def _kind(name: str, quantized: bool) -> str:
    if name in STATE_NAMES or (quantized and name.endswith("_scale")):
        return "state"
    if name in NORM_NAMES:
        return "norm"
    return "bias" if name == "bias" else "weight"
