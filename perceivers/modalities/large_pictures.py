"""Pictures too large for memory: decoded once, a band of rows after the other, into a file.

Not concerned with what becomes of pixels (`pixels.py`), nor with smaller pictures, which Pillow reads.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from perceivers.errors import BadInput, Unreadable
from perceivers.stored import BLOCK, Stored, store

READERS = {"PNG": "pngload", "JPEG": "jpegload", "TIFF": "tiffload", "WEBP": "webpload"}  # Pillow's names → libvips's
TYPES = {
    "uchar": np.uint8,
    "char": np.int8,
    "ushort": np.uint16,
    "short": np.int16,
    "uint": np.uint32,
    "int": np.int32,
    "float": np.float32,
    "double": np.float64,
}
# How a picture stands in a file whose tag of orientation is the key (EXIF 2.3, section 4.6.4) → upright.
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda array: array[:, ::-1],
    3: lambda array: array[::-1, ::-1],
    4: lambda array: array[::-1],
    5: lambda array: array.swapaxes(0, 1),
    6: lambda array: array.swapaxes(0, 1)[:, ::-1],
    7: lambda array: array[::-1, ::-1].swapaxes(0, 1),
    8: lambda array: array.swapaxes(0, 1)[::-1],
}


def read(path: Path, kind: str, scaled: Callable[[np.ndarray], np.ndarray]) -> Stored:
    """The pixels (h w c) of a file, upright, `scaled` band by band. `kind` is its format, in Pillow's words.

    Raises Unreadable where it is damaged, or of a format that cannot be read by bands; BadInput where the library
    is absent.
    """
    try:
        import pyvips
    except ImportError as error:
        raise BadInput(
            f"{path}: pictures of this size are read with pyvips: pip install 'perceivers[large]', or make it smaller"
        ) from error
    if kind not in READERS:
        raise Unreadable(f"{path}: a {kind} of this size came, expected {', '.join(READERS)}, which are read by bands")
    try:
        loader = getattr(pyvips.Image, f"{READERS[kind]}_source")
        image = loader(pyvips.Source.new_from_file(str(path)), access="sequential", fail_on="error")
        if image.interpretation not in ("b-w", "rgb", "srgb", "grey16", "rgb16", "multiband"):
            raise Unreadable(f"{path}: {image.interpretation} of this size came, expected grey or RGB: convert it")
        stored = store(map(scaled, _bands(pyvips.Region.new(image), image)))
    except pyvips.Error as error:
        reason = " ".join(str(error.detail or error.message).split())
        raise Unreadable(f"{path}: damaged or cut short: {reason}") from error
    except OSError as error:
        raise Unreadable(f"{path}: cannot be unpacked into a temporary file: {error.strerror or error}") from error
    tag = image.get("orientation") if "orientation" in image.get_fields() else 1
    if tag not in UPRIGHT:
        return stored
    h, w, c = stored.shape
    return stored.seen(UPRIGHT[tag], (w, h, c) if tag >= 5 else (h, w, c))


def _bands(region: Any, image: Any) -> Iterator[np.ndarray]:
    rows = max(1, BLOCK // (image.width * image.bands))
    for y in range(0, image.height, rows):
        count = min(rows, image.height - y)
        band = np.frombuffer(region.fetch(0, y, image.width, count), TYPES[image.format])
        yield band.reshape(count, image.width, image.bands)
