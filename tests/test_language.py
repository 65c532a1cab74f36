"""The language of model documents: what each construct makes, by its paths, shapes and totals."""

import pytest

from paramctl.errors import DocumentError
from paramctl.init.rules import assign_schemes
from paramctl.model import Model, load, totals
from paramctl.model.document import parse_value
from paramctl.model.layers import FUNCTIONS, LAYERS
from tests.conftest import ROOT, layers, model


def paths(of: Model) -> list[str]:
    return [block.path for block in of.walk()]


def shapes(of: Model) -> dict[str, tuple[int, ...]]:
    return {path: parameter.shape for path, parameter in of.parameters.items()}


def outputs(of: Model) -> dict[str, object]:
    return {block.path: block.output for block in of.walk()}


def test_an_entry_is_a_type_a_main_option_or_options() -> None:
    for entry in ("dense: 3", "dense: {units: 3}", "dense: [3]", "dense: [3, relu]"):
        assert shapes(layers(f"  - {entry}")) == {"dense/kernel": (4, 3), "dense/bias": (3,)}


def test_a_list_is_the_main_option_where_that_takes_one() -> None:
    assert outputs(layers("  - reshape: [2, 2]"))["reshape"] == (None, 2, 2)


@pytest.mark.parametrize("name", sorted(FUNCTIONS.keys() - LAYERS.keys()))
def test_the_bare_name_of_a_function_is_an_activation_layer(name: str) -> None:
    entry = f"{name}: {{threshold: 0.1, default_value: 0}}" if name == "threshold" else name
    (block,) = layers(f"  - {entry}").walk()
    assert (block.path, block.type) == ("activation", "activation")
    assert block.layer is not None
    assert isinstance(vars(block.layer)["activation"], FUNCTIONS[name])


def test_where_keras_has_a_layer_of_a_functions_name_it_is_the_layer() -> None:
    assert sorted(FUNCTIONS.keys() & LAYERS.keys()) == ["elu", "softmax"]
    (block,) = layers("  - softmax").walk()
    assert (block.path, block.type) == ("softmax", "softmax")


def test_an_activation_keeps_its_options() -> None:
    for entry in ("activation: {gelu: {approximate: true}}", "gelu: {approximate: true, name: activation}"):
        (block,) = layers(f"  - {entry}").walk()
        assert vars(vars(block.layer)["activation"]) == {"approximate": True}


def test_automatic_names_count_by_type_within_a_list() -> None:
    made = layers("  - dense: 2\n  - relu\n  - dense: {name: mine, units: 2}\n  - dense: 2\n  - residual: [{dense: 2}]")
    assert paths(made) == ["dense", "activation", "mine", "dense_1", "residual", "residual/dense"]


def test_names_count_over_the_entries_present() -> None:
    assert paths(layers("  - dense: {units: 2, when: false}\n  - dense: 3")) == ["dense"]


def test_an_input_by_name_and_by_shape_and_dtype() -> None:
    made = model("input: {shape: [null], dtype: int32}\nlayers: [{embedding: [10, 2]}]")
    assert (made.inputs[0].shape, made.inputs[0].dtype) == ((None, None), "int32")
    assert outputs(made)["embedding"] == (None, None, 2)


def test_several_inputs_and_outputs() -> None:
    made = model(
        "inputs: {a: [2], b: [3]}\n"
        "layers:\n  - dense: {name: x, units: 4, from: a}\n  - dense: {name: y, units: 4, from: b}\n  - add: {from: [x, y]}\n"
        "outputs: [add, x]"
    )
    assert shapes(made)["x/kernel"] == (2, 4)
    assert shapes(made)["y/kernel"] == (3, 4)
    assert made.outputs == ("add", "x")


def test_the_output_is_the_last_entrys_if_left_out() -> None:
    assert layers("  - dense: 2\n  - dense: 3").outputs == ("dense_1",)


def test_an_unknown_input_makes_unknown_shapes() -> None:
    made = model("layers:\n  - dense: 3\n  - residual: [{dense: 3}]")
    assert outputs(made) == {"dense": None, "residual": None, "residual/dense": None}
    assert (made.unbuilt, made.parameters) == (2, {})


def test_variables_see_those_before_them_and_the_command_line_changes_them() -> None:
    text = 'vars: {width: 2, wide: "${4 * width}"}\ninput: [4]\nlayers:\n  - dense: "${wide}"'
    assert shapes(model(text))["dense/bias"] == (8,)
    assert shapes(model(text, width="3"))["dense/bias"] == (12,)
    assert shapes(model(text, wide="5"))["dense/bias"] == (5,)


BLOCK = """
blocks:
  stage:
    options: {units: , half: "${units / 2}", last: 7}
    layers:
      - dense: "${units}"
      - dense: {units: "${half}", repeat: 2}
      - dense: {name: "out", units: "${last}"}
"""


def test_a_blocks_options_have_defaults_that_see_those_before() -> None:
    made = model(f"input: [4]{BLOCK}layers:\n  - stage: 6\n  - stage: {{units: 4, last: 1}}")
    assert shapes(made) == {
        "stage/dense/kernel": (4, 6),
        "stage/dense/bias": (6,),
        "stage/dense_1/kernel": (6, 3),
        "stage/dense_1/bias": (3,),
        "stage/dense_2/kernel": (3, 3),
        "stage/dense_2/bias": (3,),
        "stage/out/kernel": (3, 7),
        "stage/out/bias": (7,),
        "stage_1/dense/kernel": (7, 4),
        "stage_1/dense/bias": (4,),
        "stage_1/dense_1/kernel": (4, 2),
        "stage_1/dense_1/bias": (2,),
        "stage_1/dense_2/kernel": (2, 2),
        "stage_1/dense_2/bias": (2,),
        "stage_1/out/kernel": (2, 1),
        "stage_1/out/bias": (1,),
    }


def test_repeat_numbers_its_entries_and_gives_them_i() -> None:
    made = layers('  - dense: {name: "d-${i}", repeat: 3, units: "${i + 1}"}\n  - dense: {repeat: 0, units: 9}')
    assert [parameter.shape for parameter in made.owners() if parameter.kind == "bias"] == [(1,), (2,), (3,)]
    assert paths(made) == ["d-0", "d-1", "d-2"]


def test_an_inner_i_hides_the_outer_one_which_an_option_passes_on() -> None:
    made = model(
        "input: [4]\nblocks:\n  inner:\n    options: {outer: }\n    layers:\n"
        '      - dense: {name: "d-${outer}-${i}", repeat: 2, units: 2}\n'
        'layers:\n  - inner: {name: "b-${i}", repeat: 2, outer: "${i}"}'
    )
    assert [path for path in paths(made) if "/" in path] == ["b-0/d-0-0", "b-0/d-0-1", "b-1/d-1-0", "b-1/d-1-1"]


def test_a_block_does_not_see_the_i_of_where_it_is_used() -> None:
    with pytest.raises(ValueError, match=r"5:33: no variable has this name \(got 'i'"):
        model(
            'input: [4]\nblocks:\n  inner:\n    layers:\n      - dense: {units: 2, name: "${i}x"}\n'
            "layers:\n  - inner: {repeat: 2}"
        )


def test_when_is_asked_of_each_repetition() -> None:
    assert paths(layers('  - dense: {name: "d-${i}", repeat: 4, units: 2, when: "${i % 2 == 1}"}')) == ["d-1", "d-3"]


def test_from_takes_an_earlier_output_and_descends_into_blocks() -> None:
    made = layers(
        "  - residual: {name: r, layers: [{dense: {name: inside, units: 4}}, {dense: {units: 4}}]}\n"
        "  - dense: {units: 2, from: input}\n"
        "  - concatenate: {from: [dense, r/inside]}"
    )
    assert outputs(made)["concatenate"] == (None, 6)
    assert [block.inputs for block in made.walk() if block.type == "concatenate"] == [("dense", "r/inside")]


def test_a_name_means_the_nearest_earlier_entry_so_called() -> None:
    made = layers(
        "  - dense: {name: a, units: 3}\n"
        "  - dense: {name: x, units: 4}\n"
        "  - residual: [{dense: {name: a, units: 5}}, {dense: {units: 4, from: a}}]\n"
        "  - dense: {name: after, units: 1, from: a}"
    )
    assert shapes(made)["residual/dense/kernel"] == (5, 4)
    assert shapes(made)["after/kernel"] == (3, 1)


def test_a_block_sees_the_names_around_its_use_and_takes_one_as_an_option() -> None:
    made = model(
        "input: [4]\nblocks:\n  up:\n    options: {skip: }\n    layers:\n"
        '      - dense: 2\n      - concatenate: {from: ["${skip}", dense]}\n'
        "layers:\n  - dense: {name: down, units: 7}\n  - up: {skip: down}"
    )
    assert outputs(made)["up"] == (None, 9)


def test_a_repeated_entry_with_from_takes_it_each_time() -> None:
    made = layers('  - dense: {name: "head-${i}", units: 2, repeat: 2, from: input}')
    assert {block.inputs for block in made.walk()} == {("input",)}


def test_residual_adds_its_input_or_its_shortcut() -> None:
    made = layers(
        "  - residual: [{dense: 8}, {dense: 4}]\n  - residual: {layers: [{dense: 6}], shortcut: [{dense: 6}]}"
    )
    assert outputs(made)["residual_1"] == (None, 6)
    assert "residual_1/shortcut/dense/kernel" in shapes(made)
    assert outputs(layers("  - residual: {layers: [{dense: 4}], shortcut: []}"))["residual"] == (None, 4)


def test_a_shortcut_without_layers_is_the_identity() -> None:
    made = layers("  - residual: {layers: [{dense: 4}], shortcut: [{dense: {units: 9, when: false}}]}")
    assert paths(made) == ["residual", "residual/dense"]


@pytest.mark.parametrize(
    ("merge", "shape"),
    [("concatenate", (None, 12)), ("{concatenate: {axis: 1}}", (None, 12)), ("add", (None, 4)), ("average", (None, 4))],
)
def test_parallel_merges_its_branches(merge: str, shape: tuple[int | None, ...]) -> None:
    made = layers(
        f"  - parallel: {{merge: {merge}, branches: {{a: [{{dense: 4}}], b: [{{dense: 4}}, relu], plain: []}}}}"
    )
    assert outputs(made)["parallel"] == shape
    assert {"parallel/a/dense/kernel", "parallel/b/dense/kernel"} <= shapes(made).keys()


def test_multiply_stretches_axes_of_size_1() -> None:
    made = layers("  - dense: {name: gate, units: 1}\n  - multiply: {from: [input, gate]}")
    assert outputs(made)["multiply"] == (None, 4)


def test_reuse_is_listed_twice_and_counted_once() -> None:
    made = layers("  - dense: {name: shared, units: 4}\n  - reuse: shared\n  - dense: 1")
    assert paths(made) == ["shared", "shared", "dense"]
    assert [block.reuse_of for block in made.walk()] == [None, "shared", None]
    assert totals(made.owners()).parameters == 25


def test_a_named_reuse_can_be_referred_to_and_its_output_follows_its_input() -> None:
    made = model(
        "inputs: {left: [null, 4], right: [7, 4]}\n"
        "layers:\n"
        "  - dense: {name: tower, units: 3, from: left}\n"
        "  - reuse: {layer: tower, name: right_tower, from: right}\n"
        "  - flatten: {from: right_tower}"
    )
    assert outputs(made) == {"tower": (None, None, 3), "right_tower": (None, 7, 3), "flatten": (None, 21)}
    assert list(made.parameters) == ["tower/kernel", "tower/bias"]


def test_a_block_can_be_reused_with_all_in_it() -> None:
    made = layers("  - residual: {name: r, layers: [{dense: 4}]}\n  - reuse: {layer: r, name: again}\n  - reuse: again")
    assert list(made.parameters) == ["r/dense/kernel", "r/dense/bias"]
    assert [(block.path, block.reuse_of) for block in made.blocks] == [("r", None), ("again", "r"), ("r", "r")]


def test_ties_share_one_array_under_two_names() -> None:
    made = layers(
        "  - dense: {name: a, units: 4}\n  - dense: {name: b, units: 4}\nties:\n  - {keep: a/kernel, tie: b/kernel}"
    )
    assert totals(made.owners()).parameters == 16 + 4 + 4
    assert made.owner("b/kernel").path == "a/kernel"


def test_a_tie_may_be_a_pattern_or_a_list() -> None:
    made = layers(
        '  - dense: {name: "d-${i}", repeat: 4, units: 4}\nties:\n  - {keep: d-0/kernel, tie: ["d-?/kernel"]}'
    )
    assert [tie.tied for tie in made.ties] == ["d-1/kernel", "d-2/kernel", "d-3/kernel"]
    assert totals(made.owners()).parameters == 16 + 4 * 4


def test_an_array_counts_at_its_first_name_even_if_a_later_one_is_kept() -> None:
    made = layers(
        "  - dense: {name: a, units: 4}\n  - dense: {name: b, units: 4}\nties:\n  - {keep: b/kernel, tie: a/kernel}"
    )
    assert (made.counted_at("a/kernel"), made.counted_at("b/kernel")) == ("a/kernel", "a/kernel")
    assert made.owner("a/kernel").path == "b/kernel"


def test_a_dtype_is_that_of_all_parameters_below() -> None:
    """The innermost one counts, a variable may give it, and the bytes follow. Without one, it is the document's."""
    built = model(
        "input: [4]\ndtype: bfloat16\nvars: {wide: float64}\n"
        "blocks: {pair: {layers: [{dense: {name: a, units: 4}}, {dense: {name: b, units: 4, dtype: float32}}]}}\n"
        "layers:\n  - dense: {name: first, units: 4}\n  - pair: {name: p, dtype: float16}\n  - reuse: p\n"
        "  - residual: {name: r, dtype: '${wide}', layers: [{dense: {name: c, units: 4, use_bias: false}}]}\n"
    )
    assert {path: parameter.dtype for path, parameter in built.parameters.items()} == {
        "first/kernel": "bfloat16",
        "first/bias": "bfloat16",
        "p/a/kernel": "float16",
        "p/a/bias": "float16",
        "p/b/kernel": "float32",
        "p/b/bias": "float32",
        "r/c/kernel": "float64",
    }
    assert sum(parameter.bytes for parameter in built.owners()) == 2 * 20 + 2 * 20 + 4 * 20 + 8 * 16


def test_trainable_false_freezes_all_below() -> None:
    made = layers(
        "  - residual: {trainable: false, layers: [{dense: 4}, {dense: {units: 4, trainable: true}}]}\n  - dense: 1"
    )
    assert [parameter.trainable for parameter in made.owners()] == [False] * 4 + [True] * 2


def test_moving_averages_are_never_trained() -> None:
    made = layers("  - batch_normalization")
    assert [(p.path.rpartition("/")[2], p.trainable) for p in made.owners()] == [
        ("gamma", True),
        ("beta", True),
        ("moving_mean", False),
        ("moving_variance", False),
    ]


def test_which_initializer_applies() -> None:
    """The layer's own, then the document's for what is trained, then the type's default."""
    made = layers(
        "  - dense: {name: own, units: 4, kernel_initializer: ones}\n"
        "  - dense: {name: rule, units: 4}\n"
        "  - dense: {name: frozen, units: 4, trainable: false}\n"
        'initializers:\n  "rule/*": {constant: 42}\n  "**/kernel": {random_normal: {stddev: 0.01}}'
    )
    assert {path: chosen.scheme for path, chosen in assign_schemes(made).items()} == {
        "own/kernel": "ones",
        "own/bias": "zeros",
        "rule/kernel": "constant(value=42)",
        "rule/bias": "constant(value=42)",
        "frozen/kernel": "glorot_uniform",
        "frozen/bias": "zeros",
    }


def test_the_dtype_of_a_document_is_that_of_its_parameters() -> None:
    made = model("input: [4]\ndtype: bfloat16\nlayers: [{dense: 3}]")
    assert totals(made.owners()).bytes == {"bfloat16": 2 * 15}


def test_an_input_shape_from_outside_takes_the_place_of_the_documents() -> None:
    path = str(ROOT / "sample_models/mlp.yaml")
    given = load(path, input_shapes={None: parse_value("[8]", "--input-shape")})
    assert shapes(given)["dense/kernel"] == (8, 4)


def test_yaml_aliases_and_merges_are_expanded() -> None:
    made = model(
        "input: [4]\nlayers:\n  - dense: &d {units: 3, use_bias: false}\n  - dense: *d\n  - dense: {<<: *d, units: 5}\n"
    )
    assert shapes(made) == {"dense/kernel": (4, 3), "dense_1/kernel": (3, 3), "dense_2/kernel": (3, 5)}


def test_a_reuse_takes_the_same_outer_outputs_as_the_first_use() -> None:
    """A name that later means another output does not change what the block does."""
    made = model(
        "inputs: {x: [4]}\n"
        "layers:\n"
        "  - residual: {name: r, layers: [{dense: {units: 4, from: x}}]}\n"
        "  - dense: {name: y, units: 9}\n"
        "  - residual: {name: q, layers: [{dense: {units: 9, from: y}}]}\n"
        "  - dense: {units: 4}\n"
        "  - reuse: r\n"
    )
    assert outputs(made)["r"] == (None, 4)
    again = layers(
        "  - dense: {name: a, units: 4}\n"
        "  - residual: {name: r, layers: [{dense: {units: 4, from: a}}]}\n"
        "  - residual: {name: s, layers: [{dense: {name: a, units: 9}}, {dense: 4}]}\n"
        "  - reuse: r\n"
    )
    assert [block.reuse_of for block in again.blocks] == [None, None, None, "r"]


def test_a_reuse_within_a_second_use_of_its_block_is_not_a_recursion() -> None:
    made = model(
        "input: [4]\nblocks:\n  b:\n    options: {again: false}\n"
        '    layers:\n      - dense: {units: 4}\n      - reuse: {layer: first, when: "${again}"}\n'
        "layers:\n  - b: {name: first}\n  - b: {again: true}"
    )
    assert list(made.parameters) == ["first/dense/kernel", "first/dense/bias", "b/dense/kernel", "b/dense/bias"]


def test_a_layer_may_be_called_shortcut_where_there_is_none() -> None:
    assert paths(layers("  - residual: [{dense: {name: shortcut, units: 4}}]")) == ["residual", "residual/shortcut"]


def test_a_name_left_out_does_not_fall_through_to_an_outer_one() -> None:
    with pytest.raises(ValueError, match="this layer is omitted"):
        model(
            "input: [4]\nvars: {n: a}\nlayers:\n  - dense: {name: a, units: 4}\n"
            '  - residual: [{dense: {name: "${n}", units: 4, when: false}}, {dense: {units: 4, from: a}}]'
        )


def test_names_that_unicode_normalizes_to_one_are_one() -> None:
    made = layers('  - dense: {name: "\\u00e9", units: 3}\n  - dense: {units: 2, from: "e\\u0301"}')
    assert shapes(made)["dense/kernel"] == (3, 2)


def test_ties_and_initializers_wait_for_an_unknown_input() -> None:
    text = "layers: [{dense: 4}, {dense: 4}]\nties: [{keep: dense/kernel, tie: dense_1/kernel}]\ninitializers: {dense/bias: ones}"
    assert model(text).ties == ()
    assert len(model(f"input: [4]\n{text}").ties) == 1


def test_an_empty_container_waits_for_nothing() -> None:
    assert model("layers: [{residual: []}]").unbuilt == 0


def test_an_initializer_that_could_have_no_effect_is_refused() -> None:
    with pytest.raises(ValueError, match="must match a trainable parameter that is not tied"):
        layers("  - dense: {units: 4, trainable: false}\ninitializers: {'**/kernel': ones}")


def test_a_reused_attention_keeps_the_value_it_had() -> None:
    """Also where a later layer has the name, or a later entry of the name is left out."""
    for later in ("{name: h, units: 8}", "{name: h, units: 3, when: false}"):
        made = model(
            "inputs: {h: [5, 8]}\nlayers:\n"
            "  - multi_head_attention: {name: m, num_heads: 1, key_dim: 2, value: h, from: h}\n"
            f"  - dense: {later}\n"
            "  - reuse: {layer: m, from: m, name: again}\n"
        )
        assert made.blocks[-1].reuse_of == "m"
        assert made.blocks[-1].inputs == ("m", "h")


def test_reuse_of_is_the_path_of_the_parameters_even_within_a_copy() -> None:
    made = layers(
        "  - residual: {name: tower, layers: [{dense: {name: d, units: 4}}]}\n"
        "  - reuse: {layer: tower, name: right}\n"
        "  - reuse: right/d\n"
        "  - reuse: {layer: right/d, name: q}\n"
    )
    assert [(block.path, block.reuse_of) for block in made.blocks] == [
        ("tower", None),
        ("right", "tower"),
        ("right/d", "tower/d"),
        ("q", "tower/d"),
    ]


def test_bidirectional_and_time_distributed_hold_a_layer() -> None:
    made = model("input: [5, 4]\nlayers: [{bidirectional: {layer: {lstm: {units: 3, name: own}}, merge_mode: sum}}]")
    assert outputs(made)["bidirectional"] == (None, 3)
    assert next(iter(made.parameters)) == "bidirectional/forward_own/lstm_cell/kernel"
    made = model("input: [5, 8, 8, 2]\nlayers: [{time_distributed: {conv2d: {filters: 3, kernel_size: 3}}}]")
    assert outputs(made)["time_distributed"] == (None, 5, 6, 6, 3)
    assert shapes(made)["time_distributed/conv2d/kernel"] == (3, 3, 2, 3)


@pytest.mark.parametrize("null", ["null", "~", "Null"])
def test_the_default_of_an_option_may_be_null(null: str) -> None:
    """A block passes it on to a layer, whose option then has no value; an option without any default is required."""
    text = (
        f"blocks:\n  b:\n    options: {{padding: valid, bias: {null}, strides: {null}}}\n    layers:\n"
        '      - max_pooling1d: {pool_size: 3, strides: "${strides}"}\ninput: [9, 2]\nlayers:\n  - b: {name: first}\n'
        "  - b: {name: second, strides: 1}\n"
    )
    assert [block.output for block in model(text).blocks] == [(None, 3, 2), (None, 1, 2)]
    for empty in ("options: {n: }", "options:\n      n:"):
        required = f"blocks:\n  b:\n    {empty}\n    layers: [{{dense: '${{n}}'}}]\ninput: [4]\nlayers: [b]\n"
        with pytest.raises(DocumentError, match="b requires the option 'n'"):
            model(required)


def test_a_variable_may_be_null() -> None:
    text = 'vars: {strides: null}\ninput: [9, 2]\nlayers: [{max_pooling1d: {pool_size: 3, strides: "${strides}"}}]\n'
    assert model(text).blocks[0].output == (None, 3, 2)
    with pytest.raises(DocumentError, match="this variable requires a value: use -D strides=VALUE"):
        model(text.replace("null", ""))


def test_a_transformer_whose_blocks_have_optional_inputs() -> None:
    built = load(str(ROOT / "tests/fixtures/transformer_null_option.yaml"))
    assert totals(built.owners()).parameters == 63_213_568


SIZES = {
    "its own input, not that of the block": (
        "input: [4, 3]\nlayers: [{dense: '${input[-1] + 2}'}, {residual: [{dense: '${input[1]}'}]}]",
        [(None, 4, 5), (None, 4, 5), (None, 4, 5)],
    ),
    "each copy": (
        "input: [4]\nlayers: [{dense: {units: '${input[0] + 1}', repeat: 3}}]",
        [(None, 5), (None, 6), (None, 7)],
    ),
    "a condition": (
        "input: [4]\nlayers: [{dense: {units: 3, repeat: 2, when: '${input[0] != 3}'}}, identity]",
        [(None, 3), (None, 3)],
    ),
    "what from names": (
        "input: [4]\nlayers: [{dense: {name: a, units: 3}}, flatten, {dense: {units: '${input[0]}', from: input}}]",
        [(None, 3), (None, 3), (None, 4)],
    ),
    "a list": ("input: [2, 6]\nlayers: [flatten, {reshape: {target_shape: '${input}'}}]", [(None, 12), (None, 12)]),
    "a variable of this name": ("input: [4]\nvars: {input: 3}\nlayers: [{dense: '${input}'}]", [(None, 3)]),
    "a default of a block": (
        "input: [4]\nblocks: {mlp: {options: {units: '${2 * input[-1]}'}, layers: [{dense: '${units}'}, {dense: 3}]}}\n"
        "layers: [mlp, mlp, {mlp: '${input[0] + 4}'}]",
        [(None, 3), (None, 8), (None, 3), (None, 3), (None, 6), (None, 3), (None, 3), (None, 7), (None, 3)],
    ),
    "a shortcut where the channels change": (
        "input: [4]\nblocks:\n  b:\n    options: {units: , project: '${input[-1] != units}'}\n    layers:\n"
        "      - residual:\n          layers: [{dense: '${units}'}]\n"
        "          shortcut: [{dense: {units: '${units}', when: '${project}'}}]\nlayers: [{b: 4}, {b: 5}]",
        [(None, 4)] * 3 + [(None, 5)] * 5,
    ),
}


@pytest.mark.parametrize("name", SIZES)
def test_the_options_of_an_entry_see_the_shape_of_its_input(name: str) -> None:
    text, outputs = SIZES[name]
    assert [block.output for block in model(text).walk()] == outputs


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("input: [null, 4]\nlayers: [{dense: '${input[0]}'}]", "2:18: this size of the input is unknown"),
        ("layers: [{dense: '${input[0]}'}]", "1:18: the shape of the input is unknown (got input). Give it"),
        ("input: [4]\nlayers: [{dense: '${input[1]}'}]", "2:18: the index must be a whole number from -1 to 0 (got 1)"),
        ("input: [4]\nvars: {a: '${input[0]}'}\nlayers: [flatten]", "2:11: no variable has this name (got 'input')"),
        (
            "inputs: {a: [4], b: [4]}\nlayers: [{add: {from: [a, b], name: 'n${input[0]}'}}]",
            "2:37: ${input} is the shape of the only input (got the inputs a, b)",
        ),
    ],
)
def test_a_size_that_is_not_known_is_an_error(text: str, says: str) -> None:
    with pytest.raises(DocumentError) as caught:
        model(text)
    assert f"m.yaml:{says}" in str(caught.value)


def test_a_reused_block_sees_the_shape_of_its_new_input() -> None:
    """Its parameters would have other shapes, so it is refused, as with shapes in the document."""
    block = "blocks: {b: [{dense: '${input[-1]}'}]}\n"
    good = model(f"input: [4]\n{block}layers: [{{b: {{name: b}}}}, {{reuse: b}}]")
    assert [each.output for each in good.blocks] == [(None, 4), (None, 4)]
    with pytest.raises(DocumentError, match="must keep their shapes"):
        model(f"input: [4]\n{block}layers: [{{b: {{name: b}}}}, {{dense: 5}}, {{reuse: b}}]")
