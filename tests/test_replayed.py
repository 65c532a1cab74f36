"""The tensors of a framework: those that are read many times over are drawn once."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest

from paramctl.core.parameter import Parameter, out_axis
from paramctl.errors import OutputError
from paramctl.init.distributions import Constant
from paramctl.init.engines.base import DrawRequest
from paramctl.model import Block, Model
from paramctl.source import replayed
from paramctl.source.replayed import Replayed


class Tens:
    """An engine with blocks of ten values, each of which has the number of its block; it counts what it draws."""

    name, recipe, addressable = "tens", 1, False

    def __init__(self) -> None:
        self.drawn: Counter[tuple[str, int]] = Counter()

    def start(self, seed: int, requests: Mapping[str, DrawRequest]) -> Tens:
        return self

    def block_size(self, path: str) -> int:
        return 10

    def draw(self, path: str, block: int) -> np.ndarray:
        self.drawn[path, block] += 1
        return np.full(min(10, 35 - 10 * block), block, np.float32)


def tensor(engine: Tens, *reread: str) -> Replayed:
    parameter = Parameter("a", (out_axis(35),), dtype="bfloat16")
    model = Model("m", (), (), (Block("tensors", "group", None, (), (parameter,)),))
    return Replayed(model, engine, {"a": DrawRequest(Constant(0.0), (35,), np.dtype("f4"))}, 0, dict, reread)


@pytest.mark.parametrize("in_memory", [0, 1 << 20])
def test_a_tensor_that_is_read_often_is_drawn_once(in_memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In memory as in a temporary file, in the tensor's dtype."""
    monkeypatch.setattr(replayed, "MAX_IN_MEMORY", in_memory)
    engine = Tens()
    source = tensor(engine, "a")
    for start, stop in [(5, 12), (0, 35), (30, 35), (20, 20)]:
        values = source.read("a", start, stop)
        assert values.dtype == "bfloat16"
        assert values.astype(int).tolist() == [index // 10 for index in range(start, stop)]
    assert engine.drawn == Counter({("a", block): 1 for block in range(4)})


def test_a_tensor_that_is_read_once_is_not_kept() -> None:
    engine = Tens()
    source = tensor(engine)
    assert source.read("a", 30, 35).astype(int).tolist() == [3] * 5
    assert engine.drawn == Counter({("a", 3): 1})


def test_a_full_disk_is_an_error_and_not_a_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, start: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(replayed, "MAX_IN_MEMORY", 0)
    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(
        OutputError, match=r"^a: the temporary file of its values: No space left on device; TMPDIR names the folder$"
    ):
        tensor(Tens(), "a").read("a", 0, 1)
