"""Files that Flax wrote: every array is equal to what Flax restores."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paramctl.source.open import open_path

flax = pytest.importorskip("flax")
import flax.linen as nn  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import optax  # noqa: E402
from flax import serialization  # noqa: E402
from flax.training.train_state import TrainState  # noqa: E402


class Network(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.Conv(4, (3, 3))(x)
        x = nn.BatchNorm(use_running_average=False)(x)
        return nn.Dense(2, param_dtype=jnp.bfloat16)(x.reshape(len(x), -1))


def arrays(tree: Any, prefix: str = "") -> dict[str, np.ndarray]:
    found = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found |= arrays(value, f"{prefix}{key}/")
        elif isinstance(value, np.ndarray | np.generic):
            found[f"{prefix}{key}"] = np.asarray(value)
    return found


def check_equal(path: Path) -> tuple[list[str], list[str]]:
    """Check each array against Flax's; return the names of the parameters and of the optimizer's arrays."""
    want = arrays(serialization.msgpack_restore(path.read_bytes()))
    checkpoint = open_path(str(path)).checkpoint
    assert checkpoint is not None
    optimizer = checkpoint.origin.optimizer
    found = {**checkpoint.model.parameters, **(optimizer.arrays if optimizer else {})}
    assert set(found) == set(want)
    for name, parameter in found.items():
        got = checkpoint.reader.read(name, 0, parameter.size)
        assert (parameter.shape, got.dtype) == (want[name].shape, want[name].dtype), name
        assert got.tobytes() == want[name].tobytes(), name
    return list(checkpoint.model.parameters), list(optimizer.arrays if optimizer else ())


@pytest.fixture(scope="module")
def variables() -> Any:
    return Network().init(jax.random.key(0), jnp.zeros((1, 4, 4, 3)))


def test_variables(variables: Any, tmp_path: Path) -> None:
    (tmp_path / "v.msgpack").write_bytes(serialization.to_bytes(variables))
    parameters, state = check_equal(tmp_path / "v.msgpack")
    assert {"params/Conv_0/kernel", "params/Dense_0/bias", "batch_stats/BatchNorm_0/mean"} <= set(parameters)
    assert state == []


def test_a_train_state(variables: Any, tmp_path: Path) -> None:
    state = TrainState.create(apply_fn=Network().apply, params=variables["params"], tx=optax.adam(1e-3))
    (tmp_path / "s.msgpack").write_bytes(serialization.to_bytes(state))
    parameters, optimizer = check_equal(tmp_path / "s.msgpack")
    assert all(name.startswith("params/") for name in parameters)
    assert "opt_state/0/mu/Conv_0/kernel" in optimizer


def test_arrays_in_chunks_and_scalars(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Flax cuts an array beyond 2^30 bytes; here beyond 100."""
    monkeypatch.setattr(serialization, "MAX_CHUNK_SIZE", 100)
    tree = {"w": np.arange(77, dtype=np.float64).reshape(7, 11), "s": np.float32(2), "list": [np.ones(3, np.int8)]}
    tree |= {"complex": np.array([1j]), "bool": np.array([True, False]), "empty": np.zeros((0, 3), np.float32)}
    (tmp_path / "c.msgpack").write_bytes(serialization.to_bytes(tree))
    assert b"__msgpack_chunked_array__" in (tmp_path / "c.msgpack").read_bytes()
    assert len(check_equal(tmp_path / "c.msgpack")[0]) == 6
