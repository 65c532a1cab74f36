"""jax.random's values on a CPU, to the bit. The hashes were made by JAX 0.10.2; tests/interop compares with JAX."""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import numpy as np
import pytest

from paramctl.init.engines.jax_random import DTYPES, normal, truncated_normal, uniform
from paramctl.init.engines.threefry import STRIDE, RandomBits, fold_in, key, split

Values = np.ndarray[Any, Any]
SIZE = 5000

GOLDEN = {
    (True, "float32"): ["00ccc4d78d66f6ed", "40f8171c8e9fc4d9", "1311932ca259fbc8"],
    (True, "bfloat16"): ["7f4c47b9e474ab72", "e87dbca9e1544e3a", "fa88ae0566b7ad7a"],
    (True, "float16"): ["02e2dd39091a1dd2", "9793a31bf9ab4b50", "d8588fa19537f858"],
    (False, "float32"): ["86e0af23b2112f43", "8f56099a7500971b", "9b3699be99490289"],
    (False, "bfloat16"): ["4ecfced15dc1dfe8", "1b189f6925eb5ba4", "6888e0aa2225868a"],
    (False, "float16"): ["7f42e3bad7193ce5", "e63824b0be8fd287", "6cc49f8163817434"],
}
"""Of 5,000 values of key(7): uniform from -0.3 to 0.45, normal, truncated; jax_threefry_partitionable, dtype."""


def bounded(source: RandomBits, start: int, stop: int, dtype: str) -> Values:
    return uniform(source, start, stop, dtype, -0.3, 0.45)


FUNCTIONS: list[Callable[[RandomBits, int, int, str], Values]] = [bounded, normal, truncated_normal]


def test_keys_are_jaxs() -> None:
    """Seeds count modulo 2^32, and keys that are split off or folded in are JAX's."""
    assert key(2**31 + 3) == key(2**31 + 3 - 2**32) == (0, 2**31 + 3)
    assert split(key(2**31 + 3), 3) == [
        (3738141239, 2478049098),
        (2926934263, 3440019053),
        (280562775, 2349900074),
    ]
    assert fold_in(key(-7), 3999999999) == (3279388236, 2979932357)


def test_first_values_are_those_that_jax_prints() -> None:
    """jax.random.normal(jax.random.key(0), (4,)), by default and as before JAX 0.5."""
    assert str(normal(RandomBits(key(0)), 0, 4, "float32")) == "[ 1.6226422   2.0252647  -0.43359444 -0.07861735]"
    assert str(normal(RandomBits(key(0), 4), 0, 4, "float32")) == "[ 1.8160863  -0.75488514  0.33988908 -0.53483534]"


@pytest.mark.parametrize(("partitionable", "dtype"), GOLDEN)
def test_values_are_jaxs(partitionable: bool, dtype: str) -> None:
    """Every law in every dtype, whole and in parts, which start anywhere."""
    source = RandomBits(key(7), None if partitionable else SIZE)
    for law, expected in zip(FUNCTIONS, GOLDEN[partitionable, dtype], strict=True):
        whole = law(source, 0, SIZE, dtype)
        assert sha256(whole.tobytes()).hexdigest()[:16] == expected
        parts = [law(source, start, min(start + 333, SIZE), dtype) for start in range(0, SIZE, 333)]
        assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_all_dtypes_and_the_ends_of_strides_are_tested() -> None:
    """A part that begins and ends within strides of the hash has the values of the whole."""
    assert {dtype for _, dtype in GOLDEN} == {*DTYPES}
    whole = normal(RandomBits(key(1)), 0, 3 * STRIDE + 5, "float32")
    assert np.array_equal(normal(RandomBits(key(1)), 7, 2 * STRIDE + 3, "float32"), whole[7 : 2 * STRIDE + 3])


def test_values_beyond_two_to_the_32_have_other_bits() -> None:
    """The counter of a value has 64 bits, so a large array does not repeat."""
    source = RandomBits(key(1))
    far = source.draw(2**32 - 2, 2**32 + 2)
    assert np.array_equal(far[:2], [source.draw(k, k + 1)[0] for k in (2**32 - 2, 2**32 - 1)])
    assert not np.array_equal(far[2:], source.draw(0, 2))
    assert fold_in(key(1), 0)[0] ^ fold_in(key(1), 0)[1] == source.draw(0, 1)[0]


def test_truncated_values_stay_within_the_bounds() -> None:
    """Even the largest and the smallest of all 2^23 values, and of the few of a half type."""
    for dtype in DTYPES:
        values = truncated_normal(RandomBits(key(3)), 0, 1 << 18, dtype).astype(np.float64)
        assert np.abs(values).max() < 2
        assert abs(values.std() - 0.8796) < 0.01
