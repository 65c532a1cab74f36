"""Orbax checkpoints that Orbax writes, in each of its layouts: the same names, shapes, dtypes and values."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax import linen
from flax.training.train_state import TrainState

import paramctl as pc
from paramctl.errors import ParamctlError
from tests.conftest import Run

WRITERS = {
    "OCDBT": lambda: ocp.PyTreeCheckpointer(),
    "a folder for each array": lambda: ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=False)),
    "zarr 3": lambda: ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_zarr3=True)),
    "zarr 3, folders": lambda: ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=False, use_zarr3=True)),
}


class Network(linen.Module):
    @linen.compact
    def __call__(self, x: Any) -> Any:
        x = linen.Conv(4, (3, 3))(x)
        x = linen.BatchNorm(use_running_average=False)(x)
        return linen.Dense(5, param_dtype=jnp.bfloat16)(x)


@pytest.fixture(scope="module")
def variables() -> Any:
    return Network().init(jax.random.key(0), jnp.ones((1, 8, 8, 2)))


@pytest.fixture(scope="module")
def state(variables: Any) -> TrainState:
    made = TrainState.create(apply_fn=Network().apply, params=variables["params"], tx=optax.adam(1e-3))
    return made.apply_gradients(grads=jax.tree.map(jnp.ones_like, variables["params"]))


def leaves(tree: Any) -> Iterator[tuple[str, np.ndarray]]:
    for keys, leaf in jax.tree_util.tree_leaves_with_path(tree):
        yield "/".join(str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", "")))) for key in keys), leaf


def check(weights: pc.Weights, tree: Any) -> None:
    expected = dict(leaves(tree))
    assert set(weights) == set(expected)
    for name, array in expected.items():
        assert weights[name].shape == array.shape
        assert weights[name].dtype == array.dtype
        assert np.asarray(weights[name]).tobytes() == np.asarray(array).tobytes(), name


@pytest.mark.parametrize("layout", WRITERS)
def test_each_layout(layout: str, variables: Any, tmp_path: Path) -> None:
    WRITERS[layout]().save(tmp_path / "m", {**variables, "epoch": 3, "name": "tiny", "loss": 0.25})
    weights = pc.open(tmp_path / "m")
    check(weights, variables)
    assert weights.source.origin.metadata == {"epoch": 3, "name": "tiny", "loss": 0.25}
    kernel = np.asarray(variables["params"]["Conv_0"]["kernel"])
    assert np.array_equal(weights["params/Conv_0/kernel"][1:, 2, :, 1], kernel[1:, 2, :, 1])


def test_a_training_state_under_a_manager(state: TrainState, tmp_path: Path) -> None:
    with ocp.CheckpointManager(tmp_path / "run") as manager:
        for step in (2, 10):
            manager.save(step, args=ocp.args.StandardSave(state.replace(step=step)), metrics={"loss": 1.5})
        manager.wait_until_finished()
    weights = pc.open(tmp_path / "run")
    check(weights, {"params": state.params})
    origin = weights.source.origin
    assert origin.metadata["step"] == 10
    assert pc.open(tmp_path / "run/2").source.origin.metadata["step"] == 2
    assert origin.optimizer is not None
    moments = dict(leaves({"opt_state": state.opt_state}))
    assert set(origin.optimizer.arrays) == set(moments)
    for name, parameter in origin.optimizer.arrays.items():
        read = origin.optimizer.reader.read(name, 0, parameter.size)
        assert read.tobytes() == np.asarray(moments[name]).tobytes(), name
    done = Run(tmp_path)("save", "run", "-o", "x.safetensors")
    assert done.returncode == 0
    assert f"x.safetensors does not include {len(moments)} optimizer or metric arrays of the source" in done.stderr


def test_the_items_of_a_step(variables: Any, tmp_path: Path) -> None:
    items = {"state": ocp.args.StandardSave(variables), "config": ocp.args.JsonSave({"width": 4, "tags": ["a"]})}
    more = {"extra": ocp.args.StandardSave({"w": jnp.ones(3)})}
    with ocp.CheckpointManager(tmp_path / "run", item_names=(*items, *more)) as manager:
        manager.save(1, args=ocp.args.Composite(**items, **more))
        manager.wait_until_finished()
    weights = pc.open(tmp_path / "run")
    check(weights, variables)
    assert weights.source.origin.metadata == {"config.width": 4, "config.tags": ["a"]}
    done = Run(tmp_path)("save", "run", "-o", "x.npz")
    assert "x.npz does not include the item 'extra' of the source" in done.stderr
    check(pc.open(tmp_path / "run/1/extra"), {"w": jnp.ones(3)})


def test_chunks_and_shards(tmp_path: Path) -> None:
    """An array in several chunks, of which a slice needs few."""
    array = jnp.asarray(np.random.default_rng(0).standard_normal((600, 700)), jnp.float32)
    arguments = ocp.args.PyTreeSave({"w": array}, save_args={"w": ocp.SaveArgs(chunk_byte_size=100_000)})
    ocp.Checkpointer(ocp.PyTreeCheckpointHandler()).save(tmp_path / "m", arguments)
    weights = pc.open(tmp_path / "m")
    assert np.array_equal(np.asarray(weights["w"]), array)
    assert np.array_equal(weights["w"][100:300:7, 5], array[100:300:7, 5])


def test_damage_anywhere_is_refused(variables: Any, tmp_path: Path) -> None:
    """In one line: no file of the folder brings down the process."""
    rng = random.Random(0)  # noqa: S311
    refused = 0
    for layout in ("OCDBT", "zarr 3, folders"):
        folder = tmp_path / layout.replace(" ", "_")
        WRITERS[layout]().save(folder, variables)
        files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "_sharding")
        for _ in range(150):
            path = rng.choice(files)
            whole = path.read_bytes()
            data = bytearray(whole)
            for _ in range(rng.choice((1, 3))):
                if data:
                    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            if rng.random() < 0.3:
                del data[rng.randrange(len(data) + 1) :]
            path.write_bytes(data)
            try:
                weights = pc.open(folder)
                for name in weights:
                    np.asarray(weights[name])
            except ParamctlError as error:
                refused += 1
                assert "\n" not in str(error)
            path.write_bytes(whole)
    assert refused > 100
