"""paramctl freeze and unfreeze: which parameters are trainable, in documents as they are laid out, and in files."""

import difflib
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import paramctl as pc
from paramctl.address.resolve import resolve_whole
from paramctl.store.format import Format
from paramctl.store.registry import FORMATS
from tests.conftest import SAMPLES, Call
from tests.samples import SAMPLES as READ_ONLY

HEAD = "input: [4]  # four\nlayers:\n"
TWO = f"{HEAD}  - dense: {{name: a, units: 4}}  # first\n  - batch_normalization: {{name: n}}\n  - dense: {{name: b, units: 2}}\n"


def flags(path: str | Path) -> dict[str, bool | None]:
    """Return trainable of each parameter, as its array has it."""
    source = pc.load_model(path) if str(path).endswith(".yaml") else pc.open(path).model
    return {name: source.owner(name).trainable for name in source.parameters}


def frozen(path: str | Path) -> set[str]:
    return {name for name, trainable in flags(path).items() if trainable is False}


# Documents: the layout of an entry, the pattern, and the lines that are written instead

LAYOUTS = {
    "a flow mapping": ("  - dense: {units: 4}  # c\n", "dense/*", ["  - dense: {units: 4, trainable: false}  # c\n"]),
    "an empty mapping": (
        "  - batch_normalization: {}\n",
        "batch*/**",
        ["  - batch_normalization: {trainable: false}\n"],
    ),
    "the main option": ("  - dense: 4   # c\n", "dense/*", ["  - dense: {units: 4, trainable: false}   # c\n"]),
    "options in order": (
        "  - reshape: [2, 2, 1]\n  - conv2d: [8, 2]\n",
        "conv2d/*",
        ["  - conv2d: {filters: 8, kernel_size: 2, trainable: false}\n"],
    ),
    "a type alone": (
        "  - batch_normalization  # c\n",
        "batch*/*",
        ["  - batch_normalization: {trainable: false}  # c\n"],
    ),
    "a key alone": ("  - batch_normalization:\n", "batch*/*", ["  - batch_normalization: {trainable: false}\n"]),
    "null": ("  - batch_normalization: ~\n", "batch*/*", ["  - batch_normalization: {trainable: false}\n"]),
    "lines": (
        "  - dense:\n      # c\n      units: 4  # d\n      kernel_initializer:\n        random_uniform: [0, 1]\n",
        "dense/*",
        ["      trainable: false\n"],
    ),
    "lines of CRLF": ("  - dense:\r\n      units: 4\r\n", "dense/*", ["      trainable: false\r\n"]),
    "an expression": ("  - dense: ${2 * 2}\n", "dense/*", ['  - dense: {units: "${2 * 2}", trainable: false}\n']),
    "trainable: true": (
        "  - dense: {trainable: true, units: 4}\n",
        "dense/*",
        ["  - dense: {trainable: false, units: 4}\n"],
    ),
    "a repeated entry": (
        "  - dense: {units: 4, repeat: 2}\n",
        "dense*/*",
        ["  - dense: {units: 4, repeat: 2, trainable: false}\n"],
    ),
    "a block in braces": (
        "  - residual: [dense: 4, dense: 4]\n",
        "residual/**",
        ["  - residual: {layers: [dense: 4, dense: 4], trainable: false}\n"],
    ),
    "the layers of a block in lines": (
        "  - residual:\n      - dense: 4\n      - relu\n",
        "residual/**",
        ["      - dense: {units: 4, trainable: false}\n"],
    ),
    "one use of a custom block": (
        "  - b: 4\n  - b: 4\nblocks:\n  b:\n    options: {w: 1}\n    layers: [dense: '${w}']\n",
        "b/**",
        ["  - b: {w: 4, trainable: false}\n"],
    ),
    "a layer that is reused": (
        "  - dense: {name: s, units: 4}\n  - reuse: s\n",
        "s/*",
        ["  - dense: {name: s, units: 4, trainable: false}\n"],
    ),
}


@pytest.mark.parametrize(("layers", "pattern", "added"), LAYOUTS.values(), ids=list(LAYOUTS))
def test_one_option_goes_into_a_document(layers: str, pattern: str, added: list[str], call: Call) -> None:
    """Only the entry changes, the comments stay, exactly the named arrays are frozen, and unfreeze undoes it."""
    Path("m.yaml").write_bytes(f"{HEAD}{layers}".encode())
    before = flags("m.yaml")
    code, out, err = call("freeze", "m.yaml", pattern, "--in-place")
    assert (code, out) == (0, ""), err
    lines = [text.splitlines(True) for text in (f"{HEAD}{layers}", Path("m.yaml").read_bytes().decode())]
    assert [line[2:] for line in difflib.ndiff(*lines) if line[0] == "+"] == added
    model = pc.load_model("m.yaml")
    owners = {model.owner(path).path for path in resolve_whole(model, pattern, "frozen")}
    changed = {name for name in owners if before[name]}
    assert changed
    assert flags("m.yaml") == before | dict.fromkeys(changed, False)
    assert f"froze {len(changed)} parameter" in err
    assert call("unfreeze", "m.yaml", pattern, "--in-place")[0] == 0
    assert flags("m.yaml") == before


REFUSED = {
    "part of a layer": (
        "  - dense: 4\n",
        "dense/kernel",
        "parameters of dense can only be frozen together",
        "dense/bias",
    ),
    "a layer of a custom block that is used twice": (
        "  - b\n  - b\nblocks: {b: {layers: [dense: 4, layer_normalization: {}]}}\n",
        "b_1/dense/*",
        "which 2 blocks share",
        "b/dense/kernel",
    ),
    "a repetition": ("  - dense: {units: 4, repeat: 2}\n", "dense_1/*", "which 2 blocks share", "dense/kernel"),
    "an expression": (
        "  - dense: {units: 4, trainable: '${t}'}\nvars: {t: true}\n",
        "**",
        "trainable is an expression here",
        "${t}",
    ),
    "an initializer of the layer": (
        "  - dense: 4\ninitializers: {dense/kernel: zeros}\n",
        "**",
        "'initializers' would match frozen parameters only",
        "m.yaml:4:",
    ),
    "an alias": (
        "  - dense: &o\n      units: 4\n  - dense: *o\n",
        "dense/*",
        "cannot edit a document in this layout",
        "dense.",
    ),
    "a tied name": (
        "  - dense: {name: a, units: 4}\n  - dense: {name: b, units: 4}\nties: [{keep: a/kernel, tie: b/kernel}]\n",
        "b/*",
        "parameters of a can only be frozen together",
        "a/bias",
    ),
    "nothing": ("  - dense: 4\n", "bense/*", "no parameter", "bense/*"),
    "a slice": ("  - dense: 4\n", "dense/kernel[0]", "only whole parameters can be frozen", "dense/kernel[0]"),
}


@pytest.mark.parametrize(("layers", "pattern", "rule", "named"), REFUSED.values(), ids=list(REFUSED))
def test_what_a_document_cannot_say_is_refused(layers: str, pattern: str, rule: str, named: str, call: Call) -> None:
    """One line names the layer and the alternative, and the document stays as it was."""
    Path("m.yaml").write_text(f"{HEAD}{layers}")
    code, out, err = call("freeze", "m.yaml", pattern, "--in-place")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert rule in err
    assert named in err
    assert Path("m.yaml").read_text() == f"{HEAD}{layers}"


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_samples_are_frozen_and_unfrozen(sample: Path, call: Call) -> None:
    """Every sample document can be frozen as a whole, and made trainable again, unless its initializers forbid it."""
    shutil.copy(sample, "m.yaml")
    code, _, err = call("freeze", "m.yaml", "**", "-o", "f.yaml")
    if pc.load_model("m.yaml").initializers:
        assert (code, "this pattern of 'initializers' would match frozen parameters only" in err) == (2, True)
        return
    assert code == 0, err
    assert not any(flags("f.yaml").values())
    assert list(pc.load_model("f.yaml").parameters) == list(pc.load_model("m.yaml").parameters)
    code, _, err = call("unfreeze", "f.yaml", "**", "-o", "u.yaml")
    assert code == 0, err
    state = {name for name, each in pc.load_model("u.yaml").parameters.items() if each.kind == "state"}
    assert frozen("u.yaml") == state


def test_state_is_not_made_trainable(call: Call) -> None:
    """A pattern of state alone is an error; among other parameters, state stays as it is and the line says so."""
    Path("m.yaml").write_text(TWO)
    assert call("init", "m.yaml", "-o", "m.h5", "-q")[0] == 0
    for path in ("m.yaml", "m.h5"):
        code, _, err = call("unfreeze", path, "n/moving*", "-o", "-")
        assert (code, "state, such as a moving mean" in err) == (2, True)
    assert call("freeze", "m.yaml", "n/*", "--in-place")[2] == "froze 2 parameters, 8 values; 2 were frozen before\n"
    err = call("unfreeze", "m.yaml", "n/*", "--in-place")[2]
    assert err == "unfroze 2 parameters, 8 values; 2 arrays of state stay as before\n"


def test_a_constant_that_its_layer_declares_is_not_made_trainable(call: Call) -> None:
    document = f"{HEAD}  - expression: {{name: e, formula: x * c, params: {{c: {{shape: [4], trainable: false}}}}}}\n"
    Path("m.yaml").write_text(document)
    assert frozen("m.yaml") == {"e/c"}
    code, _, err = call("unfreeze", "m.yaml", "e/c", "--in-place")
    assert (code, "e/c is declared as not trainable by its layer" in err) == (2, True), err
    assert Path("m.yaml").read_text() == document


# Files

WRITABLE = [format_ for format_ in FORMATS if format_.writable]


@pytest.mark.parametrize("format_", WRITABLE, ids=lambda format_: format_.name)
def test_every_writable_format_records_it_or_refuses(format_: Format, call: Call, tmp_path: Path) -> None:
    """The file says afterwards what is trainable, with the same values; or a line names the format, and nothing changes."""
    Path("m.yaml").write_text(TWO)
    path, select = f"m{format_.suffixes[0]}", "b/*"
    if format_.unnamed:
        np.save(path, np.ones((4, 2), np.float32))
        select = "**"
    else:
        assert call("init", "m.yaml", "-o", path, "-q")[0] == 0
    opened = format_.written_name(path)
    files = {each: each.read_bytes() for each in tmp_path.rglob("*") if each.is_file()}
    values = {name: array[...] for name, array in pc.open(opened).items()}
    code, _, err = call("freeze", opened, select, "--in-place")
    if not format_.records_trainable:
        assert (code, err.count("\n")) == (2, 1)
        assert f"{format_.name} does not record which parameters are trainable" in err
        assert {each: each.read_bytes() for each in tmp_path.rglob("*") if each.is_file()} == files
        return
    assert code == 0, err
    assert "froze 2 parameters, 10 values" in err
    assert frozen(opened) == {"b/kernel", "b/bias", "n/moving_mean", "n/moving_variance"}
    after = pc.open(opened)
    assert all(np.array_equal(after[name], array) for name, array in values.items())
    assert pc.summary(opened).totals.trainable == 28
    code, _, err = call("unfreeze", opened, "b/*", "a/*", "--in-place")
    assert (code, "unfroze 2 parameters, 10 values; 2 were trainable before" in err) == (0, True), err
    assert frozen(opened) == {"n/moving_mean", "n/moving_variance"}


@pytest.mark.parametrize("format_", [each for each in FORMATS if not each.writable], ids=lambda format_: format_.name)
def test_a_format_that_is_only_read_is_frozen_into_another_file(format_: Format, call: Call, tmp_path: Path) -> None:
    """In place is refused with the file unchanged; another file records it."""
    path = READ_ONLY[format_.name](tmp_path)
    files = {each: each.read_bytes() for each in tmp_path.rglob("*") if each.is_file()}
    code, _, err = call("freeze", str(path), "**", "--in-place")
    # a line before it can name what the file has beside its arrays
    assert (code, f"{format_.name} is only read" in err.splitlines()[-1]) == (2, True), err
    assert {each: each.read_bytes() for each in tmp_path.rglob("*") if each.is_file()} == files
    code, _, err = call("freeze", str(path), "**", "-o", "f.safetensors")
    assert code == 0, err
    assert not any(trainable is not False for trainable in flags("f.safetensors").values())


def test_a_file_of_others_gets_a_record(call: Call) -> None:
    """Arrays that are not named stay unknown, readers of safetensors see the same arrays, and metadata stays."""
    arrays = {"a.weight": np.ones((2, 2), np.float32), "n.running_mean": np.zeros(2, np.float32)}
    save_file({**arrays, "n.num_batches_tracked": np.array(3)}, "m.safetensors", {"format": "pt"})
    assert call("freeze", "m.safetensors", "a.weight", "--in-place")[0] == 0
    assert flags("m.safetensors") == {"a.weight": False, "n.running_mean": None, "n.num_batches_tracked": None}
    assert np.array_equal(load_file("m.safetensors")["a.weight"], arrays["a.weight"])
    assert "format" in {row.key for row in pc.metadata("m.safetensors")}
    for name in ("n.running_mean", "n.num_batches_tracked"):
        assert call("unfreeze", "m.safetensors", name, "--in-place")[0] == 2
    assert call("unfreeze", "m.safetensors", "**", "--in-place")[0] == 0
    assert flags("m.safetensors") == {"a.weight": True, "n.running_mean": None, "n.num_batches_tracked": None}


@pytest.mark.parametrize("name", ["t.yaml", "t.safetensors", "t.h5", "t.npz"])
def test_a_tied_array_is_frozen_under_all_names(name: str, call: Call) -> None:
    """The line names the other name of the array, whichever of them was given."""
    Path("t.yaml").write_text(
        f"{HEAD}  - dense: {{name: a, units: 4, use_bias: false}}\n  - dense: {{name: b, units: 4}}\n"
        "ties: [{keep: a/kernel, tie: b/kernel}]\n"
    )
    if name != "t.yaml":
        assert call("init", "t.yaml", "-o", name, "-q")[0] == 0
    code, _, err = call("freeze", name, "b/kernel", "--in-place")
    assert (code, "frozen through a tie: b/kernel (= a/kernel)" in err) == (0, True), err
    assert frozen(name) == {"a/kernel", "b/kernel"}


def test_one_parameter_of_a_layer_is_frozen_in_a_checkpoint_but_not_in_a_keras_file(call: Call) -> None:
    Path("m.yaml").write_text(TWO)
    for name in ("m.safetensors", "m.keras"):
        assert call("init", "m.yaml", "-o", name, "-q")[0] == 0
    before = Path("m.keras").read_bytes()
    assert call("freeze", "m.safetensors", "a/kernel", "--in-place")[0] == 0
    assert "a/kernel" in frozen("m.safetensors")
    assert "a/bias" not in frozen("m.safetensors")
    for source in ("m.keras", "m.safetensors"):
        code, _, err = call("freeze", source, "a/kernel", "-o", "m.keras", "--force")
        assert (code, "a Keras configuration cannot record" in err) == (2, True), err
    assert Path("m.keras").read_bytes() == before


def test_train_leaves_frozen_parameters_unchanged(call: Call) -> None:
    """The arrays frozen in a checkpoint keep their values, and the others change."""
    Path("m.yaml").write_text(TWO)
    rng = np.random.default_rng(0)
    np.savez("d.npz", x=rng.normal(size=(8, 4)).astype(np.float32), y=rng.normal(size=(8, 2)).astype(np.float32))
    assert call("init", "m.yaml", "-o", "m.safetensors", "-q")[0] == 0
    assert call("freeze", "m.safetensors", "a/*", "b/kernel", "--in-place")[0] == 0
    trained = pc.train("m.safetensors", "d.npz", loss="mse", steps=3, learning_rate=0.1)
    before = pc.open("m.safetensors")
    same = {name for name in before if np.array_equal(before[name], trained[name])}
    assert same & {"a/kernel", "a/bias", "b/kernel", "b/bias"} == {"a/kernel", "a/bias", "b/kernel"}


def test_the_library_freezes_models_and_weights(call: Call) -> None:
    """A model stays a model, whose document says it; weights can be opened again from their description."""
    Path("m.yaml").write_text(TWO)
    model = pc.freeze(pc.load_model("m.yaml"), ["a/*"])
    assert model.document is not None
    assert "{name: a, units: 4, trainable: false}" in model.document.text
    assert model.parameters["a/kernel"].trainable is False
    assert pc.unfreeze(model, "a/*").parameters["a/kernel"].trainable is True
    pc.save("m.yaml", "m.h5")
    weights = pc.freeze(pc.open("m.h5"), "a/kernel")
    assert isinstance(weights, pc.Weights)
    again = pc.reopen(weights.describe())
    assert again.model.parameters["a/kernel"].trainable is False
    assert np.array_equal(again["a/kernel"], weights["a/kernel"])
    edited = pc.assign(weights, {"b/bias": 7})
    pc.save(edited, "e.h5")
    assert "a/kernel" in frozen("e.h5")
    with pytest.raises(pc.OutputError, match="does not record which parameters are trainable"):
        pc.save(edited, "e.weights.h5")
    with pytest.raises(pc.AddressError):
        pc.freeze(weights, "nothing")
