"""Flow as files: Middlebury's `.flo`, colours for a person (`.png`), and KITTI's 16 bits (`.kitti.png`).

Flow is (h w 2), in pixels, x (right) before y (down). Not concerned with finding it.
"""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

Flow = Float[np.ndarray, "h w 2"]
TAG = np.float32(202021.25)  # "PIEH"
# The colour wheel of Baker et al. 2011, "A database and evaluation methodology for optical flow", after its code:
# how many steps lead from red to yellow, green, cyan, blue, magenta and back.
STEPS = (15, 6, 4, 11, 13, 6)
CORNERS = np.array([(1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 1, 1), (0, 0, 1), (1, 0, 1), (1, 0, 0)])


def flo(flow: Flow) -> bytes:
    """The tag, width and height, then rows of (x, y), little-endian."""
    h, w, _ = flow.shape
    return TAG.astype("<f4").tobytes() + struct.pack("<ii", w, h) + flow.astype("<f4").tobytes()


def kitti(flow: Flow) -> bytes:
    """A PNG of 16-bit RGB: 64 x + 2¹⁵, 64 y + 2¹⁵, and 1: every vector is valid. ±512 pixels at most."""
    scaled = np.clip(np.round(flow * 64.0 + 2**15), 0, 2**16 - 1)
    return _png16(np.concatenate([scaled, np.ones_like(scaled[..., :1])], axis=-1).astype(np.uint16))


def coloured(flow: Flow) -> bytes:
    """A PNG as `colours` has it."""
    buffer = io.BytesIO()
    Image.fromarray(colours(flow)).save(buffer, "PNG")
    return buffer.getvalue()


def colours(flow: Flow) -> UInt8[np.ndarray, "h w 3"]:
    """The direction as a hue, red to the right; the length as its strength, relative to the longest; white stands."""
    lengths = np.linalg.norm(flow, axis=-1)
    strength = (lengths / max(lengths.max(initial=0.0), 1e-9))[..., None]
    angle = np.arctan2(flow[..., 1], flow[..., 0]) / (2 * np.pi) % 1
    wheel = np.concatenate([[0], np.cumsum(STEPS)]) / sum(STEPS)
    hue = np.stack([np.interp(angle, wheel, channel) for channel in CORNERS.T], axis=-1)
    return np.round(255 * (1 - strength * (1 - hue))).astype(np.uint8)


def _png16(picture: np.ndarray) -> bytes:
    """RGB of 16 bits, which Pillow does not write (PNG specification, sections 5 and 11)."""
    h, w, _ = picture.shape
    rows = np.concatenate([np.zeros((h, 1), np.uint8), picture.astype(">u2").view(np.uint8).reshape(h, -1)], axis=1)
    parts = {
        b"IHDR": struct.pack(">IIBBBBB", w, h, 16, 2, 0, 0, 0),
        b"IDAT": zlib.compress(rows.tobytes()),
        b"IEND": b"",
    }
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts.items()
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


WRITERS: dict[str, Callable[[Flow], bytes]] = {".flo": flo, ".kitti.png": kitti, ".png": coloured}


def ending(path: Path) -> str:
    """The longest ending of a name that is known here, else its last."""
    name = path.name.lower()
    return next((known for known in WRITERS if name.endswith(known)), path.suffix.lower())
