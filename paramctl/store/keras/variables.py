"""The variables of Keras' layers by their classes: what they are called, in Keras' order, and what is known of them."""

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
    **{f"conv{rank}d{more}": KERNEL for rank in (1, 2, 3) for more in ("", "_transpose")},
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
"""The variables of a layer by its class, trained ones first: each way in which there can be so many, if that tells."""

QUANTIZED: dict[str, Sequence[tuple[str, ...]]] = {
    **dict.fromkeys(("dense", "einsum_dense"), (("kernel", "kernel_scale"), ("kernel", "bias", "kernel_scale"))),
    "embedding": (("embeddings", "embeddings_scale"),),
}
"""The same of layers whose kernels are integers."""


def variables_of(kind: str | None, variables: Sequence[tuple[int, Mapping[str, Any]]]) -> Sequence[str]:
    """The names of a layer's variables, each given with its number; their numbers where its class does not tell."""
    numbers, (_, first) = [number for number, _ in variables], variables[0]
    known = QUANTIZED if _is_integer(first["dtype"]) else VARIABLES
    fitting = [names for names in known.get(kind or "", ()) if len(names) == len(numbers)]
    matrix = len(fitting) == 1 and fitting[0][0].endswith(("kernel", "embeddings"))
    if len(fitting) != 1 or numbers != [*range(len(numbers))] or (matrix and len(first["shape"]) < 2):
        return [str(number) for number in numbers]
    return fitting[0]


def _is_integer(dtype: str) -> bool:
    return "int" in dtype


def is_quantized(name: str, each: Mapping[str, Any]) -> bool:
    return name in ("kernel", "embeddings") and _is_integer(each["dtype"])


def says(name: str, dtype: str, axes: tuple[str, ...] = (), rank: int = -1, quantized: bool = False) -> dict[str, Any]:
    """What is known of a variable by its name. quantized: whether its layer is, of which only a bias is trained."""
    kinds = {"bias": "bias", **dict.fromkeys((*AFFINE, "scale"), "norm"), **dict.fromkeys((*MOVING, *ADAPTED), "state")}
    scale = quantized and name.endswith("_scale")
    says: dict[str, Any] = {} if name.isdecimal() else {"kind": "state" if scale else kinds.get(name, "weight")}
    kept = quantized and name != "bias" and not name.startswith("lora_")
    if kept or _is_integer(dtype) or dtype == "bool" or name in (*MOVING, *ADAPTED):
        says["trainable"] = False
    if len(axes) == rank and axes:
        says["axes"] = ", ".join(axes)
    return says
