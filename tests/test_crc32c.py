"""CRC-32C: published values, the polynomial that the fast form rests on, and a bitwise form for all sizes."""

import numpy as np
import pytest

from paramctl.store.io.crc32c import BLOCK_BYTES, DISTANCES, POLYNOMIAL, checksum, combine, unmask


def bitwise(data: bytes) -> int:
    """Return the CRC-32C by its definition."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ POLYNOMIAL if register & 1 else register >> 1
    return register ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "value"),  # of RFC 3720, appendix B.4
    [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"123456789", 0xE3069283),
        (b"", 0),
    ],
)
def test_published_values(data: bytes, value: int) -> None:
    assert checksum(data) == bitwise(data) == value


@pytest.mark.parametrize("size", [1, 289, 290, 1160, 1161, 1315, 2320, 2321, 40_000])
def test_every_size_has_the_value_of_the_definition(size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    assert checksum(data) == checksum(memoryview(bytearray(data))) == bitwise(data)


def test_distances_are_of_a_multiple_of_the_polynomial() -> None:
    """A byte has the checksum, without the register's first value, of its copies at all distances together."""
    near, far = bytearray(291), bytearray(291)
    near[0] = 1
    for distance in DISTANCES:
        far[distance] ^= 1
    assert bitwise(bytes(near)) == bitwise(bytes(far))


def test_blocks_and_combined_runs_are_as_the_whole() -> None:
    """A tensor is read in pieces, by several threads, and has one checksum."""
    data = np.random.default_rng(0).bytes(2 * BLOCK_BYTES + 12_345)
    whole = checksum(data)
    for cut in (0, 1, 1000, BLOCK_BYTES, len(data)):
        assert combine(checksum(data[:cut]), checksum(data[cut:]), len(data) - cut) == whole
    damaged = bytearray(data)
    damaged[1_500_000] ^= 1
    assert checksum(damaged) != whole


def test_masked_checksums() -> None:
    value = 0xE3069283
    masked = ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF
    assert unmask(masked) == value
