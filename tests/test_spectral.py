"""stat --spectral gives what numpy.linalg.svd gives, and an empty value with the reason where it gives nothing."""

from pathlib import Path

import numpy as np
import pytest

import paramctl as pc
from paramctl.inspect import matrix, spectral
from paramctl.inspect.stat import StatRow
from tests.conftest import Call, layers
from tests.test_stat import write

RNG = np.random.default_rng(0)
DTYPES = ("float16", "float32", "float64", "int8", "int64", "uint64", "bool", "complex64", "complex128")


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def spectra(**arrays: np.ndarray) -> dict[str, StatRow]:
    np.savez("m.npz", **arrays)
    return {row.path: row for row in pc.stat("m.npz", spectral=True).rows}


def assert_svd(row: StatRow, values: np.ndarray, exact: bool = True) -> None:
    numbers = np.linalg.svd(values.astype(complex if values.dtype.kind == "c" else float), compute_uv=False)
    tolerance = 1e-12 if exact else spectral.TOLERANCE
    assert row.spectral_norm == pytest.approx(numbers[0], rel=tolerance)
    assert row.stable_rank == pytest.approx(np.sum((numbers / numbers[0]) ** 2), rel=2 * tolerance)
    if not exact:
        assert (row.condition, row.rank) == (None, None)
        assert row.spectral_note == "by iteration, within 0.0001"
        return
    assert row.rank == np.linalg.matrix_rank(
        values.astype(complex) if values.dtype.kind == "c" else values.astype(float)
    )
    if row.rank == len(numbers):
        assert row.condition == pytest.approx(numbers[0] / numbers[-1], rel=1e-9)
        assert row.spectral_note is None
    else:
        assert row.condition == float("inf")
        assert row.spectral_note == f"rank {row.rank} of {len(numbers)}"


def test_every_shape_and_dtype() -> None:
    """Vectors as matrices, tall and wide ones, of every dtype that NumPy has; and one of rank 2."""
    arrays = {"deficient": RNG.standard_normal((9, 2)) @ RNG.standard_normal((2, 6))}
    for dtype in DTYPES:
        for shape in ((1, 7), (7, 1), (5, 5), (40, 3), (3, 40)):
            parts = RNG.standard_normal((2, *shape)) * 9
            values = parts[0] + 1j * parts[1] if dtype.startswith("complex") else np.abs(parts[0])
            arrays[f"{dtype}_{shape[0]}_{shape[1]}"] = values.astype(dtype)
    rows = spectra(**arrays)
    for name, values in arrays.items():
        assert_svd(rows[name], values)


def test_any_scale() -> None:
    """The squares of these numbers are beyond float64. A norm that is too, is empty, and the others are not."""
    whole = RNG.uniform(0.5, 1, (6, 9))
    rows = spectra(large=whole * 2.0**1000, small=whole * 2.0**-1000, beyond=whole * 2.0**1023)
    for name, scale in (("large", 2.0**1000), ("small", 2.0**-1000)):
        assert rows[name].spectral_norm == pytest.approx(np.linalg.norm(whole, 2) * scale, rel=1e-12)
        assert rows[name].condition == pytest.approx(np.linalg.cond(whole), rel=1e-12)
    assert rows["beyond"].spectral_norm is None
    assert rows["beyond"].condition == pytest.approx(np.linalg.cond(whole), rel=1e-12)


@pytest.mark.parametrize("shape", [(300, 130), (130, 300), (180, 170)])
def test_large_matrices_are_read_in_slabs(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """By triangles to all digits; by iteration, the largest within the tolerance, and the others are unknown."""
    monkeypatch.setattr(matrix, "LOADED", 30_000)
    monkeypatch.setattr(spectral, "LOADED", 30_000)
    parts = RNG.standard_normal((2, *shape))
    arrays = {"real": parts[0].astype("float32"), "complex": parts[0] + 1j * parts[1]}
    for name, row in spectra(**arrays).items():
        assert_svd(row, arrays[name])
    monkeypatch.setattr(spectral, "EXACT", 50)
    monkeypatch.setattr(spectral, "HELD", 1 << 27 if shape == (180, 170) else 0)  # read once, or in each pass
    arrays["low_rank"] = RNG.standard_normal((shape[0], 12)) @ RNG.standard_normal((12, shape[1]))
    for name, row in spectra(**arrays).items():
        assert_svd(row, arrays[name], exact=False)


def test_kernels_by_the_roles_of_their_axes() -> None:
    """A convolution maps inputs and field to outputs; a depthwise one is block-diagonal; transposed has another order."""
    model = layers(
        "  - reshape: [2, 2, 1]\n  - conv2d: {filters: 5, kernel_size: 2, padding: same}\n"
        "  - depthwise_conv2d: {kernel_size: 2, padding: same, depth_multiplier: 3}\n"
        "  - conv2d_transpose: {filters: 4, kernel_size: 2, padding: same}"
    )
    weights = pc.initialize(model, seed=1)
    rows = {row.path: row for row in pc.stat(weights, spectral=True).rows}
    values = {path: np.array(weights[path]) for path in rows}
    assert_svd(rows["conv2d/kernel"], values["conv2d/kernel"].reshape(4, 5))
    depthwise = values["depthwise_conv2d/kernel"]
    block = np.zeros((5 * 4, 5 * 3))
    for channel in range(5):
        block[channel * 4 : channel * 4 + 4, channel * 3 : channel * 3 + 3] = depthwise[:, :, channel].reshape(4, 3)
    row = rows["depthwise_conv2d/kernel"]
    assert row.spectral_norm == pytest.approx(np.linalg.norm(block, 2), rel=1e-12)
    assert (row.rank, row.stable_rank) == (15, pytest.approx(row.norm**2 / row.spectral_norm**2))  # type: ignore[operator]
    transposed = values["conv2d_transpose/kernel"]  # height, width, out, in
    assert_svd(rows["conv2d_transpose/kernel"], transposed.transpose(0, 1, 3, 2).reshape(-1, 4))
    assert rows["conv2d/bias"].spectral_note == "not a matrix"


def test_reasons_and_formats(call: Call, tmp_path: Path) -> None:
    """Each empty value has its reason, JSON has null for an infinite condition, and a slice is a matrix too."""
    path = write(
        tmp_path / "m.safetensors",
        cube=np.ones((2, 2, 2)),
        nan=np.array([[1.0, np.nan]]),
        zero=np.zeros((3, 2)),
        empty=np.zeros((0, 4)),
        one=np.ones((2, 2)),
    )
    code, out, _ = call("stat", path, "--spectral", "--columns", "path", "--format", "csv")
    assert code == 0
    assert out.splitlines() == [
        "path,spectral_norm,stable_rank,condition,rank,spectral_note",
        "cube,,,,,the file does not record which axes are inputs",
        "nan,,,,,has NaN or infinities",
        "zero,0.0,,,0,all zero",
        "empty,,,,,empty",
        out.splitlines()[-1],
    ]
    assert out.endswith(",inf,1,rank 1 of 2\n")
    _, out, _ = call("stat", path, "one", "cube[0]", "--columns", "condition,rank", "--format", "jsonl")
    assert out == '{"condition": null, "rank": 1}\n' * 2
    for options in (["--per", "block"], ["--per", "dtype"]):
        code, _, err = call("stat", path, "--spectral", *options)
        assert (code, "--spectral requires --per parameter" in err) == (2, True)
