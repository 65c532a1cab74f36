"""paramctl grad: gradients equal finite differences, and those of a shared array are the sum over its uses."""

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import paramctl as pc
from paramctl.compute.graph import graph_of
from paramctl.compute.losses import LOSSES
from paramctl.compute.probabilities import FUNCTIONS as PROBABILITY_FUNCTIONS
from paramctl.compute.probabilities import KEEPING, KEEPING_FUNCTIONS, RECURRENT, gives_probabilities
from paramctl.core.dtypes import Array
from paramctl.errors import AddressError
from paramctl.model.layers import LAYERS
from paramctl.model.layers.activations import FUNCTIONS
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


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint64", "bfloat16", "int8"])
@pytest.mark.parametrize("shape", [(7,), (7, 1)])
def test_classes_of_any_dtype(shape: tuple[int, ...], dtype: str, folder: Path) -> None:
    """Whole numbers, whatever their dtype, with or without an axis of size 1; bools are the classes 0 and 1."""
    x, classes = np.load(folder / "xy.npz")["x"], np.array([0, 1, 1, 0, 1, 0, 0])
    expected = pc.gradients(folder / "m.yaml", {"x": x, "y": np.eye(4)[classes]}, loss="cross_entropy")
    for y in (classes.astype(getattr(ml_dtypes, dtype, dtype)), classes.astype(bool)):
        found = pc.gradients(folder / "m.yaml", {"x": x, "y": y.reshape(shape)}, loss="cross_entropy")
        assert found.notes == expected.notes
        assert np.allclose(np.asarray(found["first/kernel"]), np.asarray(expected["first/kernel"]))


def test_the_gradient_of_binary_cross_entropy_at_zero(tmp_path: Path) -> None:
    """With all weights 0, the logits are 0, and the derivative of each is 1 / 2 - target."""
    (tmp_path / "m.yaml").write_text("input: [2]\nlayers: [{dense: {name: d, units: 1, kernel_initializer: zeros}}]\n")
    data = {"x": np.eye(2), "y": np.array([1.0, 0.25])}
    found = pc.gradients(tmp_path / "m.yaml", data, loss="binary_cross_entropy", dtype="float64")
    assert np.allclose(np.asarray(found["d/kernel"]).reshape(-1), [(0.5 - 1) / 2, (0.5 - 0.25) / 2])
    assert "is 0.69314718" in found.notes[0]


HEAD = "name: m\ninput: [4, 3]\nlayers:\n"
PROBABILITIES = {
    "dense": "  - dense: {units: 5, activation: softmax}",
    "time distributed": "  - time_distributed: {dense: {units: 5, activation: softmax}}",
    "twice": "  - time_distributed: {activation: softmax}\n  - identity",
    "rearranged": "  - softmax\n  - reshape: [3, 4]\n  - permute: [2, 1]\n  - flatten\n  - dropout: 0.5\n  - relu",
    "pooled": "  - dense: {units: 5, activation: sigmoid}\n  - global_average_pooling1d",
    "block": "  - residual: {layers: [{dense: {units: 3, activation: sigmoid}}]}\n  - sigmoid",
    "expression": '  - expression: {formula: "softmax(x * 2)"}',
    "merged": "  - sigmoid: {name: a}\n  - softmax: {name: b}\n  - multiply: {from: [a, b]}",
}
LOGITS = {
    "dense": "  - softmax\n  - dense: 5",
    "lstm": "  - lstm: {units: 5, activation: sigmoid}",
    "gru": "  - bidirectional: {gru: {units: 5, activation: sigmoid}}",
    "rnn": "  - simple_rnn: {units: 5, activation: softmax, return_sequences: true}\n  - flatten",
    "sum": "  - softmax: {name: a}\n  - add: {from: [a, a]}",
    "rescaled": "  - softmax\n  - rescaling: 3",
    "expression": '  - expression: {formula: "softmax(x) * 2"}',
    "input": "  - flatten",
    "half": "  - sigmoid: {name: a}\n  - concatenate: {from: [a, input]}",
}


@pytest.mark.parametrize("is_probability", [True, False])
def test_probabilities_and_logits(is_probability: bool, tmp_path: Path) -> None:
    """The decision follows the values back over layers that keep them within 0 to 1, and no others."""
    for name, layers in (PROBABILITIES if is_probability else LOGITS).items():
        (tmp_path / "m.yaml").write_text(f"{HEAD}{layers}\n")
        graph = graph_of(pc.load_model(tmp_path / "m.yaml"))
        assert gives_probabilities(graph, graph.outputs[0]) is is_probability, name


def test_the_names_of_layers_that_keep_probabilities_are_layers() -> None:
    assert {*LAYERS} >= KEEPING | RECURRENT
    assert {*FUNCTIONS} >= PROBABILITY_FUNCTIONS | KEEPING_FUNCTIONS
    recurrent = {name for name, layer in LAYERS.items() if "recurrent_initializer" in layer.signature}
    assert recurrent == RECURRENT


MASKED = (
    "name: m\ninput: [4]\nlayers:\n  - embedding: {input_dim: 5, output_dim: 3, mask_zero: true}\n"
    "  - simple_rnn: {units: 3, return_sequences: true}\n  - dense: {name: out, units: 2}\n"
)


def test_masked_steps_do_not_count(tmp_path: Path) -> None:
    """The loss is the mean over the unmasked steps of all examples, whatever the batches and the masked targets."""
    (tmp_path / "m.yaml").write_text(MASKED)
    x = np.array([[1, 2, 3, 4], [1, 0, 0, 0], [0, 0, 0, 0], [2, 2, 0, 0]])
    y = np.random.default_rng(0).random((4, 4, 2))
    outputs = np.asarray(pc.run(tmp_path / "m.yaml", x, dtype="float64")["out"])
    expected = np.mean(((outputs - y) ** 2)[x != 0])
    for size in (4, 2, 1):
        for targets in (y, np.where((x != 0)[..., None], y, 100)):
            data = {"x": x, "y": targets}
            found = pc.gradients(tmp_path / "m.yaml", data, dtype="float64", batch_size=size)
            assert f"is {expected:.8g}" in found.notes[0]
            bias = 2 * (outputs - y)[x != 0].mean(0) / 2
            assert np.allclose(np.asarray(found["out/bias"]), bias)


def test_a_sum_adds_all_outputs(tmp_path: Path) -> None:
    """Other losses require one output."""
    text = "name: m\ninput: [1]\nlayers: [{dense: {name: a, units: 1}}, {dense: {name: b, units: 1, from: input}}]\n"
    (tmp_path / "m.yaml").write_text(f"{text}outputs: [a, b]\n")
    found = pc.gradients(tmp_path / "m.yaml", {"x": np.full((2, 1), 3)}, loss="sum")
    assert [np.asarray(found[name]).item() for name in ("a/kernel", "b/kernel")] == [6, 6]
    with pytest.raises(AddressError, match=r"the loss mse requires a model with one output \(got 2 outputs of m\)"):
        pc.gradients(tmp_path / "m.yaml", {"x": np.ones((2, 1)), "y": np.ones((2, 1))})


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
    "classes as fractions": (
        {"x": np.ones((3, 3)), "y": np.array([0.5, 1, 1])},
        "cross_entropy",
        r"classes from 0 to 3 \(got 0.5\)",
    ),
}


BAD_TARGETS = {
    "a negative probability": (np.full((3, 4), -0.1), "cross_entropy", r"probabilities from 0 to 1 \(got -0.1"),
    "more than 1": (np.full((3, 4), 2), "cross_entropy", r"probabilities from 0 to 1 \(got 2\)"),
    "a real number": (np.full((3, 4), 1.5), "binary_cross_entropy", r"probabilities from 0 to 1 \(got 1.5\)"),
    "NaN": (np.array([[0.0] * 4, [0.0] * 4, [np.nan] * 4]), "mse", r"the targets must be finite \(got nan in row 2\)"),
    "an infinite class": (np.array([1, np.inf, 0]), "cross_entropy", r"finite \(got inf in row 1\)"),
    "beyond float32": (np.full((3, 4), 1e50), "mse", r"must be finite|range of float32 \(got 1e\+50 in row 0\)"),
    "text": (np.full((3, 4), "a"), "mse", "real numbers"),
    "no rows": (np.ones((0, 4)), "mse", "must have 3 rows"),
}
REFUSED |= {f"targets: {kind}": ({"x": np.ones((3, 3)), "y": y}, *rule) for kind, (y, *rule) in BAD_TARGETS.items()}
BAD_INPUTS = {
    "NaN": (np.array([[1, 1, 1], [1, np.nan, 1]]), r"the input 'input' must be finite \(got nan in row 1\)"),
    "infinity": (np.array([[1, 1, -np.inf], [1, 1, 1]]), r"must be finite \(got -inf in row 0\)"),
    "no rows": (np.ones((0, 3)), r"the loss mse requires examples \(got 0 rows\)"),
}
REFUSED |= {
    f"inputs: {kind}": ({"x": x, "y": np.ones((len(x), 4))}, "mse", words) for kind, (x, words) in BAD_INPUTS.items()
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


@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_json_has_null_for_norms_that_are_not_finite(kind: str, tmp_path: Path, paramctl: Run) -> None:
    """JSON has no infinities; the csv format shows them."""
    (tmp_path / "m.yaml").write_text(
        "name: m\ninput: [2]\nlayers:\n  - dense: {name: a, units: 1, kernel_initializer: zeros}\n"
    )
    np.save(tmp_path / "x.npy", np.full((4, 2), 3e38, "float32"))
    words = ("grad", "m.yaml", "--loss", "sum", "--data", "x.npy", "--format")
    done = paramctl(*words, kind)
    assert (done.returncode, done.stderr) == (0, "the loss sum is 0\n")
    rows = json.loads(done.stdout) if kind == "json" else [*map(json.loads, done.stdout.splitlines())]
    assert (rows[0]["norm"], rows[1]["norm"]) == (None, 4.0)
    assert ",inf," in paramctl(*words, "csv").stdout


def test_a_model_without_trainable_parameters_has_no_gradients(tmp_path: Path, paramctl: Run) -> None:
    (tmp_path / "m.yaml").write_text("name: m\ninput: [2]\nlayers:\n  - relu\n")
    done = paramctl("grad", "m.yaml", "--loss", "sum", "--format", "json")
    assert (done.returncode, done.stdout) == (0, "[]\n")
    assert done.stderr.count("\n") == 1
