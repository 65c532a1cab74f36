"""Tables of values by the real pandas and pyarrow: csv, Arrow and Parquet hold each value exactly."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import paramctl as pc
from paramctl.core.dtypes import numpy_dtype, to_native
from paramctl.core.parameter import DTYPE_BYTES
from tests.conftest import ROOT

SHAPE = (50, 7)


def drawn(name: str) -> np.ndarray:
    """Return values of random bits, with NaN and infinities where the dtype has them."""
    dtype = numpy_dtype(name)
    raw = np.random.default_rng(0).integers(0, 256, 350 * dtype.itemsize, dtype="u1")
    values = (raw % 2 == 1) if name == "bool" else raw.view(dtype)
    return values.reshape(SHAPE)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a file for each dtype, and one with arrays of several ranks and dtypes."""
    folder = tmp_path_factory.mktemp("files")
    for name in DTYPE_BYTES:
        np.savez(folder / "native.npz", w=to_native(drawn(name)))
        pc.save(folder / "native.npz", folder / f"{name}.h5", dtype=f"w={name}")
        assert pc.open(folder / f"{name}.h5").parameters["w"].dtype == name
    mixed = {
        "v": np.arange(300_000, dtype="f4") / 7,
        "s": np.array(3, "i8"),
        "h": np.ones((2, 3), "f2"),
        "e": np.zeros((0, 2), "f4"),
        "b": np.array([True, False]),
    }
    np.savez(folder / "mixed.npz", **mixed)
    return folder


def table(file: Path, format_: str, *addresses: str, **options: object) -> pd.DataFrame:
    """Return a dump as pandas reads it."""
    if format_ == "csv":
        text = io.StringIO()
        pc.dump(file, *addresses, file=text, format="csv", **options)
        return pd.read_csv(io.StringIO(text.getvalue()))
    data = io.BytesIO()
    pc.dump(file, *addresses, file=data, format=format_, **options)
    return (pd.read_feather if format_ == "arrow" else pd.read_parquet)(io.BytesIO(data.getvalue()))


@pytest.mark.parametrize("format_", ["csv", "arrow", "parquet"])
@pytest.mark.parametrize("name", DTYPE_BYTES)
def test_every_dtype_has_the_same_values(name: str, format_: str, files: Path) -> None:
    """And the indices of all of them. In Arrow and Parquet the type is exact; pandas reads csv as its widest."""
    expected = to_native(np.asarray(pc.open(files / f"{name}.h5")["w"]))
    frame = table(files / f"{name}.h5", format_)
    assert set(frame["path"]) == {"w"}
    assert np.array_equal(frame[["i0", "i1"]], np.argwhere(np.ones(SHAPE)))
    assert frame["i0"].dtype == np.int64
    if name.startswith("complex"):
        real, imag = (frame[part].to_numpy().astype(expected.real.dtype) for part in ("real", "imag"))
        assert np.array_equal(real, expected.real.ravel(), equal_nan=True)
        assert np.array_equal(imag, expected.imag.ravel(), equal_nan=True)
        return
    values = frame["value"].to_numpy()
    if format_ != "csv":
        assert values.dtype == expected.dtype
    is_float = expected.dtype.kind == "f"
    assert np.array_equal(values.astype(expected.dtype), expected.ravel(), equal_nan=is_float)


def test_pandas_reads_the_same_float32(files: Path) -> None:
    """Of any bits, after astype; NaN is NaN."""
    rng = np.random.default_rng(1)
    values = rng.integers(0, 1 << 32, 200_000, dtype="u4").view("f4")
    np.savez(files / "f.npz", w=values)
    text = io.StringIO()
    pc.dump(files / "f.npz", file=text, format="csv", columns="value")
    read = pd.read_csv(io.StringIO(text.getvalue()))["value"].to_numpy().astype("f4")
    assert np.array_equal(read.view("u4")[~np.isnan(values)], values.view("u4")[~np.isnan(values)])
    assert np.array_equal(np.isnan(read), np.isnan(values))


@pytest.mark.parametrize("format_", ["csv", "arrow", "parquet"])
def test_one_table_of_several_ranks_and_dtypes(format_: str, files: Path) -> None:
    """The narrowest exact type of all is float64; indices are nullable, and a slice has those of the whole array."""
    frame = table(files / "mixed.npz", format_, "v[299999:]", "s", "h[1]", "b")
    assert frame["value"].astype("f4").tolist() == [np.float32(299999) / np.float32(7), 3, 1, 1, 1, 1, 0]
    assert frame["value"].dtype == np.float64
    assert frame["path"].tolist() == ["v", "s", "h", "h", "h", "b", "b"]
    assert frame["i0"].fillna(-1).tolist() == [299999, -1, 1, 1, 1, 0, 1]
    assert frame["i1"].fillna(-1).tolist() == [-1, -1, 0, 1, 2, -1, -1]


def test_schemas_and_batches_of_bounded_size(files: Path) -> None:
    """One dictionary of paths for all batches, int64 indices, and row groups of at most 2^18 rows, small arrays joined."""
    data = io.BytesIO()
    pc.dump(files / "mixed.npz", file=data, format="parquet", columns="path,i0,index,value")
    parquet = pq.ParquetFile(io.BytesIO(data.getvalue()))
    sizes = [parquet.metadata.row_group(at).num_rows for at in range(parquet.num_row_groups)]
    assert (sizes[0], sum(sizes), len(sizes)) == (1 << 18, 300_009, 2)
    types = [pa.dictionary(pa.int32(), pa.string()), pa.int64(), pa.string(), pa.float64()]
    assert parquet.schema_arrow.types == types
    data = io.BytesIO()
    pc.dump(files / "mixed.npz", file=data, format="arrow", columns="path,i0,index,value")
    with pa.ipc.open_file(io.BytesIO(data.getvalue())) as arrow:
        assert arrow.schema.types == types
        assert [arrow.get_batch(at).num_rows for at in range(arrow.num_record_batches)] == sizes
        whole = arrow.read_all()
    assert whole["index"][-10].as_py() == "299999"
    assert whole.equals(parquet.read())


def test_integers_that_are_not_exact_are_refused(files: Path) -> None:
    """A 64-bit integer beyond 2^53 beside floats; alone, or without its values, it is written."""
    np.savez(files / "i.npz", f=np.ones(2, "f4"), n=np.array([1, 2**53 + 1]))
    with pytest.raises(pc.AddressError, match="n: an integer is not exact in float64"):
        table(files / "i.npz", "parquet")
    assert table(files / "i.npz", "parquet", "n")["value"].tolist() == [1, 2**53 + 1]
    assert len(table(files / "i.npz", "arrow", columns=["path"])) == 4
    with pytest.raises(pc.AddressError, match="its columns are real and imag"):
        table(files / "complex64.h5", "arrow", columns=["value"])


def run(line: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    line = f'set -o pipefail; paramctl() {{ {sys.executable} -m paramctl "$@"; }}; {line}'
    return subprocess.run(["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True)


def test_pipes_redirections_and_full_disks(files: Path) -> None:
    """A pipe has the bytes of a file; a closed pipe is quiet; a full disk is one line, in both formats."""
    for format_ in ("arrow", "parquet"):
        dump = f"paramctl dump mixed.npz --format {format_}"
        assert run(f"{dump} > m.{format_} && {dump} | cmp - m.{format_}", files).returncode == 0
        assert len((pd.read_feather if format_ == "arrow" else pd.read_parquet)(files / f"m.{format_}")) == 300_009
        closed = run(f"{dump} | head -c 5", files)
        assert (closed.returncode, closed.stderr) == (141, "")
        full = run(f"{dump} > /dev/full", files)
        assert (full.returncode, full.stderr) == (2, "standard output: No space left on device\n")
        refused = run(f"script -qec '{sys.executable} -m paramctl dump mixed.npz --format {format_}' /dev/null", files)
        assert "is binary and standard output is a terminal" in refused.stdout
