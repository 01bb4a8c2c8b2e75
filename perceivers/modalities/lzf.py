"""LZF, the compression of pcd files: bytes in, bytes out.

Format: Marc Lehmann, "LibLZF". A byte below 32 says that one more than so many bytes follow as they are; any other,
that a stretch of what was written comes again: its length in the upper three bits, how far back in the other thirteen.
Not concerned with what the bytes mean.
"""

MOST = 264  # bytes that three can stand for


def decompress(content: bytes, size: int) -> bytes:
    """The `size` bytes that `content` stands for. Raises ValueError where it stands for more, fewer or nothing."""
    if size > MOST * len(content):
        raise ValueError(f"{len(content):,} bytes cannot stand for {size:,}")
    found, at = bytearray(), 0
    try:
        while at < len(content) and len(found) <= size:
            control = content[at]
            at += 1
            if control < 32:
                found += content[at : at + control + 1]
                at += control + 1
                continue
            length = control >> 5
            if length == 7:
                length += content[at]
                at += 1
            start = len(found) - ((control & 31) << 8) - content[at] - 1
            at += 1
            if start < 0:
                raise ValueError("it repeats what comes before its beginning")
            found += _again(found, start, length + 2)
    except IndexError as error:
        raise ValueError("it ends in the middle") from error
    if len(found) != size or at != len(content):
        raise ValueError(f"it does not stand for {size:,} bytes")
    return bytes(found)


def _again(found: bytearray, start: int, length: int) -> bytes:
    """`length` bytes from `start` on; beyond the end they come round again."""
    there = found[start : start + length]
    return bytes(there if len(there) == length else (there * (length // len(there) + 1))[:length])
