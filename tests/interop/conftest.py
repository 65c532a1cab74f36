"""Keras computes with torch, without a GPU; where there is no Keras, nothing in this folder is collected."""

import os
from importlib.util import find_spec

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ["CUDA_VISIBLE_DEVICES"] = ""

collect_ignore_glob = ["*.py"] if find_spec("keras") is None else []
