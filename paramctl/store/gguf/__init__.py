"""GGUF, the format of llama.cpp: a header of keys and of tensors, then the values, some of them quantized.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

NAME = "GGUF"
MAGIC = b"GGUF"
SUFFIX = ".gguf"
