"""A document is hostile input: it is refused in one line, within 2 seconds and 300 MB, whatever it holds.

Each case runs paramctl as a process and asks the operating system what it cost: processor time,
which other work on the machine does not lengthen, and the most memory it had at once. See forks.py.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paramctl.errors import ParamctlError
from paramctl.init.rules import assign_schemes
from paramctl.inspect.summary import summarize
from paramctl.model import build
from paramctl.model.document import parse
from tests import forks
from tests.conftest import SAMPLES

SECONDS = 2.0
MEGABYTES = 300

HEAD = "input: [4]\nlayers:\n"
EXPANDED = "may expand to at most 1,000,000"
VALUES = "at most 1,000,000 values"


def run(path: str | Path) -> forks.Ran:
    """``paramctl summary`` of a file, with what it cost."""
    return forks.measured("summary", str(path), "--depth", "1")


def aliases(levels: int, each: int) -> str:
    lines = [f"a0: &a0 [{', '.join('x' * each)}]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * each)}]" for k in range(1, levels)]
    return "\n".join(lines)


def merges(levels: int) -> str:
    wide = ", ".join(f"k{k}: 1" for k in range(levels))
    return f"a: &a {{{wide}}}\nb: {{<<: [{', '.join(['*a'] * levels)}]}}"


def nested_blocks(levels: int, each: int, innermost: str = "flatten") -> str:
    blocks = [f"  b0: {{layers: [{innermost}]}}"]
    blocks += [f"  b{k}: {{layers: [{', '.join([f'b{k - 1}'] * each)}]}}" for k in range(1, levels)]
    return "input: [4]\nblocks:\n" + "\n".join(blocks) + f"\nlayers: [b{levels - 1}]"


def reuses(levels: int, each: int) -> str:
    entries = ["  - residual: {name: r0, layers: [{dense: 4}]}"]
    entries += [
        f"  - residual: {{name: r{k}, layers: [{', '.join([f'{{reuse: r{k - 1}}}'] * each)}]}}"
        for k in range(1, levels)
    ]
    return HEAD + "\n".join(entries)


def variables(levels: int, item: Callable[[int], str]) -> str:
    return (
        "vars:\n" + "\n".join(f"  a{k}: {item(k)}" for k in range(levels)) + f"\n{HEAD}  - dense: '${{a{levels - 1}}}'"
    )


REFUSED = {
    "alias bomb": (aliases(30, 9), VALUES),
    "merge bomb": (merges(2000), VALUES),
    "nested merges": (
        "a0: &a0 {k: 1}\n" + "\n".join(f"a{k}: &a{k} {{<<: [{', '.join([f'*a{k - 1}'] * 9)}], k{k}: 1}}" for k in range(1, 12)),
        "no such option (got 'a0'",
    ),
    "alias of itself": ("layers: &a [*a]", "an alias may not be inside the value it repeats"),
    "alias as key and value": ("&a a: *a", "no such option (got 'a'"),
    "100,000 brackets": ("a: " + "[" * 100_000, "at most 64 deep"),
    "2,000 mappings": ("".join(" " * k + "a:\n" for k in range(2000)), "at most 64 deep"),
    "question marks": ("? " * 5000, "a key must be text"),
    "200,000 keys": ("layers: []\n" + "\n".join(f"k{k}: some text" for k in range(200_000)), "no such option"),
    "8 MB of values": ("layers:\n" + "- 1\n" * 1_900_000, VALUES),
    "8 MB of empty lists": ("layers: [" + "[]," * 2_600_000 + "]", VALUES),
    "9 MB": ("name: " + "x" * 9_000_000, "at most 8,000,000 bytes"),
    "a key twice": (HEAD + "  - dense: {units: 4, units: 5}", "duplicate key"),
    "a name twice": (HEAD + "  - flatten: {name: a}\n  - flatten: {name: a}", "duplicate name in this list"),
    "a number in quotes": (HEAD + "  - dropout: '1e-3'", "rate must be a number from 0 to 1 (got '1e-3'"),
    "a word of YAML 1.1": (HEAD + "  - dense: {units: 1, use_bias: no}", "use_bias must be true or false (got 'no'"),
    "octal to some": (HEAD + "  - dense: 010", "leading zero is ambiguous"),
    "minutes to some": (HEAD + "  - dense: 1:30", "(got '1:30'"),
    "underscores": (HEAD + "  - dense: 1_000", "(got '1_000'"),
    "infinity": (HEAD + "  - rescaling: .inf", "must be finite"),
    "not a number": (HEAD + "  - rescaling: .nan", "must be finite"),
    "an overflow": (HEAD + "  - rescaling: 1.0e+400", "must be finite"),
    "nan as text": (HEAD + "  - rescaling: nan", "scale must be a finite number (got 'nan'"),
    "5,000 digits": (HEAD + "  - dense: " + "9" * 5000, "must fit in 64 bits"),
    "20,000 sixtieths": (HEAD + "  - dense: 1" + ":59" * 20_000 + ".5", "units must be a positive integer"),
    "4 MB of hexadecimal": (HEAD + "  - dense: 0x" + "f" * 4_000_000, "must fit in 64 bits"),
    "true for a number": (HEAD + "  - dense: true", "units must be a positive integer (got true"),
    "4.5 for a count": (HEAD + "  - dense: 4.5", "units must be a positive integer (got 4.5"),
    "zero": (HEAD + "  - dense: 0", "units must be a positive integer (got 0"),
    "2^63": (HEAD + "  - dense: 9223372036854775808", "must fit in 64 bits"),
    "1e300": (HEAD + "  - dense: 1e300", "units must be a positive integer (got 1e+300"),
    "an axis of 2^124": ("input: [4611686018427387904, 4611686018427387904]\nlayers: [flatten]", "does not fit in 64 bits"),
    "growing without end": (
        "input: [4, 4, 1]\nlayers: [{up_sampling2d: {size: 1000000000, repeat: 100}}]",
        "does not fit in 64 bits",
    ),
    "60,000 axes": ("input: [" + ", ".join(["9"] * 60_000) + "]\nlayers: [flatten]", "at most 64 items"),
    "code to apply": (HEAD + "  - dense: !!python/object/apply:os.system ['id']", "may not have tags"),
    "code by name": (HEAD + "  - dense: !!python/name:os.system", "may not have tags"),
    "an unknown tag": ("layers: !foo []", "may not have tags (got !foo"),
    "a tag of YAML": ("layers: !!set {a}", "may not have tags"),
    "a key of many": ("[a, b]: 1", "a key must be text"),
    "a number as key": ("1: a", "a key must be text: put it in quotes (got 1"),
    "true as key": ("true: a", "a key must be text: put it in quotes (got true"),
    "null as key": ("null: a", "a key must be text"),
    "two documents": ("layers: [flatten]\n---\nlayers: [flatten]", "one model document"),
    "nothing": ("", "an empty document"),
    "comments": ("# nothing\n", "an empty document"),
    "null": ("null", "null"),
    "a list": ("[]", "must be a mapping"),
    "a text": ("hello", "must be a mapping"),
    "NUL": ("name: a\0b", "does not allow control characters"),
    "a raw escape": ("name: \x1b[31m", "does not allow control characters"),
    "half a character": ('name: "\\ud800"', "invalid Unicode character"),
    "a tab": ("layers:\n\t- flatten", "not tabs"),
    "an unknown alias": ("layers: *a", "no earlier anchor has this name"),
    "a merge of a list": ("<<: [1]", "<< must be a mapping"),
    "an unknown field": (HEAD + "  - dense: {unit: 4}", "Did you mean 'units'?"),
    "a tie to itself": (HEAD + "  - dense: 4\nties: [{keep: dense/kernel, tie: dense/kernel}]", "tied to itself"),
    "a cycle of ties": (
        HEAD + "  - dense: 4\n  - dense: 4\nties:\n  - {keep: dense/kernel, tie: dense_1/kernel}\n  - {keep: dense_1/kernel, tie: dense/kernel}",
        "is itself tied",
    ),
    "a tie to nothing": (HEAD + "  - dense: 4\nties: [{keep: dense/kernel, tie: a/kernel}]", "no parameter has this name"),
    "a billion repeats": (HEAD + "  - dense: {units: 4, repeat: 1000000000}", EXPANDED),
    "repeats of repeats": (
        "input: [4]\nblocks: {a: {layers: [{flatten: {repeat: 1000}}]}, b: {layers: [{a: {repeat: 1000}}]}}\nlayers: [{b: {repeat: 1000}}]",
        EXPANDED,
    ),
    "repeats of what is left out": (
        f"input: [4]\nblocks: {{a: {{layers: [{', '.join(['flatten: {when: false}'] * 2000)}]}}}}\nlayers: [{{a: {{repeat: 100000}}}}]",
        EXPANDED,
    ),
    "a bomb of blocks": (nested_blocks(60, 2), EXPANDED),
    "a wide bomb of blocks": (nested_blocks(20, 9), EXPANDED),
    "a bomb of empty blocks": (nested_blocks(60, 2, ""), EXPANDED),
    "a chain of blocks": (nested_blocks(20_000, 1), "at most 64 deep"),
    "a bomb of reuses": (reuses(40, 2), EXPANDED),
    "a chain of reuses": (reuses(300, 1), "at most 64 deep"),
    "a block of itself": (
        "input: [4]\nblocks: {a: {layers: [b]}, b: {layers: [a]}}\nlayers: [a]",
        "a block may not use itself (got a -> b -> a",
    ),
    "a bomb of text": (variables(30, lambda k: f'"{f"${{a{k - 1}}}" * 10 if k else "x" * 10}"'), "may grow to at most"),
    "a bomb of lists": (variables(40, lambda k: f'["${{a{k - 1}}}", "${{a{k - 1}}}"]' if k else "[1]"), "at most 1,000,000 values"),
    "a chain of lists": (variables(900, lambda k: f'["${{a{k - 1}}}"]' if k else "[1]"), "at most 64 deep"),
    "a tower of powers": (HEAD + '  - dense: "${9 ** 9 ** 9 ** 9}"', "fits in 64 bits"),
    "a long expression": (HEAD + '  - dense: "${' + "1+" * 400_000 + '1}"', "at most 2,000 characters"),
    "many expressions": (HEAD + '  - dense: "' + "${1}" * 400_000 + '"', EXPANDED),
    "a long name": (HEAD + "  - flatten: {name: " + "x" * 100_000 + "}", "at most 255 characters"),
    "a pattern of stars": (
        HEAD + "  - dense: {units: 1, name: " + "a" * 200 + "}\ninitializers: {'" + "*a" * 60 + "b': zeros}",
        "no parameter matches this pattern",
    ),
    "a pattern of double stars": (
        HEAD + "  - dense: 1\ninitializers: {'" + "**/a/" * 40 + "b': zeros}",
        "no parameter matches this pattern",
    ),
    "patterns times parameters": (
        HEAD + "  - flatten: {name: f}\n  - dense: {units: 4, repeat: 20000, use_bias: false}\nties:\n"
        + "\n".join(f"  - {{keep: dense/kernel, tie: 'dense_{k}/*'}}" for k in range(1, 300)),
        "may be at most 3,000,000",
    ),
    "a costly condition": (
        HEAD + '  - flatten: {repeat: 990000, when: "${' + "+".join(["1"] * 98) + ' == 0}"}',
        EXPANDED,
    ),
    "a costly name": (HEAD + '  - flatten: {repeat: 20000, name: "a${i}' + "${''}" * 350 + '"}', EXPANDED),
    "names that are nearly right": (
        HEAD + '  - flatten: {repeat: 3000, name: "' + "a" * 190 + '${i}"}\n  - flatten: {from: ' + "a" * 199 + "}",
        "no earlier output has this name",
    ),
    "a list of names, again and again": (
        "vars: {big: [" + ", ".join(["input"] * 300_000) + "]}\n" + HEAD + '  - add: {from: "${big}", repeat: 30}',
        "at most 1,000 inputs",
    ),
    "a mixture of thousands": (
        HEAD + "  - dense: {units: 4, kernel_initializer: {mixture: [" + ", ".join(["[0.5, zeros]"] * 30_000) + "]}}",
        "at most 64 parts",
    ),
    "a pattern of 2 MB": (HEAD + "  - dense: 4\ninitializers:\n  ? '" + "*a" * 1_000_000 + "'\n  : zeros", "at most 4,096"),
    "100,000 patterns": (
        "layers: [{dense: 4}]\ninitializers:\n" + "\n".join(f"  'a{k}*': zeros" for k in range(100_000)),
        "may be at most 3,000,000",
    ),
    "names of what is left out": (
        HEAD + '  - flatten: {repeat: 990000, when: false, name: "${i}' + "x" * 900 + '"}',
        "at most 255 characters",
    ),
    "long paths": (
        "input: [4]\nblocks:\n  b0: {layers: [{dense: {units: 1, repeat: 30000}}]}\n"
        + "".join(f"  b{k}: {{layers: [{{b{k - 1}: {{name: {'x' * 250}}}}}]}}\n" for k in range(1, 40))
        + "layers: [b39]",
        "a path may have at most 4,096 characters",
    ),
    "2^512 values": (
        "input: [" + ", ".join(["4611686018427387904"] * 20) + "]\nlayers: [p_re_lu]",
        "would have over 2^512 values",
    ),
    "a path": (HEAD + "  - dense: {units: 4, kernel_initializer: /etc/passwd}", "no scheme has this name"),
    "a name of Python": (HEAD + "  - dense: {units: 4, kernel_initializer: os.system}", "no scheme has this name"),
}  # fmt: skip

ACCEPTED = {
    "own keys beside merged ones": "input: [4]\nlayers:\n  - dense: &a {units: 4}\n  - dense: {<<: *a, units: 5}",
    "4 MB in one text": "name: " + "x" * 4_000_000 + "\nlayers: [flatten]",
    "words and dates as names": HEAD
    + "  - flatten: {name: NO}\n  - flatten: {name: on}\n  - flatten: {name: 2026-01-01}",
    "an escape in quotes": 'name: "\\e[31m"\nlayers: [flatten]',
    "a byte order mark": "\ufeff" + HEAD + "  - flatten",
    "line ends of another system": "input: [4]\r\nlayers:\r\n  - flatten",
    "4.0 for a count": HEAD + "  - dense: 4.0",
    "a directive": "%YAML 1.2\n---\nlayers: [flatten]",
    "an equals sign": "name: =\nlayers: [flatten]",
    "2^62 times 2^62": "input: [4611686018427387904]\nlayers: [{dense: 4611686018427387904}]",
    "30 residuals deep": HEAD + "  - " + "residual: [{" * 29 + "residual: [flatten]" + "}]" * 29,
}


USUAL = 0.1
"""The processor time of an ordinary run on the machine that the limits are for. It follows the start of paramctl."""


def usual() -> float:
    """Return the processor time of an ordinary run, from the start of Python on, on this machine now."""
    return forks.launched(*forks.REAL, "summary", str(SAMPLES[0])).seconds


def run_within_limits(path: str | Path) -> forks.Ran:
    """Runs, and holds what it cost against the limits.

    A machine that is slower than usual just now, by what an ordinary run costs on it, has as much
    more time; and what takes too long is measured again, twice at the most.
    """
    for attempt in range(3):
        ran = run(path)
        slowness = max(1.0, usual() / USUAL) if ran.seconds > SECONDS else 1.0
        if ran.seconds < SECONDS * slowness:
            break
        assert attempt < 2, f"{ran.seconds} s, on a machine {slowness} times slower than usual"
    assert ran.megabytes < MEGABYTES
    return ran


@pytest.mark.parametrize(("text", "says"), REFUSED.values(), ids=REFUSED)
def test_refused_in_one_line_in_time_and_memory(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "m.yaml"
    path.write_bytes(text.encode())
    ran = run_within_limits(path)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"{path}:")
    assert says in ran.err
    assert ran.err.count("\n") == 1
    assert len(ran.err) < 2_500


@pytest.mark.parametrize("text", ACCEPTED.values(), ids=ACCEPTED)
def test_accepted(tmp_path: Path, text: str) -> None:
    path = tmp_path / "m.yaml"
    path.write_bytes(text.encode())
    ran = run_within_limits(path)
    assert (ran.code, ran.err) == (0, "")
    assert "Total parameters" in ran.out
    assert "\x1b" not in ran.out


@pytest.mark.parametrize(
    "data", [b"name: caf\xe9", "name: x".encode("utf-16"), b"\x89HDF\r\n\x1a\n", bytes(range(256)) * 16]
)
def test_bytes_that_are_no_text(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "m.yaml"
    path.write_bytes(data)
    ran = run(path)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert ran.err.startswith(f"{path}:")


def test_paths_that_are_not_files(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for path in (tmp_path, "/dev/zero", tmp_path / "missing", loop, "a\nb"):
        ran = run_within_limits(path)
        assert (ran.code, ran.err.count("\n")) == (2, 1)


def check(text: str) -> None:
    """A document gives a model whose rows add up to its totals, or an error of ours in one line."""
    try:
        model = build(parse(text, "m.yaml"))
        facts = summarize(model)
        assign_schemes(model)
    except ParamctlError as error:
        assert str(error).startswith("m.yaml:")
        assert "\n" not in str(error)
    else:
        assert sum(row.parameters or 0 for row in facts.layers) == facts.totals.parameters


FRAGMENTS = [
    *(
        "name",
        "from",
        "repeat",
        "when",
        "trainable",
        "input",
        "vars",
        "blocks",
        "ties",
        "options",
        "keep",
        "tie",
        "self",
    ),
    *(
        "[]",
        "{}",
        "[4]",
        "- ",
        ": ",
        ", ",
        "'",
        '"',
        "${i}",
        "${a}",
        "&a ",
        "*a",
        "<<: ",
        "null",
        "true",
        "-1",
        "0",
        "1e300",
    ),
    *(
        "dense",
        "reuse",
        "residual",
        "lstm",
        "add",
        "conv2d",
        "glorot",
        "mixture",
        "\n",
        "  ",
        "\t",
        "|",
        ">",
        "#",
        "\\",
    ),
]


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_mutated_sample_is_a_model_or_an_error(data: st.DataObject) -> None:
    """Pieces of a real document taken out, doubled, or replaced by words of the language."""
    text = data.draw(st.sampled_from(SAMPLES)).read_text()
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 12)))
        piece = data.draw(st.one_of(st.sampled_from(FRAGMENTS), st.just(text[start:end] * 2), st.characters()))
        text = text[:start] + piece + text[end:]
    check(text)


@settings(max_examples=300)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=25).map("".join))
def test_words_of_the_language_in_any_order(text: str) -> None:
    check(f"input: [4]\nlayers:\n  - dense: {{{text}}}")
    check(f"layers: [flatten]\n{text}")
