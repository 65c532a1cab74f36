"""Distributed checkpoints of torch: folders with ``.metadata`` and ``*.distcp``.

https://pytorch.org/docs/stable/distributed.checkpoint.html
"""

NAME = "torch distributed"
INDEX = ".metadata"
SUFFIX = ".distcp"
