"""``${...}`` calculates as Python does within its grammar, keeps types, and is bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paramctl.declare.located import Located
from paramctl.errors import DocumentError
from paramctl.model.expressions import MAX_EXPRESSION, Variables

NAMES = {"a": 7, "b": 2, "half": 0.5, "yes": True, "word": "relu", "nothing": None}
SIZES = {"sizes": Located([Located(6, "m.yaml", 1, 1), Located(7, "m.yaml", 1, 4)], "m.yaml", 1, 1)}
ENV = Variables({name: Located(value, "m.yaml", 1, 1) for name, value in NAMES.items()} | SIZES)


def evaluate(text: str) -> object:
    return ENV.resolve(Located(text, "m.yaml", 9, 5)).plain()


CASES = {
    "${a}": 7,
    "${a + b * 3}": 13,
    "${(a + b) * 3}": 27,
    "${6 / b}": 3,
    "${a / b}": 3.5,
    "${a // b}": 3,
    "${a % b}": 1,
    "${-a}": -7,
    "${b ** 10}": 1024,
    "${2 ** 62}": 2**62,
    "${half * 2}": 1.0,
    "${a == 7}": True,
    "${1 < b < a}": True,
    "${not yes}": False,
    "${yes and a > 9}": False,
    "${a > 9 or yes}": True,
    "${a if yes else b}": 7,
    "${max(a, b, 9)}": 9,
    "${min(a, b)}": 2,
    "${ceil(a / b)}": 4,
    "${floor(a / b)}": 3,
    "${word == 'relu'}": True,
    "${word}": "relu",
    "${nothing}": None,
    "${true}": True,
    "${null == nothing}": True,
    "${sizes[0] + sizes[-1]}": 13,
    "block-${a}-${b}": "block-7-2",
    "${word}6": "relu6",
    "${yes}!": "true!",
    "${2.0 ** -65}": 2.0**-65,
    "${1.5 ** 100}": 1.5**100,
    "${10 ** -70}": 10**-70,
    "${1 if word == '}' else 2}": 2,
    "${'}'}-${word}": "}-relu",
}


@pytest.mark.parametrize(("text", "value"), CASES.items())
def test_value_and_type(text: str, value: object) -> None:
    result = evaluate(text)
    assert result == value
    assert type(result) is type(value)


WRONG = {
    "${c}": "no variable has this name (got 'c'",
    "${wrod}": "Did you mean 'word'?",
    "${a": "${ must be closed by }",
    "${}": "supports arithmetic",
    "${a b}": "supports arithmetic",
    "${a.real}": "supports arithmetic",
    "${a[0]}": "supports arithmetic",
    "${[1]}": "supports arithmetic",
    "${lambda: 1}": "supports arithmetic",
    "${~a}": "supports arithmetic",
    "${sizes[2]}": "the index must be a whole number from -2 to 1 (got 2)",
    "${sizes[1.5]}": "the index must be a whole number from -2 to 1 (got 1.5)",
    "${sizes[0:1]}": "supports arithmetic",
    "${sizes}1": "a list or a mapping cannot be used in a calculation",
    "${input[0]}": "no variable has this name (got 'input'",
    "${a << 3}": "supports arithmetic",
    "${a in b}": "supports the comparisons",
    "${open('x')}": "supports the functions",
    "${min()}": "min takes numbers",
    "${ceil(1, 2)}": "ceil takes one number",
    "${max(word)}": "arithmetic requires numbers",
    "${word + word}": "arithmetic requires numbers",
    "${yes + 1}": "arithmetic requires numbers",
    "${a < word}": "cannot be compared",
    "${a / 0}": "division by zero",
    "${a % 0}": "division by zero",
    "${0 ** -1}": "division by zero",
    "${9 ** 9 ** 9}": "finite number that fits in 64 bits",
    "${2 ** 63}": "finite number that fits in 64 bits",
    "${(0 - 8) ** half}": "finite number",
    "${1e308 * 10}": "finite number",
    "${1e999}": "finite number",
    "${99999999999999999999}": "finite number",
    "${1j}": "supports integers",
    "${" + "-" * MAX_EXPRESSION + "1}": f"at most {MAX_EXPRESSION} characters",
    "${" + "(" * 99 + "1" + ")" * 99 + "+}": "supports arithmetic",
    "${1234567890}" * 101: "may grow to at most",
    "${a}" * 5_000: "may have at most 2,000 characters",
    "${ceil(1e999)}": "finite number",
    "${1if a else 2}": "supports arithmetic",
}


@pytest.mark.parametrize(("text", "says"), WRONG.items(), ids=[text[:20] for text in WRONG])
def test_an_invalid_expression_is_refused(text: str, says: str) -> None:
    with pytest.raises(DocumentError) as caught:
        evaluate(text)
    assert says in str(caught.value)
    assert str(caught.value).startswith("m.yaml:9:5: ")


def test_a_bare_name_keeps_the_place_of_its_value() -> None:
    """So that the error about a block's option points at where the option was given."""
    assert ENV.resolve(Located("${a}", "m.yaml", 9, 5)).place == ("m.yaml", 1, 1)
    assert ENV.resolve(Located("${a + 1}", "m.yaml", 9, 5)).place == ("m.yaml", 9, 5)


def test_an_expression_in_a_value_is_not_evaluated_again() -> None:
    env = Variables({"x": Located("a", "m.yaml", 1, 1), "y": Located("${", "m.yaml", 1, 1)})
    assert env.resolve(Located("${y}{x}", "m.yaml", 1, 1)).plain() == "${{x}"


numbers = st.integers(-50, 50).map(lambda n: f"({n})" if n < 0 else str(n))
arithmetic = st.recursive(
    numbers,
    lambda inner: st.tuples(inner, st.sampled_from(["+", "-", "*", "//", "%", "<", "==", ">="]), inner).map(
        lambda parts: f"({' '.join(parts)})"
    ),
    max_leaves=8,
)


@given(arithmetic)
def test_arithmetic_agrees_with_python(expression: str) -> None:
    """Python's own answer, except where paramctl refuses truth values in arithmetic or a zero divisor."""
    try:
        expected = eval(expression)  # noqa: S307 - made above of numbers and operators alone
        result = evaluate(f"${{{expression}}}")
    except ZeroDivisionError:
        with pytest.raises(DocumentError):
            evaluate(f"${{{expression}}}")
    except DocumentError as error:
        assert "arithmetic requires numbers" in str(error) or len(expression) > MAX_EXPRESSION
    else:
        assert result == expected


words = st.sampled_from([*NAMES, "i", "'x'", "1e999", "1e308", "-2", "0", "64", "0.5", "9" * 19, "true", "null"])
grammar = st.recursive(
    words,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "*", "/", "//", "%", "**", "<", "==", "and", "or", "if"]), inner).map(
            " ".join
        ),
        st.tuples(st.sampled_from(["ceil", "floor", "min", "max"]), inner).map(lambda call: f"{call[0]}({call[1]})"),
        inner.map(lambda text: f"({text})"),
    ),
    max_leaves=6,
)


@given(st.one_of(st.text(max_size=40), grammar))
def test_no_text_causes_anything_but_an_error_with_a_place(text: str) -> None:
    try:
        evaluate("${" + text + "}")
    except DocumentError as error:
        assert error.place == ("m.yaml", 9, 5)
