"""--exactly flax:linen and flax:nnx give the bits of real Flax, in float32 and in half precision.

After a change of the networks, ``python -m tests.interop.test_exact_flax`` records their hashes again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from math import erf
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import paramctl as pc
from paramctl.init.engines.jax_random import _quantile, _uniform
from tests.conftest import model
from tests.exact_flax_networks import FRAMEWORKS, NETWORKS, RECORDED, SEEDS, hash_of, initialized, tensors_of
from tests.interop.exact_flax import module_of
from tests.interop.exact_nnx import parts_of


def inputs_of(name: str) -> list[jax.Array]:
    """Return inputs of a network: random numbers, or integers below 30."""
    generator = np.random.default_rng(0)
    shapes = [((2, *each.shape[1:]), each.dtype) for each in model(NETWORKS[name].document).inputs]
    return [
        jnp.asarray(generator.integers(0, 30, shape) if dtype == "int32" else generator.normal(size=shape), dtype)
        for shape, dtype in shapes
    ]


def linen_variables(name: str, seed: int) -> Any:
    return module_of(name, NETWORKS[name].dtype).init(jax.random.key(seed), *inputs_of(name))


def linen_tensors(name: str, seed: int) -> dict[str, bytes]:
    """Return the bytes of all variables by name."""
    leaves = jax.tree_util.tree_flatten_with_path(linen_variables(name, seed))[0]
    return {"/".join(str(key.key) for key in path): np.asarray(values).tobytes() for path, values in leaves}


def nnx_tensors(network: str, seed: int) -> dict[str, bytes]:
    """Return the bytes of all parameters and statistics by name."""
    tensors = {}
    for path, module in parts_of(network, NETWORKS[network].dtype, seed).items():
        for key, values in _flat(nnx.to_pure_dict(nnx.state(module, nnx.Any(nnx.Param, nnx.BatchStat)))):
            name = key.replace("if_/", "if/").replace("in_/", "in/")
            if isinstance(module, nnx.SimpleCell):  # which the model names as flax.linen does
                name = name.removeprefix("dense_")
            tensors[f"{path}/{name}"] = np.asarray(values).tobytes()
    return tensors


def _flat(tree: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}/{name}", leaf) for name, leaf in _flat(value))
        elif value is not None:
            yield key, value


TENSORS = {"flax:linen": linen_tensors, "flax:nnx": nnx_tensors}


def recorded_by_flax() -> dict[str, dict[str, dict[str, str]]]:
    return {
        framework: {name: {str(seed): hash_of(expected(name, seed, framework)) for seed in SEEDS} for name in NETWORKS}
        for framework in FRAMEWORKS
    }


REPLACED = {"flax:linen": "params/Dense_0/kernel", "flax:nnx": "dense/kernel"}
"""The kernel in the network ``shared`` that a tie replaces."""


def expected(name: str, seed: int, framework: str) -> dict[str, bytes]:
    """Return the tensors that the model keeps."""
    tensors = TENSORS[framework](name, seed)
    if name == "shared":
        del tensors[REPLACED[framework]]
    return tensors


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("name", NETWORKS)
def test_the_bits_are_those_of_flax(name: str, framework: str) -> None:
    """Tensor by tensor, by Flax' names, and the recorded hashes of all seeds."""
    recorded = json.loads(RECORDED.read_text())[framework][name]
    for seed in SEEDS:
        tensors, drawn = expected(name, seed, framework), tensors_of(initialized(name, seed, framework).source.base)
        assert drawn.keys() == tensors.keys()
        assert [key for key in drawn if drawn[key] != tensors[key]] == []
        assert recorded[str(seed)] == hash_of(tensors)


COMPUTED = ("mobilenet", "decoder", "volume", "signal", "encoder", "cross attention", "words", "recurrent")


@pytest.mark.parametrize("name", COMPUTED)
def test_values_are_where_flax_computes_with_them(name: str) -> None:
    """The model has the outputs of Flax' module, so each value is in its place."""
    variables, inputs = linen_variables(name, 1), inputs_of(name)
    output = module_of(name, "float32").apply(variables, *inputs)
    names = [each.name for each in model(NETWORKS[name].document).inputs]
    weights = initialized(name, 1, "flax:linen")
    result = pc.run(weights, dict(zip(names, map(np.asarray, inputs), strict=True)))
    (values,) = result.values()
    np.testing.assert_allclose(values, np.asarray(output), rtol=1e-4, atol=1e-5)


def test_orthogonal_values_are_close() -> None:
    """Recurrent kernels by default; JAX has them from LAPACK."""
    document = NETWORKS["words"].document.replace(", recurrent_initializer: glorot_uniform", "")
    drawn = pc.initialize(model(document), exactly="flax:nnx", seed=3, allow="close")
    rngs = nnx.Rngs(3)
    nnx.Embed(33, 7, rngs=rngs)
    cell = nnx.LSTMCell(7, 5, rngs=rngs)
    kernel = np.asarray(drawn["lstm/lstm_cell/recurrent_kernel"][...])
    for number, gate in enumerate((cell.hi, cell.hf, cell.hg, cell.ho)):
        np.testing.assert_allclose(kernel[:, 5 * number : 5 * number + 5], gate.kernel[...], atol=2e-6)


def test_all_normal_values_are_those_of_jax() -> None:
    """Each of the 2^23 values that a normal distribution can have, and each of a truncated one."""
    words = jnp.arange(1 << 23, dtype=jnp.uint32) << 9
    for start in range(0, 1 << 23, 1 << 20):
        part = words[start : start + (1 << 20)]
        low = np.nextafter(np.float32(-1), np.float32(0))
        for (least, most), clip in (((low, 1.0), None), ((-BOUND, BOUND), LAST)):
            ours = _quantile(_uniform(np.asarray(part), "float32", float(least), float(most)), "float32")
            theirs = np.asarray(_jax_quantile(part, np.float32(least), np.float32(most)))
            if clip is not None:
                ours, theirs = np.clip(ours, -clip, clip), np.clip(theirs, -clip, clip)
            assert ours.tobytes() == theirs.tobytes()


BOUND = np.float32(erf(2 / 2**0.5))
LAST = np.nextafter(np.float32(2), np.float32(0))


@jax.jit
def _jax_quantile(words: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
    ones = jax.lax.bitcast_convert_type((words >> 9) | jnp.uint32(0x3F800000), jnp.float32) - 1
    u = jnp.maximum(low, ones * (high - low) + low)
    return np.float32(2**0.5) * jax.lax.erf_inv(u)


if __name__ == "__main__":
    RECORDED.write_text(json.dumps(recorded_by_flax(), indent=1) + "\n")
