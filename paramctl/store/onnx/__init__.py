"""ONNX: models whose initializers and constants are arrays. They are read without the onnx package.

https://github.com/onnx/onnx/blob/main/docs/IR.md
"""

NAME = "ONNX"
