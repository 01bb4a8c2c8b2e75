"""From picture files and arrays to pixels (h w c): uint8, or float32 in [0, 1] where 8 bits do not hold them.

Pixels of a picture that is too large for memory are `Stored` in a file.
Not concerned with patches, batches or models (`image.py`).
"""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch.nn.functional import interpolate

from perceivers.arrays import array_shape, map_array
from perceivers.errors import Unreadable
from perceivers.modalities import large_pictures
from perceivers.modalities.base import is_missing
from perceivers.stored import Rows, bands, by_bands, is_large, read_through

if TYPE_CHECKING:
    from PIL import Image, ImageFile

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "PPM", "BMP", "GIF")
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow has it
TOLERANCE = 1e-6  # beyond [0, 1]: rounding
_opening = Lock()


def read(cell: Any, max_pixels: int) -> Rows | None:
    """A Path, an array or a nested list → (h w c) with the channels that it has, or None. Raises Unreadable."""
    if isinstance(cell, Path):
        return _from_npy(cell, max_pixels) if _is_npy(cell) else _from_file(cell, max_pixels)
    return None if is_missing(cell) else _from_array(cell)


def size(cell: Any, max_pixels: int) -> tuple[int, int]:
    """Height and width, of a file from its header alone; (0, 0) where missing. Raises Unreadable."""
    if isinstance(cell, Path) and not _is_npy(cell):
        with _open(cell, max_pixels) as image:
            return image.height, image.width
    shape = array_shape(cell) if isinstance(cell, Path) else np.shape(cell)
    h, w = (*shape, 0, 0)[:2]
    return h, w


def colours(channels: int) -> int:
    """The channels without alpha: 2 are grey and alpha, 4 are RGB and alpha."""
    return {2: 1, 4: 3}.get(channels, channels)


@overload
def fit(picture: np.ndarray, channels: int, longest: int | None) -> np.ndarray: ...
@overload
def fit(picture: Rows, channels: int, longest: int | None) -> Rows: ...
def fit(picture: Rows, channels: int, longest: int | None) -> Rows:
    """The same with so many channels and no side over `longest`, dtype kept. Raises Unreadable.

    Alpha stays where four channels are asked, and else lies on white.
    """

    def converted(band: np.ndarray) -> np.ndarray:
        if band.shape[2] == channels:
            return band
        return _like(_with_channels(as_float(band), channels), band.dtype)

    h, w, c = picture.shape
    if longest is None or max(h, w) <= longest:
        return picture if c == channels else by_bands(picture, converted)
    scale = longest / max(h, w)
    small = resized(picture, (max(1, round(h * scale)), max(1, round(w * scale))), converted)
    return _like(small.clip(0, 1), picture.dtype)


def resized(
    picture: Rows, size: tuple[int, int], converted: Callable[[np.ndarray], np.ndarray] = lambda band: band
) -> Float[np.ndarray, "h w c"]:
    """What `converted` makes of each band, at another size: antialiased, bilinear. First the columns, band by band,
    then the rows: to the bit the same as both at once.
    """
    narrow = [_interpolated(as_float(converted(band)), (len(band), size[1])) for band in bands(picture)]
    return _interpolated(np.concatenate(narrow), size)


def _interpolated(picture: Float[np.ndarray, "h w c"], size: tuple[int, int]) -> Float[np.ndarray, "y x c"]:
    array = torch.from_numpy(rearrange(picture, "h w c -> 1 c h w"))
    return rearrange(interpolate(array, size, mode="bilinear", antialias=True), "1 c h w -> h w c").numpy()


def dense(cell: Any, expected: str) -> np.ndarray:
    """Nested lists or an array as one array of numbers. Raises Unreadable with what was `expected`."""
    try:
        array = np.asarray(cell)
        return array.astype(np.float32) if array.dtype == object else array
    except (ValueError, TypeError) as error:
        raise Unreadable(f"rows of unlike lengths or missing pixels came, expected {expected}") from error


def as_float(picture: np.ndarray) -> np.ndarray:
    """float32 in [0, 1]."""
    return picture.astype(np.float32) / 255 if picture.dtype == np.uint8 else picture


def as_picture(picture: np.ndarray) -> "Image.Image":
    """For a person: 8 bits, grey, RGB or RGBA; of other numbers of channels the first."""
    from PIL import Image

    shown = _like(as_float(picture), np.dtype(np.uint8))
    shown = shown if shown.shape[2] in (3, 4) else shown[..., 0]
    return Image.fromarray(np.ascontiguousarray(shown))


def _like(picture: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return np.round(picture * 255).astype(np.uint8) if dtype == np.uint8 else picture


def _with_channels(picture: np.ndarray, channels: int) -> np.ndarray:
    came = picture.shape[2]
    if came > 4 or channels not in (1, 3, 4):
        raise Unreadable(f"a picture of {came} channels came, expected {channels}")
    colour, alpha = picture[..., : colours(came)], picture[..., colours(came) :]
    if colours(channels) != colours(came):
        colour = (colour @ LUMA)[..., None] if channels == 1 else np.repeat(colour, 3, axis=2)
    if channels == 4:
        return np.concatenate([colour, alpha if alpha.size else np.ones_like(colour[..., :1])], axis=2)
    return colour * alpha + (1 - alpha) if alpha.size else colour


def _from_array(cell: Any) -> np.ndarray:
    if isinstance(cell, str | bytes | int | float | dict):
        raise Unreadable(f"{str(cell)[:60]!r} came, expected the path of a picture, or an array (h w) or (h w c)")
    array = dense(cell, "an array (h w) or (h w c)")
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or not array.size:
        raise Unreadable(f"an array of shape {np.shape(cell)} came, expected (h w) or (h w c), none of them 0")
    return scaled(array)


def scaled(array: np.ndarray) -> np.ndarray:
    """uint8 as it is; bool, uint16, and other integers and floats in their range as uint8 or float32 in [0, 1]."""
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype == np.uint16:
        return (array / np.float32(65_535)).astype(np.float32)
    if not np.issubdtype(array.dtype, np.integer) and not np.issubdtype(array.dtype, np.floating):
        raise Unreadable(f"pixels of type {array.dtype} came, expected uint8, uint16, bool or float in [0, 1]")
    low, high = array.min(), array.max()
    if np.issubdtype(array.dtype, np.integer):
        if low < 0 or high > 255:
            raise Unreadable(
                f"integers from {low} to {high} came, expected 0 … 255, an array of uint16, or floats in [0, 1]"
            )
        return array.astype(np.uint8)
    if not (low >= -TOLERANCE and high <= 1 + TOLERANCE):  # so NaN is caught
        raise Unreadable(f"floats from {low:g} to {high:g} came, expected [0, 1]: scale them, or give uint8 or uint16")
    return np.clip(array, 0, 1).astype(np.float32)


def _open(path: Path, max_pixels: int) -> "ImageFile.ImageFile":
    """A picture of which only the header is read."""
    from PIL import Image

    with _opening:  # our own limit, from the field's options, in place of Pillow's global one
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of odd tags
                image = Image.open(path, formats=FORMATS)
        except Exception as error:  # every codec has errors of its own
            if isinstance(error, OSError) and error.strerror:
                raise Unreadable(f"{path}: cannot be read: {error.strerror}") from error
            if path.is_file() and not path.stat().st_size:
                raise Unreadable(f"{path}: an empty file: copy it anew, or take its row out") from error
            raise Unreadable(f"{path}: not a picture ({', '.join(FORMATS)}), or its header is damaged") from error
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    if image.width * image.height > max_pixels:
        image.close()
        raise Unreadable(f"{path}: {image.width} × {image.height} pixels, over max_pixels = {max_pixels}")
    return image


def _is_npy(path: Path) -> bool:
    return path.suffix.lower() == ".npy"


def _from_npy(path: Path, max_pixels: int) -> Rows:
    """An array in a file: mapped, and scaled band by band, where it is large."""
    try:
        array = map_array(path)
    except (OSError, ValueError) as error:
        raise Unreadable(f"{path}: cannot be read as an array of pixels: {error}") from error
    if array.ndim in (2, 3) and array.shape[0] * array.shape[1] > max_pixels:
        raise Unreadable(f"{path}: {array.shape[1]} × {array.shape[0]} pixels, over max_pixels = {max_pixels}")
    try:
        if not is_large(array.shape):
            return _from_array(np.asarray(array))
        if array.ndim == 2:
            array = by_bands(array, lambda band: band[..., None])
        if array.ndim != 3:
            raise Unreadable(f"an array of shape {array.shape} came, expected (h w) or (h w c)")
        return array if array.dtype == np.uint8 else read_through(by_bands(array, scaled))
    except Unreadable as error:
        raise Unreadable(f"{path}: {error}") from error


def _from_file(path: Path, max_pixels: int) -> Rows:
    with _open(path, max_pixels) as image:
        _check_places(path, image)
        if is_large((image.height, image.width, len(image.getbands()))):
            return large_pictures.read(path, image.format or "", lambda band: _scaled_of(path, band))
        raw_mode = _raw_mode(image)
        try:
            array = _sixteen_bits(path, max_pixels, raw_mode) if raw_mode in _SIXTEEN_BITS else _pixels(image)
        except Unreadable:
            raise
        except Exception as error:  # every codec has errors of its own
            reason = " ".join(str(error).split()) or type(error).__name__
            raise Unreadable(f"{path}: damaged or cut short: {reason}") from error
    return _scaled_of(path, array if array.ndim == 3 else array[..., None])


def _check_places(path: Path, image: "ImageFile.ImageFile") -> None:
    """Raises Unreadable where a strip or a tile of a tiff begins where the file does: no library looks at that."""
    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    if any(0 in np.atleast_1d(tags.get(tag, 1)) for tag in (273, 324)):
        raise Unreadable(f"{path}: damaged or cut short: a part of the picture has no place in the file")


def _scaled_of(path: Path, array: np.ndarray) -> np.ndarray:
    try:
        return scaled(array)
    except Unreadable as error:
        raise Unreadable(f"{path}: {error}") from error


def _pixels(image: "Image.Image") -> np.ndarray:
    """The first frame, upright."""
    from PIL import ImageOps

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd EXIF and the like
        image = ImageOps.exif_transpose(image)
    if "transparency" in image.info and image.mode in ("1", "L", "P", "RGB"):
        image = image.convert("LA" if image.mode in ("1", "L") else "RGBA")
    if image.mode in ("1", "L", "LA", "RGB", "RGBA", "I", "F") or image.mode.startswith("I;16"):
        array = np.asarray(image)
        return array.astype(np.uint16) if image.mode.startswith("I;16") else array
    return np.asarray(image.convert("RGBA" if image.mode in ("PA", "La", "RGBa") else "RGB"))


def _raw_mode(image: "ImageFile.ImageFile") -> str:
    """How the samples stand in the file, in Pillow's words."""
    if not image.tile:
        return image.mode
    arguments = image.tile[0].args
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


# Pillow keeps the high byte of these. Read again with the other byte order it gives the low byte: together, all.
_OTHER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_SIXTEEN_BITS = {f"{mode};16{order}" for mode in ("RGB", "RGBA") for order in "BLN"} | {"LA;16B"}


def _sixteen_bits(path: Path, max_pixels: int, raw_mode: str) -> np.ndarray:
    def read_as(other_mode: str) -> np.ndarray:
        with _open(path, max_pixels) as image:
            image.tile = [tile._replace(args=_renamed(tile.args, other_mode)) for tile in image.tile]
            return _pixels(image).astype(np.uint16)

    if raw_mode == "LA;16B":  # as wide as RGBA of 8 bits
        high_low = rearrange(read_as("RGBA"), "h w (c bytes) -> h w c bytes", bytes=2)
        return high_low[..., 0] << 8 | high_low[..., 1]
    return read_as(raw_mode) << 8 | read_as(raw_mode[:-1] + _OTHER[raw_mode[-1]])


def _renamed(arguments: Any, raw_mode: str) -> Any:
    return (raw_mode, *arguments[1:]) if isinstance(arguments, tuple) else raw_mode
