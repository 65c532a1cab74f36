"""The types of ggml's tensors: the dtype of plain values, and the blocks of quantized ones.

https://github.com/ggml-org/ggml/blob/master/include/ggml.h
"""

from __future__ import annotations

from importlib.util import find_spec

from paramctl.core.parameter import Encoding

DTYPES = {
    0: "float32",
    1: "float16",
    24: "int8",
    25: "int16",
    26: "int32",
    27: "int64",
    28: "float64",
    30: "bfloat16",
}

BLOCKS = {
    2: ("q4_0", 32, 18),
    3: ("q4_1", 32, 20),
    6: ("q5_0", 32, 22),
    7: ("q5_1", 32, 24),
    8: ("q8_0", 32, 34),
    10: ("q2_k", 256, 84),
    11: ("q3_k", 256, 110),
    12: ("q4_k", 256, 144),
    13: ("q5_k", 256, 176),
    14: ("q6_k", 256, 210),
    15: ("q8_k", 256, 292),
    16: ("iq2_xxs", 256, 66),
    17: ("iq2_xs", 256, 74),
    18: ("iq3_xxs", 256, 98),
    19: ("iq1_s", 256, 50),
    20: ("iq4_nl", 32, 18),
    21: ("iq3_s", 256, 110),
    22: ("iq2_s", 256, 82),
    23: ("iq4_xs", 256, 136),
    29: ("iq1_m", 256, 56),
    34: ("tq1_0", 256, 54),
    35: ("tq2_0", 256, 66),
    39: ("mxfp4", 32, 17),
    40: ("nvfp4", 64, 36),
    41: ("q1_0", 128, 18),
}
"""The name of a quantization, and the values and bytes of a block."""

NOT_DECODED = frozenset({15, 41})
"""Types that the gguf package cannot decode."""

REFUSED = {
    4: "q4_2, which ggml has removed",
    5: "q4_3, which ggml has removed",
    9: "q8_1, whose size depends on the version of ggml",
    31: "q4_0_4_4, which ggml has removed",
    32: "q4_0_4_8, which ggml has removed",
    33: "q4_0_8_8, which ggml has removed",
    36: "iq4_nl_4_4, which ggml has removed",
    37: "iq4_nl_4_8, which ggml has removed",
    38: "iq4_nl_8_8, which ggml has removed",
}

EXTRA = "requires the gguf package: pip install 'paramctl[gguf]'"


def encoding_of(code: int) -> Encoding:
    """Return the encoding of a quantized type, a key of BLOCKS."""
    name, values, size = BLOCKS[code]
    if code in NOT_DECODED:
        unreadable = f"the gguf package has no decoder for the type {name}. The values cannot be read"
    else:
        # a folder of this name without modules, such as one of models, has no origin
        spec = find_spec("gguf")
        unreadable = "" if spec is not None and spec.origin is not None else f"reading values in {name} {EXTRA}"
    return Encoding(name, values, size, unreadable)
