"""Pictures too large for memory: tiles of a tiff are unpacked when they are asked for; what has no tiles is unpacked
once, a band of rows after the other, into a file.

Not concerned with what becomes of pixels (`pixels.py`), nor with smaller pictures, which Pillow reads.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from perceivers.errors import BadInput, Unreadable
from perceivers.stored import BLOCK, Rows, Stored, by_bands, count, is_large, read_through, store

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
OPEN = 4  # tiffs in tiles, of each of which the two rows of tiles that were read last stay in memory
_fetching = Lock()  # libvips has one list of errors for all threads
# How a picture stands in a file whose tag of orientation is the key (EXIF 2.3, section 4.6.4) → upright.
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda array: array,
    2: lambda array: array[:, ::-1],
    3: lambda array: array[::-1, ::-1],
    4: lambda array: array[::-1],
    5: lambda array: array.swapaxes(0, 1),
    6: lambda array: array.swapaxes(0, 1)[:, ::-1],
    7: lambda array: array[::-1, ::-1].swapaxes(0, 1),
    8: lambda array: array.swapaxes(0, 1)[::-1],
}


def read(path: Path, kind: str, scaled: Callable[[np.ndarray], np.ndarray]) -> Rows:
    """The pixels (h w c) of a file, upright, `scaled` band by band, `Stored`. `kind` is its format, in Pillow's words.

    Raises Unreadable where it is damaged, or of a format that cannot be read by bands; BadInput where the library
    is absent.
    """
    if kind not in READERS:
        raise Unreadable(f"{path}: a {kind} of this size came, expected {', '.join(READERS)}, which are read by bands")
    with _damages(path) as vips:
        image = _load(vips, path, kind, "sequential")
        if image.interpretation not in ("b-w", "rgb", "srgb", "grey16", "rgb16", "multiband"):
            raise Unreadable(f"{path}: {image.interpretation} of this size came, expected grey or RGB: convert it")
        known = image.get_fields()
        if "tile-width" in known:
            tile = (image.get("tile-height"), image.get("tile-width"), image.bands)
            if is_large(tile):
                raise Unreadable(
                    f"{path}: one tile has {count(tile):,} numbers: save it with tiles of 256 × 256 pixels"
                )
            return read_through(by_bands(_tiled(path), scaled))
        tag = image.get("orientation") if "orientation" in known else 1
        try:
            return store(map(scaled, _bands(vips, image)), UPRIGHT.get(tag, UPRIGHT[1]))
        except OSError as error:
            raise Unreadable(f"{path}: cannot be unpacked into a temporary file: {error.strerror or error}") from error


def _tiled(path: Path) -> Stored:
    """A tiff in tiles, of which those that rows need are unpacked when the rows are read, which raises Unreadable."""

    def read(start: int, stop: int) -> np.ndarray:
        with _damages(path) as vips, _fetching:
            image = _opened(path, path.stat().st_mtime_ns)
            vips.Error("of somebody before")  # it takes what is noted
            band = _fetched(vips, image, start, stop)
            # What goes wrong with a tile is only noted: the band comes all the same, with black in its place.
            if (found := vips.Error("a tile cannot be read")).detail:
                raise found
            return band

    with _damages(path):
        image = _opened(path, path.stat().st_mtime_ns)
    return Stored(read, (image.height, image.width, image.bands), TYPES[image.format])


@lru_cache(OPEN)
def _opened(path: Path, changed: int) -> Any:
    """A tiff in tiles, upright, as it was `changed` last; two of its rows of tiles are kept."""
    with _damages(path) as vips:
        return _load(vips, path, "TIFF", "random").autorot()


def _bands(vips: Any, image: Any) -> Iterator[np.ndarray]:
    rows = max(1, BLOCK // (image.width * image.bands))
    for y in range(0, image.height, rows):
        yield _fetched(vips, image, y, min(y + rows, image.height))


def _fetched(vips: Any, image: Any, start: int, stop: int) -> np.ndarray:
    band = vips.Region.new(image).fetch(0, start, image.width, stop - start)
    return np.frombuffer(band, TYPES[image.format]).reshape(stop - start, image.width, image.bands)


def _load(vips: Any, path: Path, kind: str, access: str) -> Any:
    loader = getattr(vips.Image, f"{READERS[kind]}_source")
    return loader(vips.Source.new_from_file(str(path)), access=access, fail_on="error")


@contextmanager
def _damages(path: Path) -> Iterator[Any]:
    """The library; what it finds wrong is Unreadable with the file's name. Raises BadInput where it is absent."""
    try:
        import pyvips
    except ImportError as error:
        raise BadInput(
            f"{path}: pictures of this size are read with pyvips: pip install 'perceivers[large]', or make it smaller"
        ) from error
    try:
        yield pyvips
    except pyvips.Error as error:
        _opened.cache_clear()  # it would give a tile that cannot be read as a black one from now on
        reason = (error.detail or error.message).strip().splitlines()[0]
        raise Unreadable(f"{path}: damaged or cut short: {reason}") from error
