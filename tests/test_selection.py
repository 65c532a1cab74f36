"""Addresses: what each form means in a model, where a malformed one is wrong, and how they are completed."""

import json
import re
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from paramctl.address.quoting import address_of
from paramctl.address.rename import renamer
from paramctl.address.resolve import Filters, resolve, resolve_all, subtree_matcher
from paramctl.cli import all_commands
from paramctl.core.indexing import Selection, Slice, parse_slice, select, slice_text
from paramctl.declare.located import Located
from paramctl.edit.document_edit import with_model_ties
from paramctl.edit.tie import add_ties, remove_ties
from paramctl.errors import AddressError
from paramctl.init.rules import InitRequest, LocatedScheme, Rule, assign_schemes
from paramctl.inspect.summary import summarize
from paramctl.model import Model, from_bytes, load
from paramctl.store.checkpoint import build_model, stored_parameter
from tests import forks
from tests.conftest import ROOT, Call, Run, model

SAMPLE = {path.stem: str(path) for path in (ROOT / "sample_models").glob("*.yaml")}
MLP, RGNET = SAMPLE["mlp"], SAMPLE["rgnet"]
FILTERED = (
    "input: [4]\nlayers:\n  - dense: {name: a, units: 4}\n  - dense: {name: b, units: 2, trainable: false}\n"
    "  - batch_normalization: {name: n}\n"
)
TIED = (
    "input: [4]\nlayers:\n  - dense: {name: a, units: 4}\n  - dense: {name: b, units: 4}\n"
    "ties: [{keep: a/kernel, tie: b/kernel}]\n"
)


def flat(*names: str) -> Model:
    """The model of a file that holds arrays of these names."""
    return build_model("m", {name: stored_parameter(name, (2,), "float32") for name in names}, ())[0]


def paths(of: Model, text: str) -> list[str]:
    return resolve(of, text).paths


# What each form means

BLOCKS = [f"block2/block-{k}/dense/{name}" for k in range(4) for name in ("kernel", "bias")]
FORMS = {
    "block2/block-1/dense/bias": BLOCKS[3:4],
    "  block2/block-1/dense/bias ": BLOCKS[3:4],
    "block2": BLOCKS,
    "block2/block-3": BLOCKS[6:],
    "block2/*/dense/bias": BLOCKS[1::2],
    "block?/block-?/*/b*s": BLOCKS[1::2],
    "b*": BLOCKS,
    "*": [*BLOCKS, "dense/kernel", "dense/bias"],
    "**": [*BLOCKS, "dense/kernel", "dense/bias"],
    "**/kernel": [*BLOCKS[::2], "dense/kernel"],
    "**/block-2/**": BLOCKS[4:6],
    "block2/**/bias": BLOCKS[1::2],
    "**/dense/kernel": [*BLOCKS[::2], "dense/kernel"],
    "0/1/1/bias": None,
    "0/1/0/bias": BLOCKS[3:4],
    "0/1/-1/bias": BLOCKS[3:4],
    "block2/1/dense/bias": BLOCKS[3:4],
    "0/*/dense/1": BLOCKS[1::2],
    "-1/kernel": ["dense/kernel"],
    "-1": ["dense/kernel", "dense/bias"],
    "-1/-1": ["dense/bias"],
    "-2/-4/-1/-2": BLOCKS[0:1],
    "block2/**/-1": BLOCKS[1::2],
    "layers[0].layers[1].weights[1]": BLOCKS[3:4],
    "layers[0].layers[-1].dense.bias": BLOCKS[7:],
    "layers[1].kernel": ["dense/kernel"],
    "layers[-1]": ["dense/kernel", "dense/bias"],
    "layers[0].weights[3]": BLOCKS[3:4],
    "weights[1]": BLOCKS[1:2],
    "weights[-1]": ["dense/bias"],
    "re:.*bias": [*BLOCKS[1::2], "dense/bias"],
    "re:dense/(kernel|bias)": ["dense/kernel", "dense/bias"],
    "re:(?i)DENSE/.*": ["dense/kernel", "dense/bias"],
    "re:dense": None,
    "'block2'/block-1/\"dense\"/bias": BLOCKS[3:4],
    "'block*'": None,
    "'0'": None,
}
"""In D2L's rgnet with its flattening layers taken out; None: nothing is meant."""


@pytest.fixture(scope="module")
def rgnet() -> Model:
    """Blocks of a dense layer alone, so that a place in a file and one in the document are the same."""
    return model(Path(RGNET).read_text().replace("      - flatten\n", ""))


@pytest.mark.parametrize(("text", "means"), FORMS.items(), ids=list(FORMS))
def test_each_form(text: str, means: list[str] | None, rgnet: Model) -> None:
    if means is None:
        with pytest.raises(AddressError, match="has no parameter with this name"):
            resolve(rgnet, text)
    else:
        assert paths(rgnet, text) == means


def test_the_chapters_address_counts_layers_without_parameters_too() -> None:
    """``rgnet.layers[0].layers[1].layers[1].weights[1]``: the layer at 0 in each block flattens."""
    whole = load(RGNET)
    for text in ("layers[0].layers[1].layers[1].weights[1]", "0/1/1/bias", "0/1/1/1", "layers[0].layers[1].weights[1]"):
        assert paths(whole, text) == ["block2/block-1/dense/bias"]
    with pytest.raises(AddressError):
        resolve(whole, "layers[0].layers[1].layers[0].weights[0]")


@pytest.mark.parametrize("name", ["chimera", "gpt2", "resnet50", "tied_mlp"])
def test_every_path_of_a_sample_means_itself(name: str) -> None:
    of = load(SAMPLE[name])
    for path in of.parameters:
        assert paths(of, path) == [path]
    for place, path in enumerate(of.parameters):
        if place % 37 == 0:
            assert paths(of, f"weights[{place}]") == [path], "in Keras' order"


def test_a_slice_may_follow_every_form(rgnet: Model) -> None:
    for text in ("-1/kernel", "layers[1].weights[0]", "weights[8]", "dense/kernel", "'dense'/'kernel'", "*/kernel"):
        found = resolve(rgnet, f"{text}[0, :2]")
        assert (found.paths, found.indices) == (["dense/kernel"], (0, Slice(None, 2))), text
    assert resolve(rgnet, "re:dense/kernel").indices is None


# Names against places


def test_a_name_beats_a_place() -> None:
    """As in torch's Sequential, whose layers that have parameters are called 0, 2, 4."""
    of = flat("0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias")
    assert paths(of, "2.weight") == ["2.weight"], "the name, though the layer at 2 is 4"
    assert paths(of, "2/weight") == ["2.weight"]
    assert paths(of, "2") == ["2.weight", "2.bias"]
    assert paths(of, "1.weight") == ["2.weight"], "no layer is called so: the place"
    assert paths(of, "-1.weight") == ["4.weight"]
    assert paths(of, "layers[2].weights[0]") == ["4.weight"]
    assert paths(of, "'2'.weight") == ["2.weight"]
    with pytest.raises(AddressError):
        resolve(of, "'1'.weight")


def test_a_name_beats_a_place_in_a_file(call: Call, tmp_path: Path) -> None:
    arrays = {f"{k}.{name}": np.full(2, k, "float32") for k in (0, 2, 4) for name in ("weight", "bias")}
    save_file(arrays, tmp_path / "m.safetensors")
    for text, value in (("2.weight", 2), ("1.weight", 2), ("-1/bias", 4), ("layers[2].bias", 4), ("0.weight", 0)):
        assert call("dump", "m.safetensors", text)[1] == f"[{value}. {value}.]\n", text


@pytest.mark.parametrize("name", ["weights", "layers"])
def test_an_array_called_as_in_pythons_form_can_be_sliced(name: str) -> None:
    """``weights[0]`` is a slice where an array is called weights: a name beats a place."""
    of = flat("a", name)
    assert resolve(of, f"{name}[0]") == ([name], (0,), False)


def test_quotes_reach_names_with_special_characters() -> None:
    names = ["weights", "a[0]", "re:x", "it's", '"q"', " lead", "a*", "**", "?", "", "-1", "0", "é", "a\nb", "\x1b[1m"]
    of = flat(*names)
    for name in names:
        quote = '"' if "'" in name else "'"
        assert resolve(of, f"{quote}{name}{quote}") == ([name], None, False), name
        assert resolve(of, f"{quote}{name}{quote}[1]") == ([name], (1,), False), name
    assert paths(of, "a*") == ["a[0]", "a*", "a\nb"], "without quotes it is a pattern"


@pytest.mark.parametrize(
    ("names", "separator"),
    [
        (["a.b", "c"], "."),
        (["a.b", "c/d"], "/"),
        (["a", "b"], "/"),
    ],
)
def test_a_dot_separates_where_no_name_has_a_slash(names: list[str], separator: str) -> None:
    of = flat(*names)
    assert of.separator == separator
    assert all(paths(of, name) == [name] for name in names)
    if separator == ".":
        assert paths(of, "a/b") == paths(of, "a.*") == paths(of, "**/b") == paths(of, "a") == ["a.b"]
    elif "a.b" in names:
        with pytest.raises(AddressError):
            resolve(of, "a/b")
        with pytest.raises(AddressError):
            resolve(of, "a")


# Ties and layers that are used twice


def test_either_name_of_a_tied_pair(call: Call) -> None:
    of = load(SAMPLE["gpt2"])
    assert paths(of, "head/kernel") == paths(of, "-1/0") == ["head/kernel"]
    assert paths(of, "tokens/embeddings") == paths(of, "layers[0]") == ["tokens/embeddings"]
    small = [each for name in ("width=4", "depth=1", "heads=2", "vocabulary=6", "context=3") for each in ("-D", name)]
    dumped = [call("dump", SAMPLE["gpt2"], text, "--format", "json", *small)[1] for text in ("tokens", "head/kernel")]
    tokens, head = (np.array(next(iter(json.loads(text).values()))) for text in dumped)
    assert tokens.shape == (6, 4)
    assert np.array_equal(tokens.T, head)


@pytest.mark.parametrize("text", ["layers[2].weights[0]", "2/kernel", "layers[2].kernel", "2/0"])
def test_a_layer_used_again_has_its_parameters_at_both_places(text: str) -> None:
    """D2L compares ``net.layers[1].weights[0]`` with ``net.layers[2].weights[0]``: one array."""
    of = load(SAMPLE["tied_mlp"])
    assert paths(of, text.replace("2", "1", 1)) == paths(of, text) == ["shared/kernel"]
    assert paths(of, "weights[2]") == ["dense/kernel"], "among all weights it counts once"
    assert paths(load(SAMPLE["chimera"]), "layers[2].layers[4].weights[1]") == ["fancy_mlp/shared/bias"]
    assert paths(load(SAMPLE["fancy_mlp"]), "4") == ["shared/kernel", "shared/bias"]


def test_weights_are_counted_in_the_order_of_the_model() -> None:
    """A layer's own come before those of the layers in it, as in Keras, and as they are listed everywhere else."""
    of = flat("a/k", "a/inner/k", "a/b")
    assert [paths(of, f"weights[{k}]") for k in range(3)] == [[path] for path in of.parameters]
    assert [paths(of, f"layers[0].weights[{k}]") for k in range(3)] == [[path] for path in of.parameters]


# Order, repeats, filters


def test_the_models_order_and_no_repeats(rgnet: Model) -> None:
    asked = ["dense/bias", "**/bias", "block2/block-0", "-1/bias", "weights[0]"]
    assert resolve_all(rgnet, asked) == [(path, None) for path in [*BLOCKS[:2], *BLOCKS[3::2], "dense/bias"]]


def test_slices_are_named_by_their_indices(rgnet: Model) -> None:
    asked = ["dense/kernel[0]", "dense/kernel[ 0 ]", "weights[-2][0]", "dense/kernel[0, :]", "dense/kernel"]
    found = resolve_all(rgnet, asked)
    assert found == [("dense/kernel", indices) for indices in ((0,), (0, Slice()), None)]


def test_without_an_address_each_array_once() -> None:
    assert [path for path, _ in resolve_all(model(TIED), [])] == ["a/kernel", "a/bias", "b/bias"]


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ("--trainable", "a/kernel a/bias n/gamma n/beta"),
        ("--frozen", "b/kernel b/bias n/moving_mean n/moving_variance"),
        ("--kind weight", "a/kernel b/kernel"),
        ("--kind norm", "n/gamma n/beta"),
        ("--kind state", "n/moving_mean n/moving_variance"),
        ("--kind bias --trainable", "a/bias"),
        ("--min-size 5", "a/kernel b/kernel"),
        ("--min-size 8 --frozen", "b/kernel"),
        ("--min-size 9 --dtype float32", "a/kernel"),
        ("b n --kind bias", "b/bias"),
        ("**[0] --frozen --min-size 3", "b/kernel"),
    ],
)
def test_filters(options: str, left: str, call: Call, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(FILTERED)
    code, out, err = call("dump", "m.yaml", *options.split(), "--format", "jsonl")
    assert code == 0, err
    assert [json.loads(line)["path"] for line in out.splitlines()] == left.split()


def test_filters_select_the_assigned_parameters(call: Call, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(FILTERED)
    code, _, err = call("set", "m.yaml", "** = 7", "--frozen", "--min-size", "3", "-o", "m.safetensors", "-q")
    assert (code, err) == (0, "")
    dumped = json.loads(call("dump", "m.safetensors", "--format", "json")[1])
    assert {path for path, values in dumped.items() if np.all(np.array(values) == 7)} == {"b/kernel"}


@pytest.mark.parametrize("command", ["dump", "set"])
def test_filters_that_leave_nothing_are_one_line(command: str, call: Call, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(FILTERED)
    what = ["b"] if command == "dump" else ["b = 1", "--dry-run"]
    code, out, err = call(command, "m.yaml", *what, "--trainable")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "no selected parameter passes the filters" in err


def test_unrecorded_facts_pass_no_filter(call: Call, tmp_path: Path) -> None:
    save_file({"w": np.ones(2, "float32"), "h": np.ones(2, "float16")}, tmp_path / "m.safetensors")
    assert call("dump", "m.safetensors", "--trainable")[0] == 2
    assert call("dump", "m.safetensors", "--kind", "weight")[0] == 2
    assert call("dump", "m.safetensors", "--dtype", "float16")[1] == "[1. 1.]\n"


def test_filters_are_met_all_together() -> None:
    every = model(FILTERED).parameters.values()
    assert all(map(Filters(), every))
    assert [each.path for each in every if Filters(False, "float32", "weight", 8)(each)] == ["b/kernel"]


# An address that begins with a minus sign

MINUS = {
    "dump": (["dump", "t.yaml", "-2/bias"], "[0. 0. 0. 0.]\n"),
    "dump, after a flag": (["dump", "t.yaml", "--full", "-2/bias"], "[0. 0. 0. 0.]\n"),
    "dump, before an option": (["dump", "t.yaml", "-2/bias[:1]", "--format", "csv"], "a/bias,0,0.0"),
    "dump, after two dashes": (["dump", "t.yaml", "--", "-2/bias[1]"], "0.\n"),
    "summary": (["summary", "t.yaml", "-1", "--format", "csv"], "b,dense"),
    "set": (["set", "t.yaml", "-1/bias=1", "--dry-run", "--format", "csv"], "b/bias,"),
    "set, with spaces": (["set", "t.yaml", "-1 += 1", "--dry-run", "--format", "csv"], "b/bias,"),
    "set, with a slice": (["set", "t.yaml", "-1/0[0] *= 2", "--dry-run", "--format", "csv"], "b/kernel,"),
    "tie": (["tie", "t.yaml", "-2/bias", "-1/bias", "-o", "-"], "{keep: a/bias, tie: b/bias}"),
    "untie": (["untie", "t.yaml", "-1/kernel", "-o", "-"], "ties: []"),
    "freeze": (["freeze", "t.yaml", "-2/bias", "-2/kernel", "-o", "-"], "trainable: false"),
    "init": (["init", "t.yaml", "--rule", "-1/bias=constant:3", "--dry-run", "--format", "csv"], "constant"),
}


@pytest.mark.parametrize(("arguments", "shows"), MINUS.values(), ids=list(MINUS))
def test_an_address_may_begin_with_a_minus_sign(arguments: list[str], shows: str, call: Call, tmp_path: Path) -> None:
    """In every command that takes addresses, wherever it stands; only before a digit, so that options stay options."""
    (tmp_path / "t.yaml").write_text(TIED)
    code, out, err = call(*arguments)
    assert code == 0, err
    assert shows in out


def test_an_option_keeps_a_negative_number_and_a_wrong_option_is_one(call: Call) -> None:
    code, _, err = call("dump", MLP, "--seed", "-1")
    assert code == 2
    assert "must be a whole number from 0 to 2^63 - 1" in err
    assert "No such option" in call("dump", MLP, "-x/kernel")[2]


def test_a_file_may_be_called_so_after_two_dashes(call: Call, tmp_path: Path) -> None:
    save_file({"w": np.ones(2, "float32")}, tmp_path / "-1.safetensors")
    assert call("dump", "--", "-1.safetensors", "w")[1] == "[1. 1.]\n"


def test_an_assignment_is_shown_as_it_was_written(call: Call) -> None:
    _, out, _ = call("set", MLP, "-1/bias = 1", "--dry-run", "--format", "json")
    assert json.loads(out)[0]["assignment"] == "-1/bias = 1"


# What means nothing


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("2", "rgnet has 2 layers."),
        ("-3/kernel", "rgnet has 2 layers."),
        ("0/4", "block2 has 4 layers."),
        ("block2/-5/dense", "block2 has 4 layers."),
        ("layers[7]", "rgnet has 2 layers."),
        ("layers[0].layers[9].bias", "block2 has 4 layers."),
        ("weights[10]", "rgnet has 10 weights."),
        ("layers[0].weights[-9]", "block2 has 8 weights."),
        ("dense/2", "dense has 2 parameters."),
        ("block2/block-1/dens/bias", "Did you mean 'block2/block-1/dense/bias'?"),
        ("dense/Kernel", "Did you mean 'dense/kernel'?"),
        (
            "zzz",
            "Known names: block2/block-0/dense/kernel, block2/block-0/dense/bias, block2/block-1/dense/kernel, and",
        ),
    ],
)
def test_an_address_without_a_match_lists_names(text: str, hint: str, rgnet: Model) -> None:
    with pytest.raises(AddressError) as refused:
        resolve(rgnet, text)
    assert str(refused.value).startswith(f"rgnet has no parameter with this name (got {text!r}). {hint}")


def test_a_slice_is_not_a_pattern_of_layers(rgnet: Model) -> None:
    with pytest.raises(AddressError, match="a slice selects values, but whole parameters are required here"):
        subtree_matcher(rgnet, "dense/kernel[0]")
    assert subtree_matcher(rgnet, "-1")("dense/bias")
    assert not subtree_matcher(rgnet, "-1")("block2/block-0/dense/bias")


MALFORMED = {
    "": (1, "a name in an address may not be empty"),
    "   ": (1, "a name in an address may not be empty"),
    "/dense": (1, "a name in an address may not be empty"),
    "dense/": (7, "a name in an address may not be empty"),
    "dense//bias": (7, "a name in an address may not be empty"),
    "[0]": (1, "a name in an address may not be empty"),
    "dense/[0]": (7, "a name in an address may not be empty"),
    "'dense": (1, "a quote must be closed"),
    "dense/\"kernel'": (7, "a quote must be closed"),
    "'dense'kernel": (8, "'/' or '[' must follow a quoted name"),
    "'dense'.kernel": (8, "'/' or '[' must follow a quoted name"),
    "dense/kernel[": (13, "a slice must end with ']'"),
    "dense/kernel[0": (14, "a slice must end with ']'"),
    "dense/kernel[0]x": (16, "a slice must end with ']'"),
    "dense/kernel[0]/x": (17, "a slice must end with ']'"),
    "layers[0": (8, "a slice must end with ']'"),
    "layers[0].": (10, "a slice must end with ']'"),
    "dense/kernel[]": (14, "a slice must contain an index, a:b, or ..."),
    "dense/kernel[ ]": (14, "a slice must contain an index, a:b, or ..."),
    "dense/kernel[x]": (14, "an index must be an integer, a:b, a:b:step, or ..."),
    "dense/kernel[1.5]": (14, "an index must be an integer, a:b, a:b:step, or ..."),
    "dense/kernel[0, x]": (17, "an index must be an integer, a:b, a:b:step, or ..."),
    "dense/kernel[0,,1]": (16, "an index must be an integer, a:b, a:b:step, or ..."),
    "dense/kernel[0 1]": (14, "an index must be an integer, a:b, a:b:step, or ..."),
    "dense/kernel[1:2:3:4]": (14, "an index must be an integer, a:b, a:b:step, or ..."),
    "dense/kernel[None]": (14, "an index must be an integer, a:b, a:b:step, or ..."),
    "dense/kernel[12345678901234567890]": (14, "an index must be an integer, a:b, a:b:step, or ..."),
    "dense/kernel[::0]": (14, "the step of a slice may not be 0"),
    "dense/kernel[0, ::-0]": (16, "the step of a slice may not be 0"),
    "dense/kernel[..., ...]": (13, "a slice may have at most one '...'"),
    "re:(": (4, "invalid regular expression: missing ), unterminated subpattern"),
    "re:ab)": (6, "invalid regular expression: unbalanced parenthesis"),
    "re:*": (4, "invalid regular expression: nothing to repeat"),
}


@pytest.mark.parametrize(("text", "where"), MALFORMED.items(), ids=list(MALFORMED))
def test_a_malformed_address_points_at_the_character(text: str, where: tuple[int, str], rgnet: Model) -> None:
    character, rule = where
    with pytest.raises(AddressError) as refused:
        resolve(rgnet, text)
    assert str(refused.value) == f"{rule} (character {character}) (got {text.strip()!r})"


ADDRESSED = {
    "dump": "{}",
    "set": "{} = 1|--dry-run",
    "stat": "{}",
    "summary": "{}",
    "tie": "{}|dense/bias|-o|-",
    "untie": "{}|-o|-",
    "freeze": "{}|-o|-",
    "unfreeze": "{}|-o|-",
    "save": "{}|-o|-",
    "init": "{}|--dry-run",
    "check": "{}",
    "histogram": "{}",
    "report": "{}|-o|-",
    "sum": "{}",
}
"""The commands that take addresses, and how."""


def test_every_command_that_takes_addresses_is_tried() -> None:
    """Those with an argument beside the file."""
    arguments = {
        command.name: [each.name for each in command.params if each.param_type_name == "argument"]
        for command in all_commands()
    }
    assert ADDRESSED.keys() == {
        name for name, names in arguments.items() if len(names) > 1 and names[0] in ("model", "source")
    }


@pytest.mark.parametrize("text", ["dense//bias", "'dense", "dense/kernel[0", "re:(", "dense/kernel[9]", "0/7"])
@pytest.mark.parametrize("command", ADDRESSED)
def test_a_wrong_address_is_one_line_in_every_command(text: str, command: str, call: Call) -> None:
    code, out, err = call(command, RGNET, *ADDRESSED[command].format(text).split("|"))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "defect" not in err


@pytest.mark.parametrize(
    "text",
    [
        "re:a{99999999999999}",
        "re:" + "(" * 300 + ")" * 300,
        "re:(?P<1>a)",
        "re:\\",
        "re:[z-a]",
        "re:(?<=a+)b",
    ],
    ids=lambda text: text[:20],
)
def test_no_regular_expression_is_a_defect(text: str, rgnet: Model) -> None:
    with pytest.raises(AddressError):
        resolve(rgnet, text)


def test_a_regular_expression_is_never_warned_of(rgnet: Model) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(paths(rgnet, "re:[[a-z].*")) == 10


def test_an_address_has_a_greatest_length(rgnet: Model) -> None:
    with pytest.raises(AddressError, match=r"at most 4,096 characters \(got 5,000"):
        resolve(rgnet, "a" * 5_000)


@pytest.mark.parametrize(
    "text",
    [
        "**/" * 1_300 + "kernel",
        "*?" * 2_000,
        "**/" + "?" * 4_000,
        "*a*" * 1_300,
        "a[" + "0," * 2_000 + "0]",
        "layers[0]." * 400 + "bias",
        "0/" * 2_000 + "0",
        "**/" * 1_300 + "0",
    ],
    ids=lambda text: text[:12],
)
def test_a_huge_address_costs_little(text: str) -> None:
    of = flat(*(f"b{k}/l{j}/kernel" for k in range(20) for j in range(20)))
    begun = time.process_time()
    with suppress(AddressError):
        resolve(of, text)
    assert time.process_time() - begun < 3 * forks.start_cpu()


def test_a_name_of_very_many_parts_is_handled(call: Call, tmp_path: Path) -> None:
    """The limits hold both for an address that matches and for one that is refused."""
    for separator in "./":
        save_file({separator.join("a" * 1_500): np.ones(2, "float32")}, tmp_path / "m.safetensors")
        for arguments in (
            ["dump", "m.safetensors", "**"],
            ["dump", "m.safetensors", "0"],
            ["summary", "m.safetensors"],
        ):
            code, _, err = call(*arguments)
            assert (code in (0, 2), err.count("\n") <= 1, "defect" in err) == (True, True, False), err


def test_a_large_model_costs_little() -> None:
    of = flat(*(f"b{k}/l{j}/kernel" for k in range(100) for j in range(100)))
    begun = time.process_time()
    assert paths(of, "weights[9999]") == paths(of, "99/99/0") == paths(of, "-1/-1/kernel") == ["b99/l99/kernel"]
    assert len(paths(of, "**/0")) == len(paths(of, "**/kernel")) == 10_000
    assert time.process_time() - begun < 25 * forks.start_cpu()


# Completion


def completed(paramctl: Run, line: str) -> list[str]:
    """Return the completions of the last word of a line, as the shell's script requests them."""
    words = {
        "_PARAMCTL_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
    }
    done = paramctl(env=words)
    assert done.stderr == ""
    return [word.removeprefix("plain,") for word in done.stdout.split()]


def test_addresses_complete(paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "model.yaml").write_text(TIED)
    below = ["block2/block-1", "block2/block-1/dense", "block2/block-1/flatten"]
    assert sorted(completed(paramctl, f"paramctl summary {RGNET} block2/block-1")) == sorted(
        [*below, *(f"block2/block-1/dense/{name}" for name in ("kernel", "bias"))]
    )
    save_file({"0.weight": np.ones(2, "float32"), "0.bias": np.ones(2, "float32")}, tmp_path / "m.safetensors")
    assert sorted(completed(paramctl, "paramctl dump m.safetensors 0.")) == ["0.bias", "0.weight"]
    assert completed(paramctl, "paramctl dump missing.h5 x") == [], "what cannot be read offers nothing, and no error"
    (tmp_path / "bad.yaml").write_text("layers: 3\n")
    assert completed(paramctl, "paramctl dump bad.yaml x") == []


@pytest.mark.parametrize("line", ["set m.yaml b/b", "tie m.yaml b/b", "tie m.yaml a/bias b/b", "untie m.yaml b/b"])
def test_addresses_complete_where_they_are_edited(line: str, paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(TIED)
    assert completed(paramctl, f"paramctl {line}") == ["b/bias"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_itself_completes_an_address(tmp_path: Path) -> None:
    """The script of ``paramctl completion bash``, asked as TAB asks it."""
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin/paramctl"
    command.write_text(f'#!/bin/sh\nexec {forks.shell_command()} "$@"\n')
    command.chmod(0o755)
    script = (
        f'export PATH="{command.parent}:$PATH" PYTHONPATH="{ROOT}"\neval "$(paramctl completion bash)"\n'
        f"COMP_WORDS=(paramctl dump {MLP} dense_1/k)\nCOMP_CWORD=3\n_paramctl_completion paramctl\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("dense_1/kernel\n", "")


# Whatever the names, the places, the slices and the texts

PLAIN = st.text("abk019_-+é", min_size=1, max_size=4).filter(lambda name: not name.startswith("re:"))
ODD = st.text(st.characters(exclude_characters="/\"'", exclude_categories=["Cs"]), min_size=1, max_size=5)


def paths_of(names: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.lists(names, min_size=1, max_size=4).map("/".join), min_size=1, max_size=8, unique=True)


@given(paths_of(PLAIN), st.data())
def test_any_path_means_itself(names: list[str], data: st.DataObject) -> None:
    """Of plain names, digits included, whatever else there is, a group of the same name included."""
    of = flat(*names)
    assert sorted(of.parameters) == sorted(names)
    path = data.draw(st.sampled_from(names))
    assert resolve(of, path) == ([path], None, False)
    assert resolve(of, f"{path}[-1]") == ([path], (-1,), False)


@given(paths_of(ODD), st.data())
def test_any_path_in_quotes_means_itself(names: list[str], data: st.DataObject) -> None:
    of = flat(*names)
    path = data.draw(st.sampled_from(names))
    assume(of.separator == "/")
    quoted = "/".join(f"'{name}'" for name in path.split("/"))
    assert resolve(of, quoted) == ([path], None, False)
    assert resolve(of, f"{quoted}[0:1]") == ([path], (Slice(0, 1),), False)
    assert path in paths(of, f"re:(?:{re.escape(path)})")


Tree = dict[str, "Tree | None"]
NAMES = st.text("abcxyz", min_size=1, max_size=3)
ARRAYS: st.SearchStrategy[Tree] = st.dictionaries(NAMES, st.none(), min_size=1, max_size=3)
TREES: st.SearchStrategy[Tree] = st.recursive(
    ARRAYS, lambda inner: st.dictionaries(NAMES, inner, min_size=1, max_size=3), max_leaves=8
)


def leaves(tree: Tree, *names: str) -> Iterator[tuple[str, ...]]:
    """The names that lead to each array."""
    for name, inner in tree.items():
        if inner is None:
            yield (*names, name)
        else:
            yield from leaves(inner, *names, name)


@given(TREES, st.data())
def test_any_path_by_its_places(tree: Tree, data: st.DataObject) -> None:
    """From either end, as segments and as Python has it, and counted among all weights from each block on."""
    every = list(leaves(tree))
    of = flat(*map("/".join, every))
    wanted = data.draw(st.sampled_from(every))
    path = "/".join(wanted)
    forward, backward, here = [], [], tree
    for name in wanted:
        place = list(here).index(name)
        forward.append(place)
        backward.append(place - len(here))
        here = here[name] or {}
    for places in (forward, backward):
        assert paths(of, "/".join(map(str, places))) == [path]
        layers = [f"layers[{place}]" for place in places]
        assert paths(of, ".".join([*layers[:-1], f"weights[{places[-1]}]"] if len(places) > 1 else layers)) == [path]
    for depth in range(len(wanted)):
        below = [each for each in every if each[:depth] == wanted[:depth]]
        layers = [f"layers[{place}]" for place in forward[:depth]]
        assert paths(of, ".".join([*layers, f"weights[{below.index(wanted)}]"])) == [path]
    mixed = [data.draw(st.sampled_from(pair)) for pair in zip(wanted, map(str, forward), strict=True)]
    assert paths(of, "/".join(mixed)) == [path]


def written(index: object) -> str:
    """An index as NumPy's users write it."""
    if isinstance(index, slice):
        ends = [index.start, index.stop, *([] if index.step is None else [index.step])]
        return ":".join("" if end is None else str(end) for end in ends)
    return "..." if index is Ellipsis else str(index)


ENDS = st.none() | st.integers(-7, 7) | st.sampled_from([10**17, -(10**17)])
INDICES = st.lists(
    st.integers(-6, 6)
    | st.just(...)
    | st.builds(slice, ENDS, ENDS, st.none() | st.integers(-4, 4) | st.just(10**17))
    | st.just(slice(None)),
    min_size=1,
    max_size=5,
)


@given(st.lists(st.integers(0, 5), max_size=4).map(tuple), INDICES, st.sampled_from(["", " "]))
@settings(max_examples=400)
def test_a_slice_selects_the_values_of_numpy(shape: tuple[int, ...], indices: list[object], space: str) -> None:
    """The same values in the same shape, and an error exactly where NumPy has one."""
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    text = f"[{space}{f'{space},{space}'.join(map(written, indices))}{space}]"
    try:
        expected = np.asarray(array[tuple(indices)])
    except (IndexError, ValueError):
        with pytest.raises(AddressError):
            select(parse_slice(text, 1, f"w{text}"), shape, "w")
        return
    parsed = parse_slice(text, 1, f"w{text}")
    selection = select(parsed, shape, "w")
    found = array[np.ix_(*selection.ranges)].reshape(selection.shape)
    assert (selection.shape, selection.size) == (expected.shape, expected.size)
    assert np.array_equal(found, expected)
    assert not selection.everything or np.array_equal(found.reshape(-1), array.reshape(-1))
    assert parse_slice(f"[{slice_text(parsed)}]", 1, "") == parsed, "as it is written again"


def test_without_a_slice_everything_is_picked() -> None:
    assert select(None, (2, 0), "w") == Selection((range(2), range(0)), (False, False), True)
    assert select(None, (), "w").size == 1


GRAMMAR = st.text("abw[]0123456789:.-/*?'\" ,layers()\\é\n", max_size=30)


@given(st.text(max_size=50) | GRAMMAR | st.tuples(GRAMMAR, st.integers(1, 300)).map(lambda each: each[0] * each[1]))
@settings(max_examples=500)
def test_any_text_is_an_address_or_an_error_and_quickly(text: str) -> None:
    of = flat("a/b/w", "a/1/w", "w", "a/b/a")
    assume(not text.strip().startswith("re:"))
    begun = time.process_time()
    for means in (resolve, subtree_matcher):
        try:
            means(of, text)
        except AddressError as error:
            assert str(error)
    assert time.process_time() - begun < 5 * forks.start_cpu()


def document_of(count: int) -> Model:
    """A document of a layer for each name, each tied to the first in a line of its own."""
    layers = "".join(f"  - dense: {{units: 1, use_bias: false, name: d{number}}}\n" for number in range(count))
    ties = "".join(f"  - {{keep: d0/kernel, tie: d{number}/kernel}}\n" for number in range(1, count))
    return from_bytes(f"input: [1]\nlayers:\n{layers}ties:\n{ties}".encode(), "m.yaml")


def tied_file(count: int) -> Model:
    file = flat(*names_of(count))
    return add_ties(file, "l.0.w", names_of(count)[1:])


def names_of(count: int) -> list[str]:
    return [f"l.{number}.w" for number in range(count)]


def untie_in_a_document(of: Model) -> Callable[[], object]:
    paths = [*of.parameters][1:]
    return lambda: with_model_ties(of, remove_ties(of, paths))


NAMING: dict[str, Callable[[int], Callable[[], object]]] = {
    "resolve": lambda count: lambda: resolve_all(flat(*names_of(count)), names_of(count)),
    "resolve blocks": lambda count: lambda: resolve_all(flat(*names_of(count)), [f"l.{n}" for n in range(count)]),
    "resolve indices": lambda count: lambda: resolve_all(flat(*names_of(count)), [f"0/{n}/0" for n in range(count)]),
    "resolve weights": lambda count: (
        lambda: resolve_all(flat(*names_of(count)), [f"weights[{n}]" for n in range(count)])
    ),
    "tie": lambda count: lambda: tied_file(count),
    "untie": lambda count: (lambda file: lambda: remove_ties(file, names_of(count)[1:]))(tied_file(count)),
    "untie in a document": lambda count: untie_in_a_document(document_of(count)),
    "summary": lambda count: lambda: summarize(flat(*names_of(count)), names_of(count), schemes={}),
    "--rename": lambda count: lambda: renamer([f"{name}={name}2" for name in names_of(count)], flat(*names_of(count))),
    "--rule": lambda count: (
        lambda: assign_schemes(
            flat(*names_of(count)),
            InitRequest(tuple(Rule(name, LocatedScheme(Located("zeros"))) for name in names_of(count))),
            stored=True,
        )
    ),
}


def operations(call: Callable[[], object]) -> int:
    """Return the number of bytecode instructions of a call."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Callable[..., object]:
        nonlocal count
        count += event == "opcode"
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return trace

    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(None)
    return count


@pytest.mark.parametrize("name", NAMING)
def test_names_one_by_one_take_time_in_proportion(name: str) -> None:
    """Four times as many names in a file of four times as many arrays take four times the steps, not sixteen."""
    small, large = (operations(NAMING[name](count)) for count in (100, 400))
    assert large < 4.6 * small


@pytest.mark.parametrize("quote", ["'", '"'])
@pytest.mark.parametrize("separator", ["/", "."])
def test_quotes_may_hold_a_whole_path(separator: str, quote: str) -> None:
    """With any of its names, or all, in quotes; and with names that are empty."""
    path = separator.join(["base", "x[0]", "a*", "w"])
    empty = separator.join(["", "a", "", "w"])
    other = separator.join(["base", "x[0]", "ab", "w"])
    file = flat(path, empty, other)
    assert file.separator == separator
    assert paths(file, f"{quote}{path}{quote}") == [path]
    assert paths(file, f"{quote}{empty}{quote}[0]") == [empty]
    assert paths(file, f"base{separator}{quote}x[0]{separator}a*{quote}{separator}w") == [path]
    assert paths(file, f"{quote}base{separator}x[0]{quote}{separator}a?{separator}w") == [path, other]
    assert address_of(empty, separator) == f"'{empty}'"
