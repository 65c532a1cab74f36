"""Sources: one protocol, described in the types of JSON, and reopened from that in another process with the same values."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import paramctl as pc
from paramctl.conversion.convert import convert
from paramctl.conversion.report import Allowed
from paramctl.core.dtypes import Array
from paramctl.core.parameter import Parameter
from paramctl.edit.assign import Assignment, assign
from paramctl.edit.cast_rules import cast_source
from paramctl.edit.combine import combine
from paramctl.edit.merge import merge
from paramctl.edit.reopen import OPERATIONS, reopen
from paramctl.edit.tie import add_ties
from paramctl.errors import InputError
from paramctl.init.rules import InitRequest, Rule, assign_schemes
from paramctl.model import Tie, load
from paramctl.source.base import Description, Source
from paramctl.source.combined import Expression
from paramctl.source.derived import Retied, rename
from paramctl.source.drawn import Drawn
from paramctl.source.from_checkpoint import parse_scheme
from paramctl.source.open import open_checkpoint, open_path, source_of
from paramctl.source.save import save
from paramctl.source.selected import Selecting, select_arrays
from paramctl.source.with_state import split_state, with_state
from paramctl.store.contents import Origin, blocks, read_alias
from tests.conftest import ROOT
from tests.formats import ANY

MLP = str(ROOT / "sample_models/mlp.yaml")


def drawn(tmp_path: Path) -> Source:
    return source_of(open_path(MLP), seed=3, dtype="bfloat16")


def stored(tmp_path: Path) -> Source:
    save(source_of(open_path(MLP)), f"{tmp_path}/mlp.h5")
    return open_checkpoint(f"{tmp_path}/mlp.h5")


def initialized(tmp_path: Path) -> Source:
    """Part drawn, part copied from a file, the rest as stored."""
    base = stored(tmp_path)
    save(source_of(open_path(MLP), seed=9), f"{tmp_path}/other.safetensors")
    rules = (
        Rule("dense/bias", parse_scheme(f"from:{tmp_path}/other.safetensors[dense/bias]", "--rule")),
        Rule("dense/kernel", parse_scheme("{mixture: [[0.5, zeros], [0.5, {random_uniform: [5, 10]}]]}", "--rule")),
    )
    return Drawn(base.model, assign_schemes(base.model, InitRequest(rules), stored=True), 7, base)


def user_code(tmp_path: Path) -> Source:
    (tmp_path / "ramp.py").write_text("import numpy\ndef ramp(shape, dtype, generator): return numpy.ones(shape) * 2\n")
    model = load(MLP)
    request = InitRequest((Rule("dense/kernel", parse_scheme(f"{tmp_path}/ramp.py:ramp", "--rule")),))
    return Drawn(model, assign_schemes(model, request))


def renamed(tmp_path: Path) -> Source:
    return rename(stored(tmp_path), ["**=net/**"])


def cast(tmp_path: Path) -> Source:
    return cast_source(stored(tmp_path), ["dense/*=float16", "float64"], ["overflow"])


def retied(tmp_path: Path) -> Source:
    (tmp_path / "equal.yaml").write_text("input: [4]\nlayers: [{dense: 4}, {dense: 4}]\n")
    save(source_of(open_path(f"{tmp_path}/equal.yaml")), f"{tmp_path}/equal.h5")
    base = open_checkpoint(f"{tmp_path}/equal.h5")
    return Retied(base, add_ties(base.model, "dense/kernel", ["dense_1/kernel"]))


def assigned(tmp_path: Path) -> Source:
    assignments = [
        Assignment("dense/kernel[0] = ...", "dense/kernel[0]", "=", np.arange(4.0)),
        Assignment("dense_1/* = he_normal", "dense_1/kernel", "=", parse_scheme("he_normal", "set")),
    ]
    return assign(stored(tmp_path), assignments, seed=5)


def in_torch_layout(tmp_path: Path) -> Source:
    return convert(stored(tmp_path), "torch")[0]


def in_keras_layout(tmp_path: Path) -> Source:
    save(in_torch_layout(tmp_path), f"{tmp_path}/torch.safetensors")
    return convert(open_checkpoint(f"{tmp_path}/torch.safetensors"), "keras", source_of(open_path(MLP)))[0]


def matched(tmp_path: Path) -> Source:
    return convert(stored(tmp_path), None, source_of(open_path(MLP)))[0]


def partial(tmp_path: Path) -> Source:
    incomplete = open_checkpoint(str(ROOT / "tests/fixtures/odd/keras3_lost_layer.keras"))
    return convert(incomplete, allowed=Allowed(["d2/*"]))[0]


def selected(tmp_path: Path) -> Source:
    addresses = ["dense/kernel[1:3, ::-1]", "dense_1"]
    return select_arrays(stored(tmp_path), Selecting(addresses, ["dense_1/bias"])).source


def with_the_optimizer(tmp_path: Path) -> Source:
    return with_state(open_checkpoint(str(ROOT / "tests/fixtures/keras2_full_model.h5")))


def without_the_optimizer(tmp_path: Path) -> Source:
    return split_state(with_the_optimizer(tmp_path))[0]


def folded(tmp_path: Path) -> Source:
    rng = np.random.default_rng(0)
    arrays = {"dense.weight_g": rng.normal(size=(4, 1)), "dense.weight_v": rng.normal(size=(4, 4))}
    others = {"dense.bias": np.zeros(4), "dense_1.weight": np.ones((1, 4)), "dense_1.bias": np.zeros(1)}
    save_file({name: array.astype("f4") for name, array in (arrays | others).items()}, tmp_path / "g.safetensors")
    return convert(open_checkpoint(f"{tmp_path}/g.safetensors"), "keras", source_of(open_path(MLP)))[0]


def combined(tmp_path: Path) -> Source:
    save(source_of(open_path(MLP), seed=9), f"{tmp_path}/other.safetensors")
    sources = {"a": stored(tmp_path), "b": open_checkpoint(f"{tmp_path}/other.safetensors")}
    return combine(sources, Expression("a + 0.5 * (b - a)"), dtype=["float16"]).source


def frozen(tmp_path: Path) -> Source:
    stored(tmp_path)
    return pc.freeze(pc.open(f"{tmp_path}/mlp.h5"), "dense").source


def merged(tmp_path: Path) -> Source:
    """A base of torch's names, and an adapter that ``extract`` writes."""
    for seed, name in ((1, "base"), (2, "tuned")):
        save(convert(source_of(open_path(MLP), seed=seed), "torch")[0], f"{tmp_path}/{name}.safetensors")
    pc.extract_lora(f"{tmp_path}/base.safetensors", f"{tmp_path}/tuned.safetensors", f"{tmp_path}/adapter", rank=2)
    return merge(open_checkpoint(f"{tmp_path}/base.safetensors"), [f"{tmp_path}/adapter"], 0.5).source


def exactly(tmp_path: Path) -> Source:
    order, rules = ["rand(2, 4)", "dense_1"], {"dense/bias": "normal:stddev=0.1"}
    return pc.initialize(MLP, exactly="torch", seed=3, order=order, rules=rules).source


KINDS: dict[str, Callable[[Path], Source]] = {
    "drawn": drawn,
    "stored": stored,
    "initialized": initialized,
    "user_code": user_code,
    "rename": renamed,
    "fold": folded,
    "select": selected,
    "cast": cast,
    "retie": retied,
    "assign": assigned,
    "to_torch": in_torch_layout,
    "to_keras": in_keras_layout,
    "match": matched,
    "partial": partial,
    "with_state": with_the_optimizer,
    "without_state": without_the_optimizer,
    "combine": combined,
    "merge": merged,
    "mark": frozen,
    "exactly": exactly,
}

REOPENED = """
import json, sys
from paramctl.edit.reopen import reopen
source = reopen(json.load(sys.stdin))
json.dump({o.path: [o.dtype, source.read(o.path, 0, o.size).tobytes().hex()] for o in source.model.owners()}, sys.stdout)
"""


def values(source: Source) -> dict[str, list[str]]:
    return {o.path: [o.dtype, source.read(o.path, 0, o.size).tobytes().hex()] for o in source.model.owners()}


def test_every_operation_has_a_case() -> None:
    assert set(OPERATIONS) - {"align"} <= set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_description_reopens_in_another_process(kind: str, tmp_path: Path) -> None:
    source = KINDS[kind](tmp_path)
    description = json.dumps(source.describe())
    done = subprocess.run(
        [sys.executable, "-c", REOPENED], input=description, capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert json.loads(done.stdout) == values(source)


def test_a_file_that_has_changed_is_not_reopened(tmp_path: Path) -> None:
    description = stored(tmp_path).describe()
    (tmp_path / "mlp.h5").touch()
    with pytest.raises(InputError, match="changed since it was described"):
        reopen(description)


def test_a_renamed_source_has_the_ties_of_its_base_under_the_new_names(tmp_path: Path) -> None:
    """A copy and a transpose: whichever name is read, the values are those of the old name."""
    (tmp_path / "tied.yaml").write_text(
        "input: [4]\nlayers:\n" + "".join(f"  - dense: {{name: {name}, units: 4}}\n" for name in "abcd") + "ties:\n"
        "  - {keep: a/kernel, tie: b/kernel}\n  - {keep: c/kernel, tie: d/kernel, transpose: true}\n"
    )
    base = source_of(open_path(f"{tmp_path}/tied.yaml"), seed=3)
    source = rename(base, ["a/*=first/*", "d/*=last/*", "**=net/**"])
    assert source.model.ties == (
        Tie("first/kernel", "net/b/kernel"),
        Tie("net/c/kernel", "last/kernel", transpose=True),
    )
    old = {
        "first/kernel": "a/kernel",
        "net/b/kernel": "b/kernel",
        "net/c/kernel": "c/kernel",
        "last/kernel": "d/kernel",
    }
    assert {name: read_alias(source, name, 0, 16).tolist() for name in old} == {
        name: read_alias(base, path, 0, 16).tolist() for name, path in old.items()
    }
    assert {parameter.path for parameter in source.model.owners()} == {
        *("first/kernel", "net/c/kernel", "first/bias", "net/b/bias", "net/c/bias", "last/bias")
    }
    save(source, f"{tmp_path}/renamed.h5")
    assert open_checkpoint(f"{tmp_path}/renamed.h5").model.ties == source.model.ties


class Fake:
    """A source in ten lines: every array counts up from 0."""

    model = load(MLP)
    origin = Origin()

    def read(self, path: str, start: int, stop: int) -> Array:
        return np.arange(start, stop, dtype=np.float32)

    def pieces(self, parameter: Parameter) -> Iterator[tuple[str, int, int]]:
        return blocks(parameter, 3)

    def describe(self) -> Description:
        return {}


@pytest.mark.parametrize("name", ANY)
def test_any_object_with_the_three_methods_is_saved(name: str, tmp_path: Path) -> None:
    save(Fake(), f"{tmp_path}/{name}")
    checkpoint = open_checkpoint(f"{tmp_path}/{name}")
    assert checkpoint.read("dense/kernel", 0, 16).tolist() == list(range(16))
    assert checkpoint.model.parameters.keys() == Fake.model.parameters.keys()
