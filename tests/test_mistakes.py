"""Every mistake a person makes in a document is told in one line, with its position and what to do.

Each case is a document and what paramctl says of it: line, column, rule, what was received, and
a hint where there is one.
"""

import pytest

from paramctl.errors import DocumentError
from paramctl.init.rules import assign_schemes
from tests.conftest import model

HEAD = "input: [4]\nlayers:\n"

MISTAKES = [
    (HEAD + '  - dense: {units: "${i}", repeat: 2}', "3:20: units must be a positive integer (got 0)"),
    ("inputs: {\u00e9: [4], e\u0301: [5]}\nlayers: [flatten]", "1:18: duplicate input name (got 'e\u0301')"),
    (
        "input: [7, 4]\nlayers: [{time_distributed: reduce_sum}]",
        "2:29: time_distributed: the wrapped layer must keep the batch axis (got input (None, 7, 4))",
    ),
    (
        HEAD + '  - flatten: {name: "a\\nb", repeat: 2}',
        "3:21: a name may not contain control characters, or begin or end with a space (got 'a\\nb')",
    ),
    (
        HEAD + "  - dense: {name: 'a${0}', units: 3, repeat: 2}",
        "3:19: duplicate name in this list; the first is on line 3 (got 'a0')",
    ),
    (
        HEAD + "  - lambda: x",
        "3:5: this Keras layer is not supported in a model document (got 'lambda'). Run 'paramctl layers' for the supported layers.",
    ),
    (
        HEAD + "  - add: [input, input]",
        "3:10: add takes its inputs from 'from' (got ['input', 'input']). Write add: {from: [...]}.",
    ),
    (
        HEAD + "  - dense: $n",
        "3:12: units must be a positive integer (got '$n'). Variables are written ${name}.",
    ),
    (
        "input: [None, 4]\nlayers: [flatten]",
        "1:9: shape must be a list of positive integers, with null for unknown sizes (got 'None'). Write null for an unknown size, and omit the batch axis.",
    ),
    ("inputs: [4]\nlayers: [flatten]", "1:9: inputs must be a mapping (got [4]). Use 'input' for a single input."),
    (
        "layers: {dense: 3}",
        "1:9: layers must be a list of layers (got a mapping with dense). Put '- ' before each layer.",
    ),
    (
        HEAD + "  - dense: 10, activation: relu",
        "3:26: not valid YAML: mapping values are not allowed in this context. Put several options in { }, and text that contains ': ' in quotes.",
    ),
    (
        HEAD + "  - dense: {units: 3\n  - dense: 4",
        "4:10: not valid YAML: while parsing a flow mapping did not find expected ',' or '}'; it began on line 3",
    ),
    (
        HEAD + "  - residual: {name: r, layers: [{dense: {name: x, units: 4}}]}\n  - dense: {units: 2, from: x}",
        "4:29: no earlier output has this name (got 'x'). Did you mean 'r/x'?",
    ),
    (
        HEAD + "  - dense: {units: 3, activation: Relu}",
        "3:35: unknown activation function (got 'Relu'). Did you mean 'relu'?",
    ),
    (
        "vars: {min: 3}\n" + HEAD + "  - flatten",
        "1:8: a variable may not have the name of a keyword, constant, or function of ${...} (got 'min')",
    ),
    (
        "vars: {1a: 3}\n" + HEAD + "  - flatten",
        "1:8: a variable name must consist of letters, digits, and _, and may not begin with a digit (got '1a')",
    ),
    (
        "vars: {self: 3}\n" + HEAD + '  - dense: "${self - 4}"',
        "4:12: units must be a positive integer (got -1)",
    ),
    (
        HEAD + "  - dense: {units: 4, name: a}\n  - reuse: {layer: a, from: [a, input]}",
        "4:29: reuse takes one input (got a, input)",
    ),
    (
        HEAD + "  - dense: {units: 4, kernel_initializer: {mixture: [[0.5]]}}",
        "3:54: parts must be a list of [probability, scheme] whose probabilities add up to 1 (got [0.5])",
    ),
    (
        HEAD + "  - parallel: {merge: add, branches: {'t-${0}': []}}",
        "3:39: this name may not contain ${...} (got 't-${0}')",
    ),
    (HEAD + "  - dens: 3", "3:5: no layer or block has this type (got 'dens'). Did you mean 'dense'?"),
    (HEAD + "  - Dense: 3", "3:5: no layer or block has this type (got 'Dense'). Did you mean 'dense'?"),
    (HEAD + "  - dense: {unit: 3}", "3:13: dense has no such option (got 'unit'). Did you mean 'units'?"),
    (HEAD + "  - dense", "3:5: dense requires the option 'units' (got no options)"),
    (HEAD + "  - dense: {}", "3:12: dense requires the option 'units' (got no options)"),
    (HEAD + "  - dense: {units: true}", "3:20: units must be a positive integer (got true)"),
    (HEAD + "  - dense: {units: 4.5}", "3:20: units must be a positive integer (got 4.5)"),
    (HEAD + "  - dense: -3", "3:12: units must be a positive integer (got -3)"),
    (HEAD + "  - dense: 0", "3:12: units must be a positive integer (got 0)"),
    (HEAD + "  - dense: '4'", "3:12: units must be a positive integer (got '4')"),
    (
        HEAD + "  - dense: [1, 2, 3, 4, 5, 6, 7]",
        "3:12: dense takes at most 5 options: units, activation, use_bias, kernel_initializer, bias_initializer (got [1, 2, 3, 4, 5, 6, 7])",
    ),
    (
        HEAD + "  - dense: {units: 3, activation: rellu}",
        "3:35: unknown activation function (got 'rellu'). Did you mean 'relu'?",
    ),
    (
        HEAD + "  - dense: {units: 3, activation: {gelu: {aproximate: true}}}",
        "3:43: gelu has no such option (got 'aproximate'). Did you mean 'approximate'?",
    ),
    (
        HEAD + "  - dense: {units: 3, kernel_initializer: glorott}",
        "3:43: no scheme has this name (got 'glorott'). Did you mean 'glorot'?",
    ),
    (
        HEAD + "  - dense: {units: 3, kernel_initializer: {random_normal: {std: 1}}}",
        "3:60: random_normal has no such option (got 'std'). Did you mean 'stddev'?",
    ),
    (
        HEAD + "  - dense: {units: 3, kernel_initializer: {random_normal: {stddev: -1}}}",
        "3:68: stddev must be a non-negative finite number (got -1)",
    ),
    (
        HEAD + "  - dense: {units: 3, kernel_regularizer: l2}",
        "3:23: dense: this option of Keras is not supported in a model document (got 'kernel_regularizer')",
    ),
    (HEAD + "  - dense: {units: 3, use_bias: 1}", "3:33: use_bias must be true or false (got 1)"),
    (HEAD + "  - dense: {units: 3, use_bias: no}", "3:33: use_bias must be true or false (got 'no')"),
    (HEAD + "  - dropout: 1.5", "3:14: rate must be a number from 0 to 1 (got 1.5)"),
    (
        HEAD + "  - conv2d: {filters: 3, kernel_size: 3}",
        "3:13: conv2d: the input must have the axes (batch, height, width, channels) (got input (None, 4))",
    ),
    (
        "input: [5, 5, 1]\nlayers:\n  - conv2d: {filters: 3, kernel_size: 7}",
        "3:13: conv2d: a window of 7 must fit in an axis of 5 (got input (None, 5, 5, 1))",
    ),
    (
        "input: [5, 5, 1]\nlayers:\n  - conv2d: {filters: 3, kernel_size: [3, 3, 3]}",
        "3:39: kernel_size must be a positive integer or a list of 2 (got [3, 3, 3])",
    ),
    (
        "input: [5, 5, 1]\nlayers:\n  - conv2d: {filters: 3, kernel_size: 3, padding: sam}",
        "3:51: padding must be valid or same (got 'sam'). Did you mean 'same'?",
    ),
    (
        "input: [5, 5, 3]\nlayers:\n  - conv2d: {filters: 4, kernel_size: 3, groups: 2}",
        "3:13: conv2d: groups (2) must divide the 3 input channels and the 4 filters (got input (None, 5, 5, 3))",
    ),
    (
        HEAD + "  - reshape: [3, 2]",
        "3:14: reshape: target_shape [3, 2] must fit the 4 values of the input (got input (None, 4))",
    ),
    (
        "input: [2, 3]\nlayers:\n  - permute: [1, 1]",
        "3:14: permute: dims must be a permutation of 1 to 2 (got input (None, 2, 3))",
    ),
    (
        "input: [2, 3]\nlayers:\n  - take: {index: 5}",
        "3:11: take: index 5 is out of range for axis 1 of size 2 (got input (None, 2, 3))",
    ),
    (
        "input: [null]\nlayers:\n  - dense: 3",
        "3:12: dense: the last axis of the input must have a known size (got input (None, None))",
    ),
    (
        HEAD + "  - dense: {name: a, units: 3}\n  - dense: {name: b, units: 5, from: input}\n  - add: {from: [a, b]}",
        "5:10: add: the merged outputs must have equal sizes, or size 1, along each axis (got a (None, 3) and b (None, 5))",
    ),
    (
        HEAD
        + "  - dense: {name: a, units: 3}\n  - dense: {name: b, units: 5, from: input}\n  - concatenate: {from: [a, b], axis: 0}",
        "5:18: concatenate: the merged outputs must have equal sizes along every axis except 0 (got a (None, 3) and b (None, 5))",
    ),
    (HEAD + "  - add", "3:5: add requires two or more inputs: name them with 'from' (got add)"),
    (
        HEAD + "  - residual: [{dense: 5}]",
        "3:15: residual: the merged outputs must have the same shape (got residual/dense (None, 5) and input (None, 4))",
    ),
    (
        HEAD + "  - parallel: {merge: add, branches: {a: [{dense: 3}], b: [{dense: 4}]}}",
        "3:15: parallel: the merged outputs must have equal sizes, or size 1, along each axis (got parallel/a (None, 3) and parallel/b (None, 4))",
    ),
    (
        HEAD + "  - parallel: {merge: ad, branches: {a: []}}",
        "3:23: merge must be one of concatenate, add, multiply, average, maximum (got 'ad'). Did you mean 'add'?",
    ),
    (HEAD + "  - parallel: {merge: add}", "3:15: parallel requires the option 'branches' (got only merge)"),
    (HEAD + "  - residual: {layers: dense}", "3:24: layers must be a list of layers (got 'dense')"),
    (
        HEAD + "  - dense: {units: 3, from: later}\n  - dense: {name: later, units: 3}",
        "3:29: an input must be an earlier output; this layer is on line 4 (got 'later')",
    ),
    (
        HEAD + "  - dense: {units: 3, from: nowhere}",
        "3:29: no earlier output has this name (got 'nowhere'). Earlier outputs: input.",
    ),
    (
        HEAD + "  - dense: {name: hidden, units: 3}\n  - dense: {units: 3, from: hiden}",
        "4:29: no earlier output has this name (got 'hiden'). Did you mean 'hidden'?",
    ),
    (
        HEAD + "  - dense: {name: a, units: 3, when: false}\n  - dense: {units: 3, from: a}",
        "4:29: this layer is omitted because its 'when' on line 3 is false (got 'a')",
    ),
    (
        HEAD + "  - dense: {name: a, units: 3}\n  - dense: {name: a, units: 3}",
        "4:19: duplicate name in this list; the first is on line 3 (got 'a')",
    ),
    (
        HEAD + "  - dense: {name: dense, units: 3}\n  - dense: 3",
        "4:5: duplicate name in this list; the first is on line 3 (got 'dense')",
    ),
    (
        HEAD + "  - dense: {name: 'a/b', units: 3}",
        "3:19: a name may not contain any of / * ? [ ] = : , . ' \" (got 'a/b')",
    ),
    (HEAD + "  - dense: {name: '12', units: 3}", "3:19: a name may not consist of digits only (got '12')"),
    (HEAD + "  - dense: {name: '', units: 3}", "3:19: a name must be non-empty text (got '')"),
    (
        HEAD + "  - dense: {name: ' a', units: 3}",
        "3:19: a name may not contain control characters, or begin or end with a space (got ' a')",
    ),
    (
        HEAD + '  - dense: {name: "a\\eb", units: 3}',
        "3:19: a name may not contain control characters, or begin or end with a space (got 'a\\x1bb')",
    ),
    (HEAD + "  - dense: {name: 12, units: 3}", "3:19: a name must be non-empty text (got 12)"),
    (
        HEAD + '  - dense: {name: "é", units: 3}\n  - dense: {name: "é", units: 3}',
        "4:19: duplicate name in this list; the first is on line 3 (got 'é')",
    ),
    (
        HEAD + "  - dense: {name: a, units: 3, repeat: 2}",
        "3:19: a repeated entry may not have a fixed name (got 'a'). Write 'a-${i}', or omit the name to number the layers.",
    ),
    (HEAD + "  - dense: {units: 3, repeat: -1}", "3:31: repeat must be a non-negative integer (got -1)"),
    (
        HEAD + "  - dense: {units: 3, repeat: 1000000000}",
        "3:31: a model may expand to at most 1,000,000 entries and options, repeats unrolled (got 1000000000)",
    ),
    (HEAD + "  - dense: {units: 3, when: 1}", "3:29: when must be true or false (got 1)"),
    (HEAD + "  - reuse: nothing", "3:12: no earlier output has this name (got 'nothing'). Earlier outputs: input."),
    (HEAD + "  - reuse: input", "3:12: only a layer or a block can be reused (got 'input')"),
    (
        HEAD + "  - dense: {name: a, units: 3}\n  - reuse: a",
        "4:12: a is applied again, so its parameters must keep their shapes (got a/kernel (4, 3) would be (3, 3) with a (None, 3))",
    ),
    (
        HEAD + "  - dense: {name: a, units: 4}\n  - reuse: {layer: a, trainable: false}",
        "4:34: a reuse may not set 'trainable': set it on the first use (got false)",
    ),
    (
        HEAD + "  - dense: {name: a, units: 4}\n  - reuse: {layer: a, dtype: float16}",
        "4:30: a reuse may not set 'dtype': set it on the first use (got 'float16')",
    ),
    (
        HEAD + "  - dense: {units: 4, dtype: half}",
        "3:30: dtype must be float16, bfloat16, float32 or float64 (got 'half')",
    ),
    (
        HEAD + "  - dense: 3\nties:\n  - {keep: dense/kernel, tie: dense/bias}",
        "5:31: tied parameters must have equal shapes (got dense/kernel (4, 3) and dense/bias (3,))",
    ),
    (
        HEAD + "  - dense: 3\n  - dense: 4\nties:\n  - {keep: dense/kernel, tie: dense_1/kernel}",
        "6:31: tied parameters must have equal shapes (got dense/kernel (4, 3) and dense_1/kernel (3, 4)). Add 'transpose: true' to tie one to the transpose of the other.",
    ),
    (
        HEAD + "  - dense: 4\nties:\n  - {keep: dense/kernel, tie: dense/kernel}",
        "5:31: a parameter cannot be tied to itself (got 'dense/kernel')",
    ),
    (
        HEAD
        + "  - dense: 4\n  - dense: 4\nties:\n  - {keep: dense/kernel, tie: dense_1/kernel}\n  - {keep: dense_1/kernel, tie: dense/kernel}",
        "6:12: dense/kernel is itself tied to dense_1/kernel (got 'dense/kernel'). Keep dense_1/kernel instead.",
    ),
    (
        HEAD + "  - dense: 4\nties:\n  - {keep: dense/kernle, tie: dense/bias}",
        "5:12: no parameter has this name (got 'dense/kernle'). Did you mean 'dense/kernel'?",
    ),
    (
        HEAD + "  - dense: 4\nties:\n  - {keep: dense/kernel, tie: '*/nothing'}",
        "5:31: no parameter matches this pattern (got '*/nothing'). Known names: dense/kernel, dense/bias.",
    ),
    (HEAD + "  - dense: 4\nties:\n  - {keep: dense/kernel}", "5:5: a tie requires the option 'tie' (got only keep)"),
    (
        HEAD + "  - dense: 4\nties: {keep: a}",
        "4:7: ties must be a list of {keep: NAME, tie: NAMES} (got a mapping with keep)",
    ),
    (
        HEAD + "  - dense: 4\ninitializers: {'**/kernels': zeros}",
        "4:16: no parameter matches this pattern (got '**/kernels'). Did you mean 'dense/kernel'?",
    ),
    (
        HEAD + "  - dense: 4\ninitializers: {'a//b': zeros}",
        "4:16: a name in an address may not be empty (character 2) (got 'a//b')",
    ),
    (
        HEAD + "  - dense: 4\ninitializers:\n  **/kernel: zeros",
        "5:4: not valid YAML: while scanning an alias did not find expected alphabetic or numeric character. Put a pattern that begins with * in quotes.",
    ),
    (
        HEAD + "  - dense: 4\ninitializers: {'**/bias': glorot_uniform}",
        "4:27: glorot_uniform for dense/bias: requires fans, which only a parameter that maps inputs to outputs has (got shape (4,))",
    ),
    (
        HEAD + "  - dense: ${width}",
        "3:12: no variable has this name (got 'width'). No variables are defined here.",
    ),
    (
        "vars: {width: 4}\n" + HEAD + "  - dense: ${widht}",
        "4:12: no variable has this name (got 'widht'). Did you mean 'width'?",
    ),
    (
        "vars: {width: 4}\n" + HEAD + "  - dense: {units: ${width}}",
        "4:21: not valid YAML: while parsing a flow mapping did not find expected ',' or '}'. Put ${...} in quotes within { } or [ ]: \"${...}\".",
    ),
    (
        "vars: {width: 4}\n" + HEAD + '  - dense: "${width * }"',
        "4:12: ${...} supports arithmetic, comparisons, and, or, not, a if c else b, min, max, ceil, floor, and items of lists (got '${width * }')",
    ),
    ("vars: {width: 4}\n" + HEAD + '  - dense: "${width / 0}"', "4:12: division by zero (got '${width / 0}')"),
    (
        "vars: {width: 4}\n" + HEAD + '  - dense: "${width / 3}"',
        "4:12: units must be a positive integer (got 1.3333333333333333)",
    ),
    (
        "vars: {width: 4}\n" + HEAD + '  - dense: "${__import__(1)}"',
        "4:12: ${...} supports the functions min, max, ceil, and floor (got '${__import__(1)}')",
    ),
    (
        "vars: {width: 4}\n" + HEAD + '  - dense: "${width.real}"',
        "4:12: ${...} supports arithmetic, comparisons, and, or, not, a if c else b, min, max, ceil, floor, and items of lists (got '${width.real}')",
    ),
    ("vars: {width: 4}\n" + HEAD + '  - dense: "${width"', "4:12: ${ must be closed by } (got '${width')"),
    (
        "vars: {width: 4}\n" + HEAD + '  - dense: "${9 ** 99}"',
        "4:12: the result must be a finite number that fits in 64 bits (got '${9 ** 99}')",
    ),
    (
        "vars: {width: }\n" + HEAD + '  - dense: "${width}"',
        "1:8: this variable requires a value: use -D width=VALUE (got 'width')",
    ),
    ("vars: {w: a}\n" + HEAD + '  - dense: "${w * 2}"', "4:12: arithmetic requires numbers (got 'a')"),
    (
        "blocks:\n  b: {options: {n: }, layers: [{dense: '${n}'}]}\n" + HEAD + "  - b",
        "5:5: b requires the option 'n' (got no options)",
    ),
    (
        "blocks:\n  b: {options: {n: }, layers: [{dense: '${n}'}]}\n" + HEAD + "  - b: {m: 3}",
        "5:9: b has no such option (got 'm'). Its options are n.",
    ),
    (
        "blocks:\n  b: {options: {n: }, layers: [{dense: '${n}'}]}\n" + HEAD + "  - b: -3",
        "5:8: units must be a positive integer (got -3)",
    ),
    ("blocks:\n  b: {layers: [b]}\n" + HEAD + "  - b", "2:16: a block may not use itself (got b -> b)"),
    (
        "blocks:\n  dense: {layers: [flatten]}\n" + HEAD + "  - dense",
        "2:3: a block may not have the name of a layer or an activation function (got 'dense')",
    ),
    (
        "blocks:\n  b: {options: {name: 1}, layers: [flatten]}\n" + HEAD + "  - b",
        "2:17: a block may not redefine the options of every entry: name, from, repeat, when, trainable, dtype (got 'name')",
    ),
    ("blocks:\n  b: {}\n" + HEAD + "  - b", "2:6: block 'b' requires the option 'layers' (got no options)"),
    ("blocks: [a]\n" + HEAD + "  - b", "1:9: blocks must be a mapping (got ['a'])"),
    ("layer: []", "1:1: a model document has no such option (got 'layer'). Did you mean 'layers'?"),
    ("", "1:1: a model document must be a mapping with the key 'layers' (got an empty document)"),
    ("# nothing\n", "1:1: a model document must be a mapping with the key 'layers' (got an empty document)"),
    ("hello", "1:1: a model document must be a mapping with the key 'layers' (got 'hello')"),
    ("[]", "1:1: a model document must be a mapping with the key 'layers' (got [])"),
    ("input: [4]", "1:1: a model document requires the option 'layers' (got only input)"),
    ("input: [4]\nlayers: []", "2:9: a model must have at least one layer (got [])"),
    ("input: [4]\nlayers: dense", "2:9: layers must be a list of layers (got 'dense')"),
    (
        "input: [-4]\nlayers: [flatten]",
        "1:9: shape must be a list of positive integers, with null for unknown sizes (got -4)",
    ),
    (
        "input: 4.5\nlayers: [flatten]",
        "1:8: shape must be a list of positive integers, with null for unknown sizes (got 4.5)",
    ),
    ("input: {shap: [4]}\nlayers: [flatten]", "1:9: input has no such option (got 'shap'). Did you mean 'shape'?"),
    (
        "input: {shape: [4], dtype: flot32}\nlayers: [flatten]",
        "1:28: dtype must be float16, bfloat16, float32, float64, bool, int8, int16, int32, int64, uint8, uint16, uint32 or uint64 (got 'flot32'). Did you mean 'float32'?",
    ),
    (
        "inputs: {a: [4], b: [4]}\nlayers: [flatten]",
        "2:10: the first layer of a model with several inputs requires 'from' (got 'flatten')",
    ),
    (
        "inputs: {a: [4]}\ninput: [4]\nlayers: [flatten]",
        "1:1: a document may have 'input' or 'inputs', not both (got 'inputs')",
    ),
    (
        HEAD + "  - flatten\noutputs: [x]",
        "4:11: no earlier output has this name (got 'x'). Earlier outputs: flatten, input.",
    ),
    (HEAD + "  - flatten\nseed: -1", "4:7: seed must be a non-negative integer (got -1)"),
    (
        HEAD + "  - flatten\ndtype: float31",
        "4:8: dtype must be float16, bfloat16, float32 or float64 (got 'float31'). Did you mean 'float32'?",
    ),
    (HEAD + "\t- flatten", "3:1: YAML must be indented with spaces, not tabs (got a tab)"),
    ("input: [4]\ninput: [5]\nlayers: [flatten]", "2:1: duplicate key 'input'; the first is on line 1"),
    (HEAD + "  - dense: {units: 4, units: 5}", "3:23: duplicate key 'units'; the first is on line 3"),
    ("input: [4]\n---\nlayers: [flatten]", "2:1: a file may contain one model document; a second begins here"),
    (
        HEAD + "  - dense: 010",
        "3:12: a number with a leading zero is ambiguous: write 0o10 for octal, 8 for decimal, or quote it (got 010)",
    ),
    (HEAD + "  - dense: 1_000", "3:12: units must be a positive integer (got '1_000')"),
    (HEAD + "  - dropout: .nan", "3:14: a number must be finite (got .nan)"),
    (
        HEAD + "  - dense:\n    units: 4",
        "3:5: a layer must be written as 'type', 'type: main option' or 'type: {options}' (got a mapping with dense, units). Indent its options below its type.",
    ),
    (
        HEAD + "  -",
        "3:4: a layer must be written as 'type', 'type: main option' or 'type: {options}' (got null)",
    ),
    (HEAD + "  - 3", "3:5: a layer must be written as 'type', 'type: main option' or 'type: {options}' (got 3)"),
    (
        HEAD + "  - {dense: 3, units: 4}",
        "3:5: a layer must be written as 'type', 'type: main option' or 'type: {options}' (got a mapping with dense, units). Indent its options below its type.",
    ),
    (
        HEAD + "  - dense: !!python/name:os.system x",
        "3:12: a model document may not have tags (got tag:yaml.org,2002:python/name:os.system)",
    ),
    ("? [a]\n: 1", "1:3: a key must be text (got a list or a mapping)"),
    ("1: a", "1:1: a key must be text: put it in quotes (got 1)"),
    (
        HEAD + "  - multi_head_attention: {num_heads: 2, key_dim: 2, value: nowhere}",
        "3:61: no earlier output has this name (got 'nowhere'). Earlier outputs: input.",
    ),
    (HEAD + "  - embedding: [10]", "3:16: embedding requires the option 'output_dim' (got only input_dim)"),
    (
        HEAD + "  - lstm: 3",
        "3:11: lstm: the input must have the axes (batch, steps, features) (got input (None, 4))",
    ),
    (HEAD + "  - activation: {softmax: 3.5}", "3:27: axis must be an integer (got 3.5)"),
    (
        HEAD + "  - dense: {units: 3, activation: glu}",
        "3:35: glu changes the shape, so it must be a separate layer (got 'glu')",
    ),
    (HEAD + "  - rescaling: {}", "3:16: rescaling requires the option 'scale' (got no options)"),
    (HEAD + "  - reduce_sum: 3", "3:17: reduce_sum takes no options (got 3)"),
    (
        HEAD + "  - dense: {units: 3}\n    name: x",
        "3:5: a layer must be written as 'type', 'type: main option' or 'type: {options}' (got a mapping with dense, name). Indent its options below its type.",
    ),
    (
        HEAD + "  - layer_normalization: {axis: 3}",
        "3:26: layer_normalization: axis 3 is out of range (got input (None, 4))",
    ),
    (HEAD + "  - halve_while: -1", "3:18: limit must be a positive finite number (got -1)"),
    (
        "input: [4, 4]\nlayers:\n  - position_embedding: 2",
        "3:25: position_embedding: the input must have at most 2 positions (got input (None, 4, 4))",
    ),
    (
        HEAD + "  - dense: {units: 3, kernel_initializer: {mixture: [[0.5, zeros]]}}",
        "3:53: parts must be a list of [probability, scheme] whose probabilities add up to 1 (got [[0.5, 'zeros']])",
    ),
    (HEAD + "  - dense: 'x", "3:14: not valid YAML: while scanning a quoted scalar found unexpected end of stream"),
    (HEAD + "  - dense: {units: 3, from: [input, input]}", "3:29: dense takes one input (got input, input)"),
    (
        HEAD + "  - dense: *x",
        "3:12: no earlier anchor has this name (got *x). Put a pattern that begins with * in quotes.",
    ),
    (
        HEAD + "  - dense: {name: a, units: 3}\n  - dense: {units: 2, from: a/b}",
        "4:29: a has no output named 'b' (got 'a/b')",
    ),
    (
        HEAD + "  - zero_padding2d: [1, 2, 3]",
        "3:21: padding must be a non-negative integer, or a list of 2 numbers or pairs (got [1, 2, 3])",
    ),
]


@pytest.mark.parametrize(("document", "says"), MISTAKES)
def test_mistake(document: str, says: str) -> None:
    with pytest.raises(DocumentError) as caught:
        assign_schemes(model(document))
    assert str(caught.value) == f"m.yaml:{says}"
    assert "\n" not in str(caught.value)


def test_there_are_enough_cases() -> None:
    assert len({document for document, _ in MISTAKES}) == len(MISTAKES) >= 60
