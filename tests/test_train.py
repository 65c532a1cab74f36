"""paramctl train: each step is the optimizer's, a seed decides everything, and a stop changes nothing."""

import csv
import io
import json
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

import paramctl as pc
from paramctl.compute import shuffle
from paramctl.compute.optimizers import OPTIMIZERS, parse_optimizer
from paramctl.core.dtypes import Array
from paramctl.errors import AddressError, DocumentError, InputError, OutputError
from tests.conftest import Run
from tests.forks import AT_ONCE, REAL, on_a_terminal

TEXT = (
    "name: m\ninput: [3]\nlayers:\n  - dense: {name: shared, units: 3, activation: tanh}\n  - reuse: shared\n"
    "  - dense: {name: fixed, units: 3, trainable: false}\n  - dense: {name: tied, units: 3, use_bias: false}\n"
    "ties: [{keep: shared/kernel, tie: tied/kernel}]\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / "m.yaml").write_text(TEXT)
    np.savez(tmp_path / "xy.npz", x=rng.standard_normal((40, 3)), y=rng.random((40, 3)))
    return tmp_path


def arrays(weights: pc.Weights) -> dict[str, Array]:
    return {path: np.asarray(weights[path]) for path in weights}


def trained(folder: Path, **options: object) -> dict[str, Array]:
    return arrays(pc.train(folder / "m.yaml", folder / "xy.npz", **options))


def test_a_step_goes_against_the_gradient(folder: Path) -> None:
    """Of all examples in one batch, by the learning rate; what is frozen stays, and what is tied stays equal."""
    before = arrays(pc.initialize(folder / "m.yaml", dtype="float64"))
    options = {"batch_size": 40, "steps": 1, "learning_rate": 0.1, "dtype": "float64"}
    weights = pc.initialize(folder / "m.yaml", dtype="float64")
    gradients = arrays(pc.gradients(weights, folder / "xy.npz", dtype="float64"))
    after = arrays(pc.train(weights, folder / "xy.npz", **options))
    for path in ("shared/kernel", "shared/bias"):
        assert np.allclose(after[path], before[path] - 0.1 * gradients[path], rtol=1e-9)
        assert not np.array_equal(after[path], before[path])
    assert np.array_equal(after["tied/kernel"], after["shared/kernel"])
    assert all(np.array_equal(after[path], before[path]) for path in ("fixed/kernel", "fixed/bias"))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_lowers_the_loss_of_a_parabola(name: str) -> None:
    """Of (w - 3)^2 from 0; each keeps the arrays that it declares."""
    optimizer = parse_optimizer(name, "optimizer")
    kept = {slot: np.zeros(1) for slot in optimizer.slots}
    value = np.zeros(1)
    for number in range(1, 400):
        value = value + optimizer.step(value, 2 * (value - 3), kept, 0.05, number)
    assert abs(value[0] - 3) < 1.5
    assert all(array.any() for array in kept.values())


def test_an_optimizer_takes_options() -> None:
    assert parse_optimizer("momentum:momentum=0.5", "--optimizer").momentum == 0.5
    for text in ("adamm", "momentum:beta=1", "momentum:momentum=2"):
        with pytest.raises(DocumentError, match="--optimizer"):
            parse_optimizer(text, "--optimizer")


def test_a_seed_decides_everything(folder: Path) -> None:
    first, again, other = (trained(folder, seed=seed, batch_size=7, epochs=2) for seed in (1, 1, 2))
    assert all(np.array_equal(first[path], again[path]) for path in first)
    assert not np.array_equal(first["shared/kernel"], other["shared/kernel"])


@pytest.mark.parametrize("window", [1 << 20, 48 * 10, 48 * 16])
def test_an_epoch_has_every_example_once(window: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All shuffled together, or window by window; in another order in the next epoch."""
    monkeypatch.setattr(shuffle, "WINDOW_BYTES", window)
    x = np.arange(40.0).reshape(40, 1)

    class Arrays:
        arrays = {"x": x}  # noqa: RUF012

    class Rows:
        inputs, targets, rows = Arrays, x, 40

        def batch(self, start: int, stop: int) -> object:
            return shuffle.Batch({"x": x[start:stop]}, x[start:stop])

    batches = shuffle.Shuffled(Rows(), 4, 0)
    epochs = [[batches.batch(10 * epoch + step).inputs["x"][:, 0].tolist() for step in range(10)] for epoch in range(2)]
    for epoch in epochs:
        assert sorted(sum(epoch, [])) == list(range(40))  # noqa: RUF017
    assert epochs[0] != epochs[1]


def test_training_in_two_parts_is_training_in_one(folder: Path, paramctl: Run) -> None:
    """Bit for bit, with momentum and a stop within an epoch."""
    options = ["train", "m.yaml", "--data", "xy.npz", "--optimizer", "adam", "--batch-size", "7", "-q"]
    assert paramctl(*options, "--steps", "9", "-o", "once.h5").returncode == 0
    assert paramctl(*options, "--steps", "4", "-o", "parts.h5").returncode == 0
    assert paramctl("diff", "once.h5", "parts.h5").returncode == 1
    assert paramctl(*options, "--steps", "9", "-o", "parts.h5", "--resume").returncode == 0
    assert paramctl("diff", "once.h5", "parts.h5").returncode == 0
    assert (folder / "once.h5").read_bytes() == (folder / "parts.h5").read_bytes()
    other = paramctl(*options, "--steps", "12", "--loss", "mae", "-o", "parts.h5", "--resume")
    assert (other.returncode, other.stderr.count("\n")) == (2, 1)
    assert "was saved with another loss (got mae, saved mse)" in other.stderr


def test_a_signal_leaves_a_complete_file(folder: Path, paramctl: Run) -> None:
    """SIGINT in the midst of long training: the files of the last write are whole, and training goes on from them."""
    options = ["train", "m.yaml", "--data", "xy.npz", "-o", "w.h5", "--save-every", "20", "--format", "jsonl"]
    process = subprocess.Popen(
        [*REAL, *options, "--steps", "1000000"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    for _ in range(50):
        assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.stdout.read()
    assert process.wait() == 128 + signal.SIGINT
    with pc.open(folder / "w.h5.state.npz") as state:
        step = int(np.asarray(state["step"]))
    assert step >= 40
    assert step % 20 == 0
    assert sorted(os.listdir(folder)) == ["m.yaml", "w.h5", "w.h5.state.npz", "xy.npz"]
    done = paramctl(*options, "--steps", str(step + 1), "--resume")
    assert json.loads(done.stdout)["step"] == step + 1


def test_watched_parameters_are_reported(folder: Path, paramctl: Run) -> None:
    options = ["train", "m.yaml", "--data", "xy.npz", "--steps", "2", "--watch", "shared", "--split-ties"]
    done = paramctl(*options, "--format", "jsonl")
    assert (done.returncode, done.stderr) == (0, "")
    first, second = map(json.loads, done.stdout.splitlines())
    assert [first["step"], second["step"]] == [1, 2]
    kernel = first["parameters"]["shared/kernel"]
    assert {*kernel["uses"]} == {"shared/kernel#1", "shared/kernel#2", "tied/kernel#1"}
    assert kernel["update_ratio"] == pytest.approx(0.01 * kernel["gradient_norm"] / kernel["norm"], rel=1e-4)
    assert first["parameters"]["shared/bias"]["update_ratio"] is None  # it begins at zero
    assert second["parameters"]["shared/bias"]["norm"] > 0
    lines = list(csv.DictReader(io.StringIO(paramctl(*options, "--format", "csv").stdout)))
    assert [line["parameter"] for line in lines][:2] == ["shared/kernel", "shared/kernel#1"]
    assert float(lines[0]["loss"]) == first["loss"]
    table = paramctl(*options).stdout.splitlines()
    assert table[0].split() == "Step Loss Weight norm Gradient norm Update ratio Parameter".split()
    assert len(table) == 1 + len(lines)


def test_the_statistics_of_batches_are_trained_too(tmp_path: Path) -> None:
    """The moving averages of a normalization change; without a step they would stay 0 and 1."""
    (tmp_path / "m.yaml").write_text("input: [2]\nlayers: [{batch_normalization: {name: n}}, {dense: 1}]\n")
    x = np.random.default_rng(0).standard_normal((64, 2)) + 5
    after = arrays(pc.train(tmp_path / "m.yaml", {"x": x, "y": np.ones(64)}, steps=3, batch_size=64))
    kept = 0.99**3
    assert np.allclose(after["n/moving_mean"], (1 - kept) * x.mean(0), rtol=1e-5)
    assert np.allclose(after["n/moving_variance"], kept + (1 - kept) * x.var(0), rtol=1e-5)


@pytest.mark.parametrize("form", ["table", "csv", "jsonl"])
def test_bad_data_print_nothing(form: str, folder: Path, paramctl: Run) -> None:
    """Not even a heading; and no file is written."""
    np.savez(folder / "empty.npz", x=np.ones((0, 3)), y=np.ones((0, 3)))
    done = paramctl("train", "m.yaml", "--data", "empty.npz", "-o", "w.h5", "--format", form)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "empty.npz: the loss mse requires examples (got 0 rows)\n"
    assert not (folder / "w.h5").exists()


def test_a_loss_that_is_not_finite_stops_training(folder: Path, paramctl: Run) -> None:
    """With the step in one line; the file of the last write stays."""
    x = np.ones((40, 3), "float32")
    for bad, words in (
        (1e30, "the loss of step 1 is inf"),
        (np.nan, "bad.npz: the input 'input' must be finite (got nan in row 3)"),
    ):
        x[3] = bad
        np.savez(folder / "bad.npz", x=x, y=x)
        done = paramctl("train", "m.yaml", "--data", "bad.npz", "-o", "w.h5", "-q")
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert words in done.stderr
    assert not (folder / "w.h5").exists()


def test_what_cannot_be_trained_is_refused(folder: Path) -> None:
    (folder / "w.h5").write_bytes(b"")
    with pytest.raises(OutputError, match=r"w\.h5 exists"):
        trained(folder, output=folder / "w.h5")
    with pytest.raises(AddressError, match="only trainable parameters can be watched"):
        trained(folder, watch="fixed")
    with pytest.raises(AddressError, match="loss must be one of"):
        trained(folder, loss="ms")
    with pytest.raises(InputError, match=r"new\.h5\.state\.npz"):
        trained(folder, output=folder / "new.h5", resume=True)
    with pytest.raises(AddressError, match="requires examples"):
        pc.train(folder / "m.yaml", {"x": np.ones((0, 3)), "y": np.ones((0, 3))})


def test_a_terminal_shows_the_progress_in_steps(folder: Path) -> None:
    """Not in bytes, as for files."""
    command = ["train", "m.yaml", "--data", "xy.npz", "--steps", "50", "-q"]
    shown = on_a_terminal(command, folder, AT_ONCE)
    assert "training" in shown
    assert " steps/s" in shown
    assert "MB/s" not in shown
