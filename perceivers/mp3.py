"""Frames of MPEG audio, layer III: whether a file has some, and is as long as it says.

It is asked before the file is decoded, because the decoder writes onto the terminal of those that it cannot read.
Format: ISO/IEC 11172-3, section 2.4.1, and 13818-3; the length is told by a first frame that begins with Xing or Info.
Not concerned with sound: samples are decoded by soundfile.
"""

import re
from pathlib import Path

HEAD = 64 * 1024  # bytes in which frames begin, after the tags
OTHERS = (b"RIFF", b"fLaC", b"OggS", b"FORM")  # files of another kind, whatever their name
SYNC = re.compile(rb"\xff[\xe0-\xff]")
RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}  # by version
HIGH = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)  # thousands of bits a second, of version 1
LOW = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
DECLARED = re.compile(rb"(?:Xing|Info)\0\0\0(.)", re.DOTALL)
SIDE = 40  # bytes at most between a frame's start and these words


def check_mp3(path: Path) -> None:
    """Raises OSError, and ValueError with one line where an mp3 has no frames, or fewer bytes than it declares."""
    with path.open("rb") as file:
        start = file.read(10)
        if start.startswith(OTHERS):
            return
        tags = 0
        if start.startswith(b"ID3") and len(start) == 10:
            tags = 10 + sum((byte & 127) << 7 * place for place, byte in enumerate(reversed(start[6:])))
        file.seek(tags)
        head = file.read(HEAD)
    first = next((match.start() for match in SYNC.finditer(head) if _is_frame(head, match.start())), None)
    if first is None:
        raise ValueError("no frames of mp3 in it, or one alone")
    declared, there = _declared(head[first:]), path.stat().st_size - tags - first
    if declared is not None and there < 0.99 * declared:
        raise ValueError(f"cut short: {declared:,} bytes of sound are declared, {there:,} are there")


def _is_frame(head: bytes, at: int) -> bool:
    """Whether a frame begins there: another one follows, of the same version, layer and rate."""
    length = _length(head[at : at + 4])
    after = head[at + length : at + length + 4] if length else b""
    return _length(after) is not None and head[at + 1] == after[1] and (head[at + 2] ^ after[2]) & 0b1100 == 0


def _length(header: bytes) -> int | None:
    """Bytes of the frame with that header; None where it is none."""
    if len(header) < 4 or not SYNC.match(header):
        return None
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    bits, rate, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer != 1 or not 0 < bits < 15 or rate == 3:
        return None
    kilobits = (HIGH if version == 3 else LOW)[bits - 1]
    return (144_000 if version == 3 else 72_000) * kilobits // RATES[version][rate] + padding


def _declared(frames: bytes) -> int | None:
    """How many bytes all frames take, where the first one says so."""
    found = DECLARED.search(frames, 4, SIDE + 8)
    if found is None or not found[1][0] & 2:
        return None
    at = found.end() + (4 if found[1][0] & 1 else 0)  # after how many frames there are
    return int.from_bytes(frames[at : at + 4])
