"""Keras computes with torch, without a GPU; where there is no Keras, nothing in this folder is collected."""

import os
from importlib.util import find_spec

import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ["CUDA_VISIBLE_DEVICES"] = ""

collect_ignore_glob = ["*.py"] if find_spec("keras") is None else []


def pytest_configure(config: pytest.Config) -> None:
    """Leave out Keras' warning of each layer that drops a mask: tests compare the outputs of hundreds of these."""
    config.addinivalue_line("filterwarnings", "ignore:Layer .* was passed an input with a mask:UserWarning")
