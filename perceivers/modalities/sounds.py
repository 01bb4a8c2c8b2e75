"""From sound files and arrays to samples (n c) at a rate: float32, whole, finite.

Not concerned with windows, batches or models (`audio.py`).
"""

import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Float

from perceivers import clips
from perceivers.arrays import map_array
from perceivers.errors import Unreadable
from perceivers.modalities.base import is_missing
from perceivers.mp3 import check_mp3
from perceivers.stored import BLOCK, Rows, Stored, by_bands, is_large, read_through, store

FASTEST = 50_000_000  # samples a second: no recording has more
UNKNOWN = 0xFFFFFFFF  # bytes, of writers to a pipe: until the end
REST, NAME = 64, re.compile(rb"[ -~]{4}")  # bytes that are looked at after the samples; the name of a chunk
LOSSY_SHORT = 0.99  # of an mp3 that declares its length, so much must be there: encoders round


class Header(NamedTuple):
    """What is known of a sound before it is decoded. `rate` is None for arrays: they carry none."""

    frames: int
    channels: int
    rate: int | None

    @property
    def seconds(self) -> float:
        return self.frames / self.rate if self.rate else 0.0


def header(cell: Any) -> Header | None:
    """Of a file, its header alone; None where missing. Raises Unreadable."""
    if _is_clip(cell):
        found = clips.sound_header(cell)
        return None if found is None else Header(round(found.seconds * found.rate), found.channels, found.rate)
    if isinstance(cell, Path) and cell.suffix.lower() != ".npy":
        with _open(cell) as file:
            return Header(file.frames, file.channels, file.samplerate)
    samples = _from_array(cell)
    return None if samples is None else Header(len(samples), samples.shape[1], None)


def read(cell: Any, rate: int, max_seconds: float) -> Rows | None:
    """A Path or an array → its samples (n c) at `rate`, with the channels that it has. An array is at `rate` already.
    Of a sound that is too large for memory they are `Stored` in a file.

    Raises Unreadable: not a sound, damaged, cut short, empty, not finite, or longer than `max_seconds`.
    """
    if not isinstance(cell, Path) or cell.suffix.lower() == ".npy":
        return _from_array(cell)
    if _is_clip(cell):
        heard = clips.sound(cell, max_seconds)
        return None if heard is None else resample(*heard, rate)
    with _open(cell) as file:
        if file.frames > max_seconds * file.samplerate:
            seconds = file.frames / file.samplerate
            raise Unreadable(f"{cell}: {seconds:,.0f} s of sound, over max_seconds = {max_seconds:g}")
        if is_large((file.frames, file.channels)):
            return _stored(cell, _resampled(_decode(cell, file, BLOCK // file.channels), file.samplerate, rate))
        return resample(next(_decode(cell, file, file.frames)), file.samplerate, rate)


def resample(samples: Float[np.ndarray, "n c"], rate: int, wanted: int) -> Float[np.ndarray, "n c"]:
    """The same sound at another rate, at least one sample, by soxr's high quality: what lies above the new Nyquist
    frequency is damped by more than 90 dB.
    """
    if rate == wanted:
        return samples
    import soxr

    found = soxr.resample(samples, rate, wanted, "HQ")
    return found if len(found) else samples[:1]


def _resampled(
    blocks: Iterable[Float[np.ndarray, "k c"]], rate: int, wanted: int
) -> Iterator[Float[np.ndarray, "n c"]]:
    """The same of a sound that comes in blocks, one after the other."""
    if rate == wanted:
        yield from blocks
        return
    import soxr

    stream = None
    for block in blocks:
        stream = stream or soxr.ResampleStream(rate, wanted, block.shape[1], dtype="float32", quality="HQ")
        yield stream.resample_chunk(block)
    assert stream is not None, "a sound that is large has blocks"
    yield stream.resample_chunk(block[:0], last=True)


def _stored(path: Path, blocks: Iterable[Float[np.ndarray, "k c"]]) -> Stored:
    try:
        return store(blocks)
    except OSError as error:
        raise Unreadable(f"{path}: cannot be unpacked into a temporary file: {error.strerror or error}") from error


def as_channels(samples: Rows, channels: int) -> Rows:
    """So many channels: one is the mean of all, and one is repeated. Raises Unreadable for other changes."""
    came = samples.shape[1]
    if came == channels:
        return samples
    if channels == 1:
        return by_bands(samples, lambda band: band.mean(1, keepdims=True))
    if came == 1:
        return by_bands(samples, lambda band: np.repeat(band, channels, axis=1))
    raise Unreadable(f"a sound of {came} channels came, expected {channels} or 1: `channels: 1` takes the mean of all")


def _is_clip(cell: Any) -> bool:
    """Whether the sound is that of a clip; None stands for a silent one's."""
    return isinstance(cell, Path) and cell.suffix.lower() in clips.ENDINGS


def _open(path: Path) -> Any:
    import soundfile

    try:
        if not path.stat().st_size:
            raise Unreadable(f"{path}: an empty file: copy it anew, or take its row out")
        _check_riff(path)
        if path.suffix.lower() == ".mp3":
            check_mp3(path)
        file = soundfile.SoundFile(path)
    except Unreadable:
        raise
    except ValueError as error:
        raise Unreadable(f"{path}: {error}: export it anew") from error
    except OSError as error:
        raise Unreadable(f"{path}: cannot be read: {error.strerror}") from error
    except soundfile.LibsndfileError as error:
        reason = error.error_string.rstrip(".")
        raise Unreadable(f"{path}: not a sound, or its header is damaged: {reason}: export it anew") from error
    if file.samplerate < 1 or file.channels < 1:
        raise Unreadable(f"{path}: its header says {file.channels} channels at {file.samplerate} Hz")
    if not file.frames:
        raise Unreadable(f"{path}: no samples in it: record it anew, or take its row out")
    return file


def _check_riff(path: Path) -> None:
    """Raises Unreadable where a wav's header lies about its rate or its length: the library would not say so."""
    with path.open("rb") as file:
        if file.read(4) != b"RIFF":
            return
        file.seek(12)
        end = path.stat().st_size
        while len(start := file.read(8)) == 8:
            size = int.from_bytes(start[4:], "little")
            after = file.tell() + size + size % 2
            if start[:4] == b"fmt ":
                _check_rate(path, int.from_bytes(file.read(8)[4:], "little"))
            if start[:4] == b"data":
                _check_length(path, size, end - file.tell())
                _check_rest(path, file, size, after)
                return
            file.seek(after)


def _check_rate(path: Path, rate: int) -> None:
    if not 0 < rate <= FASTEST:
        raise Unreadable(f"{path}: its header says {rate:,} samples a second: export it anew")


def _check_length(path: Path, size: int, there: int) -> None:
    if there < size < UNKNOWN:
        raise Unreadable(
            f"{path}: cut short: {size:,} bytes of samples are declared, {there:,} are there: copy it anew"
        )


def _check_rest(path: Path, file: BinaryIO, size: int, after: int) -> None:
    """After the samples come other chunks, each with a name, or nothing: else there are more samples than declared."""
    if size >= UNKNOWN:
        return
    file.seek(after)
    rest = file.read(REST)
    if rest.strip(b"\0") and not NAME.match(rest):
        raise Unreadable(f"{path}: its header declares {size:,} bytes of samples, but there are more: export it anew")


def _decode(path: Path, file: Any, frames: int) -> Iterator[Float[np.ndarray, "k c"]]:
    """The samples, so many frames at a time. Raises Unreadable where they are not whole and finite."""
    import soundfile

    least = math.floor(LOSSY_SHORT * file.frames) if file.format in ("MP3", "MPEG") else file.frames
    count = 0
    while count < file.frames:
        try:
            samples = file.read(min(frames, file.frames - count), dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            reason = error.error_string.removeprefix("Error : ").rstrip(".")
            raise Unreadable(f"{path}: damaged or cut short: {reason}: copy it anew") from error
        if not len(samples):
            break
        if not np.isfinite(samples).all():
            raise Unreadable(f"{path}: a sample is not a finite number: the file is damaged")
        count += len(samples)
        if len(samples) < frames and count < max(1, least):
            break
        yield samples
    if count < max(1, least):
        raise Unreadable(f"{path}: cut short: {file.frames:,} samples are declared, {count:,} are there: copy it anew")


def _from_array(cell: Any) -> Rows | None:
    where = f"{cell}: " if isinstance(cell, Path) else ""
    if isinstance(cell, Path):
        cell = _load(cell)
    if isinstance(cell, Stored):
        return read_through(by_bands(cell, lambda band: _checked(band, where)))
    if is_missing(cell):
        return None
    if isinstance(cell, str | bytes | int | float | dict):
        raise Unreadable(f"{str(cell)[:60]!r} came, expected the path of a sound, or samples (n) or (n channels)")
    try:
        samples = np.asarray(cell)
        if samples.dtype == object or samples.dtype.kind not in "iuf":
            raise TypeError
    except (ValueError, TypeError) as error:
        raise Unreadable(f"{where}samples must be numbers, (n) or (n channels), none missing") from error
    return _checked(samples, where)


def _checked(samples: np.ndarray, where: str) -> Float[np.ndarray, "n c"]:
    """Numbers as samples. Raises Unreadable, which begins with `where`."""
    samples = samples.astype(np.float32)
    samples = samples[:, None] if samples.ndim == 1 else samples
    if samples.ndim != 2 or not samples.size:
        shape = " × ".join(str(n) for n in samples.shape)
        raise Unreadable(f"{where}an array of {shape} came, expected samples (n) or (n channels), at least one")
    if not np.isfinite(samples).all():
        raise Unreadable(f"{where}a sample is not a finite number")
    return samples


def _load(path: Path) -> Rows:
    """An npy file, of numbers alone: code never comes from data."""
    try:
        array = map_array(path)
        if array.dtype.kind not in "iuf":
            raise ValueError(f"{array.dtype} is no number")
        return array if is_large(array.shape) else np.asarray(array)
    except OSError as error:
        raise Unreadable(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise Unreadable(f"{path}: damaged, or not an npy file of numbers: {error}") from error
