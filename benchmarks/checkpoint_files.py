"""The files that several groups read: many float32 arrays in HDF5 and safetensors, and scripts that open them."""

from __future__ import annotations

from typing import NamedTuple

from bench import Bench

MAKE = """
import sys
import h5py
import numpy as np
from safetensors.numpy import save_file
layers, rows, columns, stem = *map(int, sys.argv[1:4]), sys.argv[4]
rng, arrays = np.random.default_rng(0), {}
for k in range(layers):
    for place, shape in (("kernel", (rows, columns)), ("bias", (columns,))):
        arrays[f"layers/dense_{k}/{place}"] = rng.standard_normal(shape, dtype=np.float32)
def write(stem):
    save_file(arrays, f"{stem}.safetensors")
    with h5py.File(f"{stem}.h5", "w") as file:
        for path, array in arrays.items():
            file[path] = array
write(stem)
if sys.argv[5:]:
    for array in arrays.values():
        array.reshape(-1)[7] += 1
    write(sys.argv[5])
"""
OPEN = {
    "h5": """
import sys
import numpy as np
import h5py
def opened(path):
    file, names = h5py.File(path), []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return names, lambda name: file[name][()]
""",
    "safetensors": """
import sys
import numpy as np
from safetensors import safe_open
def opened(path):
    file = safe_open(path, "numpy")
    return list(file.keys()), file.get_tensor
""",
}
NEEDS = {"h5": "h5py", "safetensors": "safetensors"}


class Files(NamedTuple):
    """A pair of checkpoints in one format, of which one value of each array differs."""

    kind: str
    a: str
    other: str
    layers: int
    needs: str

    @property
    def names(self) -> list[str]:
        return sorted(f"layers/dense_{k}/{part}" for k in range(self.layers) for part in ("kernel", "bias"))


def gigabyte(bench: Bench) -> list[Files]:
    """Return 1 GB in 2,000 arrays, and another in which one value of each array differs; in both formats."""
    layers, width = bench.size((1000, 500), (3, 20))
    if not (bench.folder / "a.h5").exists():
        bench.make(MAKE, layers, width, width, "a", "other")
    kinds = ("safetensors", "h5")
    return [Files(k, bench.path(f"a.{k}"), bench.path(f"other.{k}"), layers, NEEDS[k]) for k in kinds]
