"""An npy file by itself: one array without a name, which every command reads."""

from pathlib import Path

import numpy as np
import pytest

from paramctl import open as open_weights
from paramctl.core.dtypes import numpy_dtype
from paramctl.core.parameter import DTYPE_BYTES
from paramctl.errors import InputError
from paramctl.store.npz.npy import FOREIGN
from tests.conftest import Run


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (3, 4), (7, 2, 5)])
def test_an_array_of_numpy_is_read_and_written_back(
    order: str, shape: tuple[int, ...], paramctl: Run, tmp_path: Path
) -> None:
    """From numpy.save to numpy.load, through save."""
    array = np.arange(np.prod(shape, dtype=int), dtype="float32").reshape(shape)
    np.save(tmp_path / "x.npy", np.asarray(array, order=order))
    assert paramctl("save", "x.npy", "-o", "y.npy").returncode == 0
    again = np.load(tmp_path / "y.npy")
    assert again.dtype == array.dtype
    assert again.shape == array.shape
    assert np.array_equal(again, array)


@pytest.mark.parametrize("dtype", [name for name in DTYPE_BYTES if name not in FOREIGN])
def test_every_dtype_of_numpy(dtype: str, tmp_path: Path) -> None:
    array = np.array([0, 1, 1]).astype(numpy_dtype(dtype))
    for order in "<>":
        np.save(tmp_path / "x.npy", array.astype(array.dtype.newbyteorder(order)))
        with open_weights(tmp_path / "x.npy") as weights:
            assert weights["arr_0"].dtype == array.dtype
            assert np.array_equal(np.asarray(weights["arr_0"]), array)


def test_only_one_array_fits(paramctl: Run, tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", a=np.ones(2), b=np.ones(2))
    done = paramctl("save", "w.npz", "-o", "w.npy")
    assert (done.returncode, done.stderr) == (2, "w.npy: an npy file holds one array (got 2 names). Save it as .npz\n")
    assert not (tmp_path / "w.npy").exists()


def test_it_is_compared_and_measured_like_any_file(paramctl: Run, tmp_path: Path) -> None:
    """Two npy files have the same name for their arrays, whatever they are called."""
    np.save(tmp_path / "x.npy", np.array([1.0, 2.0]))
    np.save(tmp_path / "y.npy", np.array([1.0, 2.5]))
    assert paramctl("diff", "x.npy", "x.npy").returncode == 0
    done = paramctl("diff", "x.npy", "y.npy", "--format", "csv")
    assert done.returncode == 1
    assert "arr_0" in done.stdout
    assert '"max": 2.5' in paramctl("stat", "y.npy", "--format", "json").stdout


BAD = {
    "text": (np.array(["a", "b"]), "holds no numbers but text"),
    "records": (np.zeros(2, [("a", "f4")]), "holds no numbers but a structured type"),
    "objects": (np.array([{}, []], dtype=object), "holds no numbers but pickled objects"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_array_of_numbers_is_named(kind: str, tmp_path: Path) -> None:
    array, words = BAD[kind]
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    with pytest.raises(InputError, match=words):
        open_weights(tmp_path / "x.npy")


def test_a_file_of_another_size_is_damaged(tmp_path: Path) -> None:
    """Cut anywhere, or with a byte too many."""
    path = tmp_path / "x.npy"
    np.save(path, np.ones((3, 5)))
    data = path.read_bytes()
    for damaged in (data[:40], data[:128], data[:-1], data + b"\0"):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"x\.npy: "):
            open_weights(path)
