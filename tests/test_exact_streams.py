"""torch's stream: the bytes that real torch draws, without torch; tests/interop compares the same hashes with torch."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from hashlib import sha256

import numpy as np
import pytest

from paramctl.init.distributions import Mixture, Normal, Uniform
from paramctl.init.engines.avx_math import Scratch, radius, sin_cos
from paramctl.init.engines.base import DrawRequest, TooLargeToDraw
from paramctl.init.engines.fused import fma32, fma64
from paramctl.init.engines.glibc_math import logf, sin_cosf
from paramctl.init.engines.mt19937 import STRIDE, Words
from paramctl.init.engines.streams import BLOCK_SIZE
from paramctl.init.engines.torch_laws import OrthogonalRows, TruncatedAt
from paramctl.init.engines.torch_mt import TorchEngine
from tests.exact_streams import GOLDEN, SEEDS, Call, drawn, programs, requests

NAMES = [name for name, _ in programs(0)]
FLOAT32 = np.dtype(np.float32)
TABLES = "197e8f671eeb89052d6f4a270912591e0428bc199a2394f12ceaf3d0ed3e564d"
"""The hash of the radius, the sine and the cosine for all 2^24 arguments, evaluated with exact fused multiply-adds."""
LIBM = ["87df1a963dc44a28", "abe1577cb74ef47d", "505442c7683ba19b"]


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "default"])
@pytest.mark.parametrize("name", NAMES)
def test_programs_draw_torchs_bytes(name: str, fused: bool) -> None:
    """For every law, dtype and seed, and for the number after the end of the program."""
    golden = json.loads(GOLDEN.read_text())["fused" if fused else "default"]
    for seed in SEEDS:
        values = whole_program(dict(programs(seed))[name], seed, fused)
        assert sha256(values).hexdigest() == golden[f"{name}, seed {seed}"]


def whole_program(calls: Sequence[Call], seed: int, fused: bool) -> bytes:
    wanted = requests(calls)
    draws = TorchEngine(fused).start(seed, wanted)
    return b"".join(drawn(draws, name, int(np.prod(request.shape))).tobytes() for name, request in wanted.items())


def test_any_block_is_drawn_alone_in_any_order_by_any_thread() -> None:
    wanted = {
        "a": DrawRequest(Uniform(-1, 1), (3 * BLOCK_SIZE + 5,), FLOAT32),
        "b": DrawRequest(TruncatedAt(0, 1, -2, 2), (BLOCK_SIZE + 9,), FLOAT32),
        "c": DrawRequest(Normal(0, 1), (2 * BLOCK_SIZE + 3,), FLOAT32),
    }
    blocks = [(name, block) for name, count in (("a", 4), ("b", 2), ("c", 3)) for block in range(count)]
    expected = TorchEngine().start(3, wanted)
    in_order = {key: expected.draw(*key).tobytes() for key in blocks}
    assert sha256(b"".join(in_order[key] for key in blocks if key[0] == "c")).hexdigest()[:8] == "aecf9f1f"
    shuffled = [blocks[k] for k in np.random.default_rng(0).permutation(len(blocks))] * 2
    draws = TorchEngine().start(3, wanted)
    with ThreadPoolExecutor(4) as pool:
        for key, values in zip(shuffled, pool.map(lambda key: draws.draw(*key).tobytes(), shuffled), strict=True):
            assert values == in_order[key]


def test_words_are_numpys_at_any_position() -> None:
    """Seeds are taken modulo 2^32, as in torch."""
    expected = np.random.RandomState(5).randint(0, 1 << 32, 3000, np.uint32)
    words = Words(5 - (1 << 32))
    for start, count in ((1001, 7), (0, 3), (2999, 1), (0, 0), (1, 2000), (500, 500)):
        np.testing.assert_array_equal(words.read(start, count), expected[start : start + count])


def test_reading_in_order_passes_over_each_word_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """By two readers that alternate, each of its own half; the second has to pass over the first half once."""
    words, size = Words(0), 8 * BLOCK_SIZE
    passed: list[int] = []
    seek = Words._seek

    def counted(self: Words, start: int) -> None:
        positions = [*self._kept, *self._recent, self._position]
        passed.append(start - max(position for position in positions if position <= start))
        seek(self, start)

    monkeypatch.setattr(Words, "_seek", counted)
    for k in range(4):
        words.read(k * BLOCK_SIZE, BLOCK_SIZE)
        words.read(size // 2 + k * BLOCK_SIZE, BLOCK_SIZE)
    assert passed == [0, 3 * BLOCK_SIZE, *[0] * 6]
    words.read(2 * STRIDE, 1)
    assert sorted(words._kept)[:2] == [0, STRIDE]


def test_functions_of_torch_for_all_arguments() -> None:
    """The hash is that of an evaluation whose fused multiply-adds round once in any case."""
    digest, size = sha256(), 1 << 16
    scratch, values = Scratch(size), np.empty((3, size), np.float32)
    for start in range(0, 1 << 24, size):
        steps = np.arange(start, start + size, dtype=np.int32)
        radius(steps, values[0], scratch)
        sin_cos(steps, values[1], values[2], scratch)
        digest.update(values.tobytes())
    assert digest.hexdigest() == TABLES


def test_functions_of_glibc_for_all_arguments() -> None:
    """The hashes are those of logf, sinf and cosf of glibc 2.36, with and without fused multiply-adds."""
    digests, size = [sha256(), sha256(), sha256()], 1 << 14
    for start in range(0, 1 << 24, size):
        u = (np.arange(start, start + size) * 2.0**-24).astype(np.float32)
        angles = (u * np.float64(2 * np.pi)).astype(np.float32)
        for digest, values in zip(digests, (logf(1 - u), *sin_cosf(angles)), strict=True):
            digest.update(values.tobytes())
    assert [digest.hexdigest()[:16] for digest in digests] == LIBM


def test_fused_multiply_adds_round_once() -> None:
    """Beside sums of fractions; among them are sums exactly between two float32 numbers but for a bit further down."""
    generator = np.random.default_rng(0)
    x = np.concatenate([generator.random(300).astype(np.float32), np.float32([1 + 2**-23, 1 - 2**-24])])
    for y, z in ((0.7, -0.3), (1.0, 1000.0), (1 + 2.0**-23, 2.0**-60), (1 - 2.0**-24, -(2.0**-60)), (3e-5, 1.0)):
        single, wide = float(np.float32(y)), x.astype(np.float64) + 1e-9
        exact = [Fraction(float(value)) * Fraction(single) + Fraction(float(np.float32(z))) for value in x]
        assert fma32(x, single, float(np.float32(z))).tolist() == [nearest32(value) for value in exact]
        assert fma64(wide, y, z).tolist() == [float(Fraction(v) * Fraction(y) + Fraction(z)) for v in wide.tolist()]


def nearest32(value: Fraction) -> float:
    """Return the float32 number nearest to a fraction; of two, the one whose last bit is 0."""
    middle = np.float32(float(value))
    near = (np.nextafter(middle, np.float32(-np.inf)), middle, np.nextafter(middle, np.float32(np.inf)))
    return float(min(near, key=lambda x: (abs(Fraction(float(x)) - value), int(x.view(np.int32)) & 1)))


def test_orthogonal_matrices_are_close_to_torchs() -> None:
    """The first row of orthogonal_ in torch 2.13 on x86-64, with seed 0; the bits depend on LAPACK."""
    draws = TorchEngine().start(0, {"w": DrawRequest(OrthogonalRows(2.0), (3, 5), FLOAT32)})
    matrix = draws.draw("w", 0).reshape(3, 5)
    np.testing.assert_allclose(matrix @ matrix.T, 4 * np.eye(3), atol=1e-5)
    np.testing.assert_allclose(matrix[0], [1.04446125, -0.19888118, -1.4767468, 0.38527313, -0.73507106], rtol=1e-5)


def test_what_torch_does_not_draw_is_refused() -> None:
    engine = TorchEngine()
    with pytest.raises(TypeError, match="torch has no counterpart"):
        engine.start(0, {"a": DrawRequest(Mixture(((1.0, Uniform(0, 1)),)), (3,), FLOAT32)}).draw("a", 0)
    with pytest.raises(TooLargeToDraw):
        engine.start(0, {"a": DrawRequest(OrthogonalRows(1.0), (1 << 14, 1 << 14), FLOAT32)}).draw("a", 0)
