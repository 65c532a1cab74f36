"""The JSON schema accepts what is a document and refuses what an editor should underline."""

import json
from typing import Any

import pytest
from jsonschema import Draft7Validator

from paramctl.inspect.schema import schema
from paramctl.model import build
from paramctl.model.document import parse
from paramctl.model.layers import LAYERS
from tests.conftest import SAMPLES, Run
from tests.test_layers import CASES

VALIDATOR = Draft7Validator(schema())


def plain(text: str) -> Any:
    return parse(text, "m.yaml").plain()


def test_it_is_a_schema() -> None:
    Draft7Validator.check_schema(schema())


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_every_sample_is_valid(path: Any) -> None:
    assert list(VALIDATOR.iter_errors(plain(path.read_text()))) == []


@pytest.mark.parametrize("document", [document for document, _, _ in CASES.values()], ids=CASES)
def test_every_layer_is_valid(document: str) -> None:
    assert list(VALIDATOR.iter_errors(plain(document))) == []


@pytest.mark.parametrize(
    "text",
    [
        "layers: [flatten]\nvars:\nblocks:\nties:\ninitializers:\ninputs:\n",
        "vars: {s: [4], d: int32}\ninput: {shape: '${s}', dtype: '${d}'}\nlayers: [flatten]",
        "input: [4]\nlayers: [{activation: {relu: {}, name: x}}, {flatten: []}]",
        "input: [5, 4]\nlayers: [{time_distributed: {dense: 3, name: x}}, {bidirectional: {lstm: 3, trainable: false}}]",
    ],
)
def test_documents_that_build_are_valid(text: str) -> None:
    build(parse(text, "m.yaml"))
    assert list(VALIDATOR.iter_errors(plain(text))) == []


@pytest.mark.parametrize("name", LAYERS)
def test_no_layer_takes_an_undeclared_option(name: str) -> None:
    assert not VALIDATOR.is_valid({"layers": [{name: {"no_such_option": 1}}]})


@pytest.mark.parametrize(
    "text",
    [
        "input: [4]",
        "layers: dense",
        "layer: [flatten]",
        "layers: [3]",
        "layers: [{dense: {unit: 3}}]",
        "layers: [{dense: -3}]",
        "layers: [{dense: {units: 3, use_bias: 1}}]",
        "layers: [{dense: {units: 3, activation: rellu}}]",
        "layers: [{dense: {units: 3, kernel_initializer: glorott}}]",
        "layers: [{dense: {units: 3, kernel_initializer: {random_normal: {std: 1}}}}]",
        "layers: [{conv2d: {filters: 3}}]",
        "layers: [{conv2d: {filters: 3, kernel_size: [3, 3, 3]}}]",
        "layers: [{conv2d: {filters: 3, kernel_size: 3, padding: sam}}]",
        "layers: [{dropout: 1.5}]",
        "layers: [{dense: 3, units: 4}]",
        "layers: [{dense: {units: 3, repeat: -1}}]",
        "layers: [flatten]\ninput: [-4]",
        "layers: [flatten]\ninput: {shap: [4]}",
        "layers: [flatten]\ndtype: float31",
        "layers: [flatten]\nties: [{keep: a}]",
        "layers: [flatten]\nblocks: {b: {}}",
        "layers: [flatten]\ninitializers: {a: glorott}",
    ],
)
def test_mistakes_that_the_schema_finds(text: str) -> None:
    assert not VALIDATOR.is_valid(plain(text))


def test_the_command_prints_it(paramctl: Run) -> None:
    assert json.loads(paramctl("schema").stdout) == schema()
