"""Clip files, by PyAV: what their header says, their frames at asked times, their sound, and writing them.

Only the formats below are opened, and from the file alone: a playlist that names other files or addresses is none.
Not concerned with models, nor with arrays that hold frames.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from perceivers.errors import BadInput, Unreadable

ENDINGS = (".mp4", ".webm", ".avi", ".mkv", ".mov")
FORMATS = "mov,matroska,avi,gif"  # FFmpeg's names of what is read
CODECS = {".webm": ("libvpx-vp9", "libopus"), ".avi": ("mpeg4", "pcm_s16le")}  # written; else H.264, AAC
SHORT = 0.9  # of the length that a file declares, so much must be there
BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"uuid", b"moof", b"mfra", b"sidx", b"styp", b"meta")
CODEC_OPTIONS = {
    "libx264": {"preset": "veryfast", "crf": "18"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
    "mpeg4": {},
}

Frame = UInt8[np.ndarray, "h w c"]


class Header(NamedTuple):
    """What is known of a clip's pictures before they are decoded; `rate` in frames a second, 0 where not declared."""

    height: int
    width: int
    channels: int
    rate: float
    seconds: float
    sound: bool


class SoundHeader(NamedTuple):
    """What is known of a clip's sound before it is decoded; `rate` in Hz."""

    seconds: float
    channels: int
    rate: int


class Limits(NamedTuple):
    """What is read at most: pixels of all frames together, at their size in the file; and seconds."""

    pixels: int
    seconds: float


def header(path: Path) -> Header:
    """Raises Unreadable: not a clip, damaged, or without pictures."""
    with _opened(path) as container:
        stream = _pictures(path, container)
        rate = float(stream.average_rate or stream.base_rate or 0)
        sound = bool(container.streams.audio)
        return Header(stream.height, stream.width, _channels(stream), rate, _seconds(container), sound)


def sound_header(path: Path) -> SoundHeader | None:
    """None where the clip is silent. Raises Unreadable: not a clip, or damaged."""
    with _opened(path) as container:
        for stream in container.streams.audio:
            return SoundHeader(_seconds(container), stream.channels, stream.rate)
    return None


def frames(path: Path, rate: float, limits: Limits, keep: Callable[[Frame], np.ndarray]) -> list[np.ndarray]:
    """The frames nearest to 0, 1 / rate, 2 / rate … seconds after the first one, grey or RGB, upright, each as `keep`
    leaves it. So a clip of any rate, or of none that is constant, is one of `rate` frames a second.

    Raises Unreadable: no clip, damaged, cut short, without a frame, or over the limits, by its header or in truth.
    """
    with _opened(path) as container:
        stream = _pictures(path, container)
        per_frame = stream.height * stream.width
        _check(path, max(1, round(_seconds(container) * rate)) * per_frame, _seconds(container), limits)
        shape = {"width": stream.width, "height": stream.height}
        layout = "gray" if _channels(stream) == 1 else "rgb24"
        found: list[np.ndarray] = []
        for frame, count in _sampled(_timed(path, container, stream), rate):
            if count:
                _check(path, (len(found) + count) * per_frame, count / rate, limits)
                picture = np.rot90(frame.to_ndarray(format=layout, **shape), round(frame.rotation / 90))
                found += [keep(np.ascontiguousarray(picture.reshape(*picture.shape[:2], -1)))] * count
    if not found:
        raise Unreadable(f"{path}: no frames in it")
    return found


def sound(path: Path, max_seconds: float) -> tuple[Float[np.ndarray, "n c"], int] | None:
    """A clip's sound from its first frame on, at its own rate, which comes second; None where it is silent.

    Raises Unreadable: no clip, damaged, cut short, or longer than `max_seconds`.
    """
    with _opened(path) as container:
        if not container.streams.audio:
            return None
        stream = container.streams.audio[0]
        _check(path, 0, _seconds(container), Limits(0, max_seconds))
        pieces, first, count = [], None, 0
        for frame, start, _ in _timed(path, container, stream):
            first = start if first is None else first
            piece = np.atleast_2d(frame.to_ndarray())
            piece = piece if frame.format.is_planar else piece.reshape(-1, frame.layout.nb_channels).T
            count += piece.shape[1]
            _check(path, 0, count / stream.rate, Limits(0, max_seconds))
            pieces.append(_full_scale(piece))
        if first is None:
            return None
        samples = np.concatenate(pieces, axis=1).T
        late = round(first * stream.rate)
        samples = np.pad(samples, ((late, 0), (0, 0))) if late > 0 else samples[-late:]
        return np.ascontiguousarray(samples), stream.rate


def write(
    path: Path, pictures: UInt8[np.ndarray, "t h w 3"], rate: int, samples: Float[np.ndarray, "n c"], sound_rate: int
) -> None:
    """A clip of `rate` frames a second with its sound, in the format of the file's ending. Odd sides, which most
    players cannot show, grow by a pixel. Raises BadInput for another ending.
    """
    if path.suffix.lower() not in ENDINGS:
        raise BadInput(f"{path}: the ending of a clip is {', '.join(ENDINGS)}")
    av = _av(path)
    picture_codec, sound_codec = CODECS.get(path.suffix.lower(), ("libx264", "aac"))
    _, h, w, _ = pictures.shape
    padded = np.pad(pictures, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)), mode="edge")
    with av.open(str(path), "w") as container:
        video = container.add_stream(picture_codec, rate=rate, options=CODEC_OPTIONS[picture_codec])
        video.height, video.width, video.pix_fmt = *padded.shape[1:3], "yuv420p"
        audio = container.add_stream(sound_codec, rate=sound_rate, layout="mono" if samples.shape[1] == 1 else "stereo")
        for number, picture in enumerate(padded):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T, np.float32), "fltp", audio.layout.name)
        frame.sample_rate, frame.pts = sound_rate, 0
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))


def _av(path: Path) -> Any:
    try:
        import av
    except ImportError as error:
        raise BadInput(f"{path}: reading clips needs PyAV: pip install 'perceivers[video]'") from error
    return av


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The container. What FFmpeg finds wrong, here or while it is read, is Unreadable with the file's name."""
    av = _av(path)
    _check_whole(path)
    try:
        options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
        container = av.open(str(path), options=options)
    except (av.FFmpegError, ValueError, OSError) as error:
        raise Unreadable(f"{path}: not a clip, or its header is damaged: {', '.join(ENDINGS)} are read") from error
    with container:
        try:
            yield container
        except av.FFmpegError as error:
            raise Unreadable(f"{path}: damaged or cut short: {_reason(error)}") from error


def _check_whole(path: Path) -> None:
    """Raises Unreadable where an avi, or a box of an mp4, declares more bytes than there are: FFmpeg is silent."""
    try:
        end = path.stat().st_size
        with path.open("rb") as file:
            place = 0
            while len(start := file.read(16)) >= 8:
                riff, box = start[:4] == b"RIFF", start[4:8] in BOXES
                if not riff and (not box or start[:4] == bytes(4)):  # a box of size 0 goes on until the end
                    return
                size = 8 + int.from_bytes(start[4:8], "little") if riff else int.from_bytes(start[:4], "big")
                size = int.from_bytes(start[8:], "big") if size == 1 else size  # a box over 4 GB
                if place + max(size, 8) > end:
                    raise Unreadable(f"{path}: cut short: {place + size:,} bytes are declared, {end:,} are there")
                place += max(size, 8)
                file.seek(place)
    except OSError as error:
        raise Unreadable(f"{path}: cannot be read: {error.strerror}") from error


def _reason(error: Any) -> str:
    return str(getattr(error, "strerror", None) or error)


def _pictures(path: Path, container: Any) -> Any:
    """The stream of pictures; the cover of a song is none."""
    for stream in container.streams.video:
        if not stream.disposition & stream.disposition.attached_pic:
            if not (stream.codec_context and stream.height and stream.width):
                raise Unreadable(f"{path}: pictures in a form that is not known here")
            return stream
    hint = ": read it as `modality: audio`" if container.streams.audio else ""
    raise Unreadable(f"{path}: no pictures in it{hint}")


def _channels(stream: Any) -> int:
    return 1 if (stream.pix_fmt or "").startswith("gray") else 3


def _seconds(container: Any) -> float:
    """As declared; 0 where it is not."""
    return (container.duration or 0) / 1e6


def _check(path: Path, pixels: int, seconds: float, limits: Limits) -> None:
    if seconds > limits.seconds:
        raise Unreadable(f"{path}: {seconds:,.0f} s, over max_seconds = {limits.seconds:g}")
    if pixels > limits.pixels:
        raise Unreadable(f"{path}: {pixels:,} pixels in all frames, over max_pixels = {limits.pixels}")


def _timed(path: Path, container: Any, wanted: Any) -> Iterator[tuple[Any, float, float]]:
    """(frame, from, until) of one stream, in seconds after the first picture, or the first sample where there is none.

    Raises Unreadable where less is there than is declared.
    """
    streams = [*container.streams.video[:1], *container.streams.audio[:1]]
    zero = float((streams[0].start_time or 0) * streams[0].time_base)
    previous, end = -math.inf, 0.0
    step = 1 / float(wanted.average_rate or 1) if wanted.type == "video" else 0.0
    for packet in container.demux(streams):
        if packet.pts is not None:
            end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if packet.stream is not wanted:
            continue
        for frame in packet.decode():
            start = max(previous, previous + step if frame.pts is None else float(frame.pts * frame.time_base) - zero)
            previous = start if math.isfinite(start) else 0.0
            yield frame, previous, previous + (float((frame.duration or 0) * frame.time_base) or step)
    end -= min(0.0, (container.start_time or 0) / 1e6)
    if end < SHORT * _seconds(container):
        raise Unreadable(f"{path}: cut short: {_seconds(container):.2f} s are declared, {end:.2f} s are there")


def _sampled(timed: Iterable[tuple[Any, float, float]], rate: float) -> Iterator[tuple[Any, int]]:
    """(frame, how many of the times 0, 1 / rate, 2 / rate … are nearest to it)."""
    held, shown, start, end = None, 0, 0.0, 0.0
    for frame, begins, ends in timed:
        if held is not None:
            until = math.ceil((start + begins) / 2 * rate - 1e-6)
            yield held, max(0, until - shown)
            shown = max(shown, until)
        held, start, end = frame, begins, ends
    if held is not None:
        yield held, max(0, max(1, round(end * rate)) - shown)


def _full_scale(piece: np.ndarray) -> Float[np.ndarray, "c n"]:
    """Samples of any type as float32, full scale ±1."""
    if piece.dtype.kind == "f":
        return piece.astype(np.float32)
    middle = 128 if piece.dtype == np.uint8 else 0
    return ((piece.astype(np.float64) - middle) / 2.0 ** (8 * piece.dtype.itemsize - 1)).astype(np.float32)
