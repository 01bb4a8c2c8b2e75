"""LZF: against what LibLZF wrote, and damage."""

import numpy as np
import pytest

from perceivers.modalities.lzf import decompress

PLAIN = b"a" * 600 + b"abcabcabcabc" + bytes(range(40)) + bytes(9) + bytes(range(40))
PACKED = bytes.fromhex(
    "016161e0ff00e0ff00e03e00016263e000021f000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f08202122232425262700e00000e01c30012627"
)  # by LibLZF 3.6


def test_what_liblzf_wrote():
    assert decompress(PACKED, len(PLAIN)) == PLAIN


def test_nothing():
    assert decompress(b"", 0) == b""


@pytest.mark.parametrize(
    ("content", "size", "message"),
    [
        (b"\x00a", 10**9, "2 bytes cannot stand for 1,000,000,000"),
        (b"\x01a", 2, "it does not stand for 2 bytes"),
        (b"\x00a\xe0", 9, "it ends in the middle"),
        (b"\x00a\x20", 4, "it ends in the middle"),
        (b"\x00a\x20\x01", 4, "it repeats what comes before its beginning"),
        (b"\x00a\x20\x00", 3, "it does not stand for 3 bytes"),
        (b"\x00a\x00b", 1, "it does not stand for 1 bytes"),
    ],
)
def test_damage(content, size, message):
    with pytest.raises(ValueError, match=message):
        decompress(content, size)


def test_any_change_gives_as_many_bytes_or_is_refused():
    random = np.random.default_rng(0)
    for _ in range(2_000):
        changed = np.frombuffer(PACKED, np.uint8).copy()
        changed[random.integers(len(changed), size=3)] = random.integers(256, size=3)
        content = changed[: random.integers(len(changed) + 1)].tobytes()
        try:
            found = decompress(content, len(PLAIN))
        except ValueError:
            continue
        assert len(found) == len(PLAIN)
