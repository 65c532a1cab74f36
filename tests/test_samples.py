"""The sample models have the published numbers of parameters, and their rows add up at every depth."""

from pathlib import Path

import pytest

from paramctl.inspect.summary import summarize
from paramctl.model import load, totals
from paramctl.model.document import parse_value
from tests.conftest import ROOT, SAMPLES

# trainable and not; D2L's figures, keras.applications', and those of the GPT-2 papers' models as published
PUBLISHED = {
    "mlp": (25, 0),
    "rgnet": (85, 0),
    "tied_mlp": (25, 0),
    "fancy_mlp": (420, 400),
    "nest_mlp": (20 * 64 + 64 + 64 * 32 + 32 + 32 * 16 + 16, 0),
    "chimera": (3_952 + 340 + 420, 400),
    "lenet": (61_706, 0),
    "lstm_classifier": (2_691_713, 0),
    "resnet50": (25_636_712 - 53_120, 53_120),
    "gpt2": (124_439_808, 0),
    "vgg16": (138_357_544, 0),
    "mobilenet_v2": (3_538_984 - 34_112, 34_112),
    "bert_base": (109_482_240, 0),
    "vit_b16": (86_567_656, 0),
    "llama3_8b": (8_030_261_248, 0),
}

GPT2_SIZES = {
    "medium": ({"width": 1024, "depth": 24, "heads": 16}, 354_823_168),
    "large": ({"width": 1280, "depth": 36, "heads": 20}, 774_030_080),
    "xl": ({"width": 1600, "depth": 48, "heads": 25}, 1_557_611_200),
}


def test_every_sample_has_a_published_figure() -> None:
    assert {path.stem for path in SAMPLES} == PUBLISHED.keys()


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_published_totals(path: Path) -> None:
    counts = totals(load(str(path)).owners())
    assert (counts.trainable, counts.non_trainable) == PUBLISHED[path.stem]
    size = {"bfloat16": 2} if path.stem == "llama3_8b" else {"float32": 4}
    assert counts.bytes == {dtype: each * sum(PUBLISHED[path.stem]) for dtype, each in size.items()}


@pytest.mark.parametrize(("variables", "published"), GPT2_SIZES.values(), ids=GPT2_SIZES)
def test_gpt2_by_its_variables(variables: dict[str, int], published: int) -> None:
    given = {name: parse_value(str(value), f"-D {name}") for name, value in variables.items()}
    assert totals(load(str(ROOT / "sample_models/gpt2.yaml"), given).owners()).parameters == published


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_rows_add_up_to_the_total_at_every_depth(path: Path) -> None:
    """Counts stand only in rows that are not expanded; their sum is the total, whatever the depth."""
    model = load(str(path))
    deepest = max(row.depth for row in summarize(model).layers)
    for depth in [*range(1, deepest + 1), None]:
        facts = summarize(model, depth=depth)
        assert sum(row.parameters or 0 for row in facts.layers) == sum(PUBLISHED[path.stem])
        assert sum(row.trainable or 0 for row in facts.layers) == PUBLISHED[path.stem][0]
        assert all(row.parameters is None for row in facts.layers if row.expanded)
        assert all(row.parameters is not None for row in facts.layers if not row.expanded)
        assert max(row.depth for row in facts.layers) == (depth or deepest)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_parameter_rows_add_up_to_the_total(path: Path) -> None:
    rows = summarize(load(str(path))).parameters
    assert sum(row.size for row in rows if row.counted_at == row.path) == sum(PUBLISHED[path.stem])


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_selection_adds_up_to_its_own_total(path: Path) -> None:
    """The totals are those of the selected rows, for layers and for parameters."""
    model = load(str(path))
    facts = summarize(model, ["**/kernel"])
    assert 0 < facts.totals.parameters < sum(PUBLISHED[path.stem])
    assert sum(row.parameters or 0 for row in facts.layers) == facts.totals.parameters
    assert {row.path.rpartition("/")[2] for row in facts.parameters} == {"kernel"}


def test_the_chapters_nested_address_names_the_right_parameter() -> None:
    """D2L's rgnet.layers[0].layers[1].layers[1].bias is block2/block-1/dense/bias."""
    assert load(str(ROOT / "sample_models/rgnet.yaml")).parameters["block2/block-1/dense/bias"].shape == (4,)
