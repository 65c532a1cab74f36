"""paramctl grad: gradients equal finite differences, and those of a shared array are the sum over its uses."""

import json
from pathlib import Path

import numpy as np
import pytest

import paramctl as pc
from paramctl.compute.losses import LOSSES
from paramctl.core.dtypes import Array
from paramctl.errors import AddressError
from tests.conftest import Run

SHARED = (
    "name: m\ninput: [3]\nlayers:\n"
    "  - dense: {name: first, units: 4, activation: tanh}\n  - dense: {name: shared, units: 4, activation: tanh}\n"
    "  - reuse: shared\n  - dense: {name: fixed, units: 4, trainable: false}\n"
    "  - dense: {name: tied, units: 4, use_bias: false}\n"
    "ties: [{keep: shared/kernel, tie: tied/kernel, transpose: true}]\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / "m.yaml").write_text(SHARED)
    np.savez(tmp_path / "xy.npz", x=rng.standard_normal((7, 3)), y=rng.random((7, 4)) > 0.5)
    return tmp_path


def gradients_of(folder: Path, **options: object) -> dict[str, Array]:
    found = pc.gradients(folder / "m.yaml", folder / "xy.npz", dtype="float64", **options)
    return {path: np.asarray(found[path]) for path in found}


def loss_of(weights: pc.Weights, folder: Path, loss: str) -> float:
    """The loss, from its formula and the outputs of run."""
    data = np.load(folder / "xy.npz")
    outputs = np.asarray(pc.run(weights, data["x"], dtype="float64")["tied"])
    y = data["y"].astype(float)
    p = 1 / (1 + np.exp(-outputs))
    distance = np.abs(outputs - y)
    logs = outputs - np.log(np.exp(outputs).sum(-1, keepdims=True))
    return {
        "mse": np.mean(distance**2),
        "mae": np.mean(distance),
        "huber": np.mean(np.where(distance <= 1, distance**2 / 2, distance - 0.5)),
        "cross_entropy": np.mean(-(y * logs).sum(-1)),
        "binary_cross_entropy": np.mean(-(y * np.log(p) + (1 - y) * np.log(1 - p))),
        "sum": np.sum(outputs),
    }[loss]


@pytest.mark.parametrize("loss", LOSSES)
def test_the_gradient_is_that_of_finite_differences(loss: str, folder: Path) -> None:
    """In float64, of every value of every array: shared, tied with its transpose, and used once."""
    if not LOSSES[loss].has_targets:
        np.savez(folder / "xy.npz", x=np.load(folder / "xy.npz")["x"], y=np.zeros((7, 4)))
    weights = pc.initialize(folder / "m.yaml", scheme="glorot_uniform", seed=3, dtype="float64")
    data = folder / "xy.npz" if LOSSES[loss].has_targets else np.load(folder / "xy.npz")["x"]
    found = pc.gradients(weights, data, loss=loss, dtype="float64")
    assert {*found} == {"first/kernel", "first/bias", "shared/kernel", "shared/bias", "tied/kernel"}
    step = 1e-6
    for path in ("first/kernel", "first/bias", "shared/kernel", "shared/bias"):
        values = np.asarray(weights[path])
        expected = np.empty(values.shape)
        for index in np.ndindex(values.shape):
            place = ", ".join(map(str, index))
            high, low = (
                loss_of(pc.assign(weights, [f"{path}[{place}] += {sign}{step}"]), folder, loss) for sign in ("", "-")
            )
            expected[index] = (high - low) / (2 * step)
        assert np.abs(expected).max() > 1e-3
        assert np.allclose(np.asarray(found[path]), expected, rtol=1e-5, atol=1e-8), path
    assert np.array_equal(np.asarray(found["tied/kernel"]), np.asarray(found["shared/kernel"]).T)


def test_the_shares_of_a_shared_array_add_up(folder: Path) -> None:
    """The layer that is applied twice, and the one that is tied to it with its transpose."""
    whole, split = gradients_of(folder), gradients_of(folder, split_ties=True)
    assert {*split} - {*whole} == {
        "shared/kernel#1",
        "shared/kernel#2",
        "tied/kernel#1",
        "shared/bias#1",
        "shared/bias#2",
    }
    assert all(np.array_equal(whole[path], split[path]) for path in whole)
    kernel = split["shared/kernel#1"] + split["shared/kernel#2"] + split["tied/kernel#1"].T
    assert np.allclose(kernel, whole["shared/kernel"], rtol=1e-12)
    assert np.allclose(split["shared/bias#1"] + split["shared/bias#2"], whole["shared/bias"], rtol=1e-12)
    assert not np.allclose(split["shared/kernel#1"], split["shared/kernel#2"])


def test_batches_give_the_gradient_of_all_examples(folder: Path) -> None:
    whole, parts = gradients_of(folder, batch_size=7), gradients_of(folder, batch_size=3)
    assert all(np.allclose(whole[path], parts[path], rtol=1e-10) for path in whole)


def test_indices_of_classes_equal_rows_of_probabilities(folder: Path) -> None:
    x, classes = np.load(folder / "xy.npz")["x"], np.array([0, 1, 2, 3, 0, 1, 2])
    arrays = [{"x": x, "y": y} for y in (classes, np.eye(4)[classes])]
    one, other = (pc.gradients(folder / "m.yaml", data, loss="cross_entropy") for data in arrays)
    assert np.allclose(np.asarray(one["first/kernel"]), np.asarray(other["first/kernel"]))


def test_the_command_prints_norms_and_writes_arrays(folder: Path, paramctl: Run) -> None:
    done = paramctl("grad", "m.yaml", "--data", "xy.npz", "--format", "json", "-o", "g.safetensors")
    assert done.returncode == 0
    by_path = {row["path"]: row for row in json.loads(done.stdout)}
    assert {*by_path} == {"first/kernel", "first/bias", "shared/kernel", "shared/bias"}
    assert by_path["shared/kernel"]["uses"] == 3
    assert by_path["first/bias"]["ratio"] is None  # its values are all zero
    with pc.open(folder / "g.safetensors") as found:
        for path, row in by_path.items():
            assert row["norm"] == pytest.approx(float(np.linalg.norm(np.asarray(found[path]))))
    assert "note: the loss mse is 0." in done.stderr
    assert paramctl("stat", "g.safetensors", "shared/kernel").returncode == 0


def test_a_sum_needs_no_data(folder: Path, paramctl: Run) -> None:
    done = paramctl("grad", "m.yaml", "--loss", "sum", "--rows", "2", "--format", "csv")
    assert (done.returncode, done.stderr.split(" is ")[0]) == (0, "the loss sum")
    assert len(done.stdout.splitlines()) == 5


REFUSED = {
    "no targets": ({"x": np.ones((3, 3))}, "mse", "requires targets, an array y"),
    "another number of rows": ({"x": np.ones((3, 3)), "y": np.ones((4, 4))}, "mse", "must have 3 rows"),
    "another shape": ({"x": np.ones((3, 3)), "y": np.ones((3, 2))}, "mse", r"must have the shape \(4,\)"),
    "no such class": (
        {"x": np.ones((3, 3)), "y": np.array([0, 4, 1])},
        "cross_entropy",
        r"classes from 0 to 3 \(got 4\)",
    ),
    "a negative class": ({"x": np.ones((3, 3)), "y": np.array([0, -1, 1])}, "cross_entropy", r"\(got -1\)"),
    "classes as fractions": ({"x": np.ones((3, 3)), "y": np.array([0.5, 1, 1])}, "cross_entropy", "of fractions"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_data_that_do_not_fit_the_loss(kind: str, folder: Path) -> None:
    data, loss, words = REFUSED[kind]
    with pytest.raises(AddressError, match=words) as error:
        pc.gradients(folder / "m.yaml", data, loss=loss)
    assert "\n" not in str(error.value)


def test_no_data_are_refused_in_one_line(folder: Path, paramctl: Run) -> None:
    done = paramctl("grad", "m.yaml")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
