"""The variables of Keras' layers by class: their names in Keras' order, and the facts that each name implies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

AFFINE = ("gamma", "beta")
MOVING = ("moving_mean", "moving_variance")
ADAPTED = ("mean", "variance", "count")
KERNEL = (("kernel",), ("kernel", "bias"))
CELL = (("kernel", "recurrent_kernel"), ("kernel", "recurrent_kernel", "bias"))
SPECTRAL = "vector_u"
"""The estimate of the first singular vector in SpectralNormalization, whose own kernel is that of the layer in it."""
CONV_LSTM_CELL = "conv_lstm_cell"
CELLS = {
    **{name: f"{name}_cell" for name in ("lstm", "gru", "simple_rnn")},
    **{f"conv_lstm{rank}d": CONV_LSTM_CELL for rank in (1, 2, 3)},
}
"""The class of the cell that a recurrent layer has. The cell has the layer's variables."""

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
    "attention": (("scale",), ("concat_score_weight",), ("scale", "concat_score_weight")),
    "additive_attention": (("scale",),),
    "reversible_embedding": (("embeddings",), ("embeddings", "reverse_embeddings")),
    "spectral_normalization": (("kernel", SPECTRAL),),
    **{f"locally_connected{rank}d": KERNEL for rank in (1, 2)},
    **dict.fromkeys(CELLS.values(), CELL),
}
"""The variables of each class, trainable ones first, one tuple for each combination of options.

Combinations with equally many variables are left out where the count cannot tell them apart: a LayerNormalization
with one variable may have gamma or beta.
"""

FLOAT8 = (
    *("inputs_scale", "inputs_amax_history", "kernel_scale", "kernel_amax_history"),
    *("outputs_grad_scale", "outputs_grad_amax_history"),
)
"""The factors of a layer that computes in float8. Keras counts them as trained: it sets them from gradients."""
GPTQ = ("bias", "kernel", "kernel_scale", "kernel_zero", "g_idx")
AWQ = ("bias", "kernel", "kernel_scale", "kernel_zero", "awq_scales", "g_idx")
INT8, UINT8, FLOAT = "int8", "uint8", "float"

QUANTIZED_DENSE = (
    (INT8, ("kernel", "bias", "kernel_scale")),
    (INT8, ("kernel", "bias", "kernel_scale", "kernel_zero", "g_idx")),
    (UINT8, GPTQ),
    (UINT8, AWQ),
    (FLOAT, ("kernel", "bias", *FLOAT8)),
)
QUANTIZED: dict[str, Sequence[tuple[str, tuple[str, ...]]]] = {
    **dict.fromkeys(("dense", "einsum_dense"), QUANTIZED_DENSE),
    "embedding": (
        (INT8, ("embeddings", "embeddings_scale")),
        (INT8, ("embeddings", "embeddings_scale", "embeddings_zero", "g_idx")),
    ),
}
"""The variables of quantized layers: the dtype of the kernel, and the names. Any layer may lack the bias.

These are int8, int4 (two values in a byte) with one scale or with groups, GPTQ, AWQ and float8. Keras 3.15 leaves
kernel_zero out of the file of a layer with GPTQ or AWQ (save_own_variables).
Keras 3.15, variable_serialization_spec of dense.py, einsum_dense.py and embedding.py.
"""
KERNELS = ("kernel", "embeddings")

LORA = tuple(f"lora_{kernel}_{half}" for kernel in KERNELS for half in "ab")
"""The factors of a trained correction to a kernel."""
NORM_NAMES = (*AFFINE, "scale")
STATE_NAMES = (*MOVING, *ADAPTED, SPECTRAL)
_TRAINED = {name for variants in VARIABLES.values() for names in variants for name in names}.difference(STATE_NAMES)


def variable_names(class_name: str | None, variables: Sequence[tuple[int, Mapping[str, Any]]]) -> Sequence[str]:
    """Return the names of a layer's variables, or their numbers if the class does not determine the names.

    class_name: in snake case; None if unknown.
    variables: the number and the listing entry of each, in order.
    """
    numbers, arrays = [number for number, _ in variables], [array for _, array in variables]
    # the class gives several combinations of names, and the number of variables selects one of them
    matches = _quantized_names(class_name, [array["dtype"] for array in arrays])
    matches = matches or [names for names in VARIABLES.get(class_name or "", ()) if len(names) == len(numbers)]
    if len(matches) != 1 or numbers != [*range(len(numbers))]:
        return [str(number) for number in numbers]
    # A custom class may be called Dense too. Its kernel is no kernel if it is a vector.
    ranks = zip(matches[0], (len(array["shape"]) for array in arrays), strict=True)
    if any(name.endswith(("kernel", "embeddings")) and rank < 2 for name, rank in ranks):
        return [str(number) for number in numbers]
    return matches[0]


def _quantized_names(class_name: str | None, dtypes: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the combinations of names that a quantized layer has with variables of these dtypes."""
    stored = [dtype if "int" in dtype else FLOAT for dtype in dtypes]
    variants: dict[tuple[str, ...], None] = {}
    for kernel, names in QUANTIZED.get(class_name or "", ()):
        for left_out in ((), ("bias",), *([("kernel_zero",), ("bias", "kernel_zero")] if kernel == UINT8 else [])):
            variant = tuple(name for name in names if name not in left_out)
            if stored == [kernel if name in KERNELS or name.endswith("_zero") else FLOAT for name in variant]:
                variants[variant] = None
    return list(variants)


def is_quantized(arrays: Mapping[str, str]) -> bool:
    """Return whether a layer has an integer kernel and its scale. arrays: the dtypes of its variables by name.

    An integer kernel alone is that of a layer whose weights have been cast.
    """
    return any(arrays.get(name) in (INT8, UINT8) and f"{name}_scale" in arrays for name in KERNELS)


def variable_attributes(
    name: str, dtype: str, axes: tuple[str, ...] = (), rank: int = -1, quantized: bool = False
) -> dict[str, Any]:
    """Return the attributes that a variable's name implies: kind, axes, and trainable=False where that is certain.

    axes: the roles of its axes, ignored unless their number is ``rank``.
    quantized: True if its layer is quantized. Only the bias and the LoRA kernels of such a layer are trained.
    """
    attributes: dict[str, Any] = {} if name.isdecimal() else {"kind": _kind(name, quantized)}
    frozen = quantized and name not in ("bias", *LORA)
    counts = ("int" in dtype or dtype == "bool") and name not in _TRAINED  # a cast may give a kernel any dtype
    if frozen or counts or name in STATE_NAMES:
        attributes["trainable"] = False
    if len(axes) == rank and axes:
        attributes["axes"] = ", ".join(axes)
    return attributes


def _kind(name: str, quantized: bool) -> str:
    if name in STATE_NAMES or name in FLOAT8 or (quantized and name not in (*KERNELS, "bias", *LORA)):
        return "state"
    if name in NORM_NAMES:
        return "norm"
    if name in _TRAINED or name in LORA or name.endswith("_kernel"):
        return "bias" if name == "bias" else "weight"
    return "unknown"  # of a custom class, or of one that is not in the table
