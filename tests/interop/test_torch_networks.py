"""--layout torch on random networks: Keras and torch compute the same, or the conversion is refused for a reason."""

from pathlib import Path

import keras
import numpy as np
import pytest
import torch

import paramctl
from paramctl.errors import AddressError
from tests.interop.generated import First, Network, image_network, sequence_network

SEEDS = range(208)
RULES = {"**/moving_variance": "random_uniform:minval=0.5,maxval=1.5", "**": "random_uniform:minval=-0.7,maxval=0.7"}


def converted(net: Network, folder: Path) -> keras.Model | None:
    """Load the converted weights into torch's modules, and return Keras' model; None if the conversion is refused."""
    (folder / "m.yaml").write_text(net.text)
    rules = {pattern: rule for pattern, rule in RULES.items() if pattern == "**" or "batch_normalization" in net.text}
    weights = paramctl.initialize(str(folder / "m.yaml"), rules=rules, seed=1)
    try:
        tensors = paramctl.convert(weights, layout="torch")
    except AddressError as error:
        assert "in torch is unknown" in str(error)
        return None
    paramctl.save(weights, str(folder / "m.keras"), force=True)
    by_layer: dict[str, dict[str, torch.Tensor]] = {name: {} for name in net.modules}
    for path in tensors:
        layer, _, name = path.partition(".")
        by_layer[layer][name] = torch.from_numpy(np.array(tensors[path]))
    for name, module in net.modules.items():
        (module.module if isinstance(module, First) else module).load_state_dict(by_layer[name], strict=True)
        module.eval()
    return keras.models.load_model(folder / "m.keras")


@pytest.mark.parametrize("part", range(4))
def test_random_networks(part: int, tmp_path: Path) -> None:
    """Outputs are equal to 1e-4. Only networks without a layer that says where the channels are may be refused."""
    compared = refused = 0
    for seed in SEEDS[part::4]:
        net, moved = sequence_network(seed) if seed % 8 == 7 else image_network(seed)
        in_keras = converted(net, tmp_path)
        if in_keras is None:
            assert not net.determined, net.text
            refused += 1
            continue
        x = np.random.default_rng(seed).normal(size=(2, *net.shape)).astype("float32")
        expected = keras.ops.convert_to_numpy(in_keras(x, training=False))
        assert np.allclose(net.outputs(x, moved), expected, rtol=1e-4, atol=1e-4), net.text
        compared += 1
    assert compared >= 42
    assert refused <= 10
