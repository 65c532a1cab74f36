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
from paramctl.compute.generators import Purpose, generator
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


@pytest.mark.parametrize("window", [1 << 20, 48 * 10, 16 * 16])
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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_in_two_parts_is_training_in_one(dtype: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit, with moments, dropout, state of layers, several windows, and a stop within an epoch."""
    monkeypatch.setattr(shuffle, "WINDOW_BYTES", 48 * 14)
    (folder / "m.yaml").write_text(TEXT.replace("layers:\n", "layers:\n  - batch_normalization\n  - dropout: 0.4\n"))
    options = {"optimizer": "adam", "batch_size": 7, "dtype": dtype}
    once = trained(folder, steps=9, output=folder / "once.h5", **options)
    trained(folder, steps=4, output=folder / "parts.h5", **options)
    assert (folder / "once.h5").read_bytes() != (folder / "parts.h5").read_bytes()
    parts = trained(folder, steps=9, output=folder / "parts.h5", resume=True, **options)
    assert all(np.array_equal(once[path], parts[path]) for path in once)
    assert (folder / "once.h5").read_bytes() == (folder / "parts.h5").read_bytes()
    with pc.open(folder / "once.h5.state.npz") as state, pc.open(folder / "parts.h5.state.npz") as other:
        assert all(np.array_equal(state[path], other[path]) for path in state)


def test_training_goes_on_only_as_the_same_training(folder: Path, paramctl: Run) -> None:
    """Each difference is named in one line, and the files stay."""
    options = ["train", "m.yaml", "--data", "xy.npz", "--optimizer", "momentum", "-q", "-o", "w.h5"]
    assert paramctl(*options, "--steps", "4").returncode == 0
    before = {name: (folder / name).read_bytes() for name in ("w.h5", "w.h5.state.npz")}
    rng = np.random.default_rng(1)
    np.savez(folder / "other.npz", x=rng.standard_normal((40, 3)), y=rng.random((40, 3)))
    (folder / "n.yaml").write_text(TEXT.replace("tanh", "relu"))
    assert paramctl("init", "m.yaml", "--seed", "5", "-o", "five.npz").returncode == 0
    for changed, rule in (
        (["--loss", "mae"], "was saved with another loss (got mae, saved mse)"),
        (["--data", "other.npz"], "the data are not those of the saved training"),
        (["--weights", "five.npz"], "the initial values are not those of the saved training"),
        (["--steps", "3"], "has 4 steps already (got 3 steps)"),
    ):
        done = paramctl(*options, "--steps", "6", *changed, "--resume")
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), changed
        assert rule in done.stderr
    done = paramctl(*["n.yaml" if word == "m.yaml" else word for word in options], "--steps", "6", "--resume")
    assert "the model is not that of the saved training" in done.stderr
    assert before == {name: (folder / name).read_bytes() for name in before}


def test_nothing_to_do_writes_the_output_again(folder: Path, paramctl: Run) -> None:
    options = ["train", "m.yaml", "--data", "xy.npz", "-q", "-o", "w.h5", "--steps", "4"]
    assert paramctl(*options).returncode == 0
    before = (folder / "w.h5").read_bytes()
    (folder / "w.h5").unlink()
    assert paramctl(*options, "--resume").returncode == 0
    assert (folder / "w.h5").read_bytes() == before


def test_a_damaged_state_is_one_error(folder: Path) -> None:
    options = {"optimizer": "momentum", "output": folder / "w.h5", "steps": 4}
    trained(folder, **options)
    with np.load(folder / "w.h5.state.npz") as file:
        state = dict(file)
    kernel = "values/shared/kernel"
    for damage in (
        {"settings": np.frombuffer(b"[1]", np.uint8)},
        {"settings": np.frombuffer(b"{}", np.uint8)},
        {"settings": np.frombuffer(b"\xff", np.uint8)},
        {"step": np.array([1, 2])},
        {"step": np.array(-1)},
        {"step": np.array(2.5)},
        {kernel: np.zeros((2, 2), "float32")},
        {kernel: np.zeros((3, 3), "float64")},
        {kernel: np.full((3, 3), np.nan, "float32")},
        *({name: None} for name in state),
    ):
        np.savez(folder / "w.h5.state.npz", **{k: v for k, v in (state | damage).items() if v is not None})
        with pytest.raises(InputError, match=r"w\.h5\.state\.npz: (must be the state|the model is not|was saved)"):
            trained(folder, resume=True, **options)


def test_a_state_is_replaced_only_by_force(folder: Path, paramctl: Run) -> None:
    """And then at the start, so that a stop before the first write cannot go on from another training."""
    options = ["train", "m.yaml", "--data", "xy.npz", "-q", "-o", "w.h5", "--steps", "4"]
    assert paramctl(*options).returncode == 0
    (folder / "w.h5").unlink()
    done = paramctl(*options)
    assert done.returncode == 2
    assert "w.h5.state.npz: already exists (use --force to overwrite)" in done.stderr
    assert paramctl(*options, "--force", "--learning-rate", "1e39").returncode == 2
    assert not (folder / "w.h5.state.npz").exists()


def test_the_state_of_a_folder_is_beside_it(folder: Path, paramctl: Run) -> None:
    options = ["train", "m.yaml", "--data", "xy.npz", "-q", "-o", "d/"]
    assert paramctl(*options, "--steps", "3").returncode == 0
    assert paramctl(*options, "--steps", "4", "--resume").returncode == 0
    assert os.listdir(folder / "d") == ["model.safetensors"]
    assert (folder / "d.state.npz").exists()


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        (["-o", "w.foo"], "the suffix must name a format"),
        (["-o", "no/w.h5"], "no such folder"),
        (["-o", "w.npy"], "an npy file holds one array"),
        (["-o", "xy.npz", "--force"], "training reads this file"),
        (["--weights", "v.npz", "-o", "v.npz", "--force"], "training reads this file"),
        (["--learning-rate", "nan"], "must be a positive finite number"),
        (["--learning-rate", "inf"], "must be a positive finite number"),
        (["--learning-rate", "1e39"], "the new value of shared/kernel in step 1 is not finite"),
        (["--optimizer", "adam:beta_1=1"], "beta_1 must be a number from 0 to less than 1"),
        (["--optimizer", "adam:beta_2=1"], "beta_2 must be a number from 0 to less than 1"),
        (["--epochs", "2", "--steps", "2"], "exclude each other"),
    ],
)
def test_a_refusal_is_one_line_and_writes_nothing(options: list[str], rule: str, folder: Path, paramctl: Run) -> None:
    assert paramctl("init", "m.yaml", "-o", "v.npz").returncode == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    done = paramctl("train", "m.yaml", "--data", "xy.npz", *options)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert rule in done.stderr
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.filterwarnings("error")
def test_a_step_is_all_or_nothing(tmp_path: Path) -> None:
    """A moving variance that becomes infinite, with a finite loss, leaves every value as it was."""
    (tmp_path / "m.yaml").write_text("input: [2]\nlayers: [{dense: 2}, {batch_normalization: {name: n}}, {dense: 1}]\n")
    weights = pc.initialize(tmp_path / "m.yaml")
    x = np.array([[1e25, 1], [-1e25, 1]])
    seen: list[object] = []
    with pytest.raises(InputError, match=r"in step 1 is not finite|the loss of step 1"):
        pc.train(weights, {"x": x, "y": np.ones(2)}, on_step=seen.append, output=tmp_path / "w.npz")
    assert seen == []
    assert not (tmp_path / "w.npz").exists()


def test_each_use_of_a_shared_normalization_sees_the_update_before(tmp_path: Path) -> None:
    """As in Keras: the averages move once for each use; so do those that another layer's are tied to."""
    text = "input: [2]\nlayers: [{batch_normalization: {name: n}}, {SECOND}, {dense: 1}]\n"
    x = np.random.default_rng(0).standard_normal((64, 2)) * 2 + 5
    for second, ties in (
        ("reuse: n", ""),
        ("batch_normalization: {name: k}", "ties: [{keep: n/moving_mean, tie: k/moving_mean}]\n"),
    ):
        (tmp_path / "m.yaml").write_text(text.replace("SECOND", second) + ties)
        options = {"steps": 1, "batch_size": 64, "dtype": "float64"}
        after = arrays(pc.train(tmp_path / "m.yaml", {"x": x, "y": np.ones(64)}, **options))
        # the second use has the mean 0, and moves 1 % of the way to it
        assert np.allclose(after["n/moving_mean"], 0.99 * 0.01 * x.mean(0), rtol=1e-5, atol=1e-9)
        if not ties:
            expected = 0.99 * (0.99 + 0.01 * x.var(0)) + 0.01 * (x.var(0) / (x.var(0) + 0.001))
            assert np.allclose(after["n/moving_variance"], expected, rtol=1e-5)


def test_no_two_purposes_share_random_numbers() -> None:
    """Nor two parts of one, such as an epoch and a window, or a step and the same number with a zero after it."""
    keys = [(purpose, *numbers) for purpose in Purpose for numbers in ((), (0,), (1,), (0, 0), (1, 0), (0, 1))]
    drawn = {generator(seed, *key).integers(1 << 62) for seed in (0, 1, 1 << 40) for key in keys}
    assert len(drawn) == 3 * len(keys)


def test_arguments_of_other_types_are_refused(folder: Path) -> None:
    for options in ({"optimizer": 3}, {"learning_rate": "a"}, {"learning_rate": True}, {"epochs": 1.5}):
        with pytest.raises(TypeError, match=f"{next(iter(options))} must be"):
            trained(folder, **options)
    for rate in (0, -1, float("nan"), float("inf")):
        with pytest.raises(AddressError, match="learning_rate must be a positive finite number"):
            trained(folder, learning_rate=rate)
    (folder / "m.yaml").write_text("input: [3]\nlayers: [{dense: {units: 3, trainable: false}}]\n")
    with pytest.raises(AddressError, match="must have a trainable parameter"):
        trained(folder)


def test_trained_values_beyond_the_range_of_the_file(folder: Path, paramctl: Run) -> None:
    (folder / "m.yaml").write_text("input: [3]\nlayers: [{dense: {name: a, units: 3, dtype: float16}}]\n")
    done = paramctl("train", "m.yaml", "--data", "xy.npz", "--learning-rate", "1e6", "-o", "w.h5", "-q")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "a/kernel: a value exceeds the range of float16" in done.stderr


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
    assert process.stderr is not None
    message = process.stderr.read().decode()
    assert process.wait() == 128 + signal.SIGINT
    with pc.open(folder / "w.h5.state.npz") as state:
        step = int(np.asarray(state.with_state()["step"]))
    assert step >= 40
    assert step % 20 == 0
    assert message == f"w.h5 has the values after step {step:,}. To go on from there, use --resume\n"
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
    with pytest.raises(OutputError, match=r"w\.h5: already exists \(use --force to overwrite\)"):
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
