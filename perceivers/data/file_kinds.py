"""How a column of names of files is read, by what the headers of a sample say.

Not concerned with telling that a column names files (`rules.py`), nor with reading them for a model.
"""

import csv
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from perceivers import clips
from perceivers.arrays import array_names, array_shape
from perceivers.errors import Unreadable
from perceivers.mp3 import check_mp3

T = TypeVar("T")

OPENED = 100
TIME_NAMES = frozenset({"time", "times", "timestamp", "timestamps", "t"})
LONGEST_LINE = 65_536  # of a header
LONGEST_SIDE, LONGEST_CLIP = 128, 64  # larger pictures, and larger clips, are scaled down


class Reading(NamedTuple):
    """How a column is read. `modality` is None where it is not."""

    modality: str | None
    options: Mapping[str, Any]
    reason: str
    derived: Mapping[str, "Reading"] = {}  # by name, what else the same column is read as


def _pictures(paths: list[Path]) -> Reading:
    """Scaled down where half of a sample of the pictures is larger than LONGEST_SIDE."""
    from PIL import Image

    def longest_side(path: Path) -> int:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as picture:
            return max(picture.size)

    sides, but = _tried(paths, longest_side, OSError, ValueError, SyntaxError, Image.DecompressionBombError)
    side = int(np.median(sides)) if sides else 0
    if side > LONGEST_SIDE:
        reason = f"names of pictures, the median longest side {side} pixels: scaled down to {LONGEST_SIDE}{but}"
        return Reading("image", {"resize": LONGEST_SIDE}, reason)
    return Reading("image", {"resize": None}, f"names of pictures, the median longest side {side} pixels{but}")


def _tried(paths: list[Path], read: Callable[[Path], T], *errors: type[Exception]) -> tuple[list[T], str]:
    """What a sample of the files says of itself, and `_but` for those that raise `errors`: reading will say why."""
    found, closed = [], []
    for i in np.random.default_rng(0).permutation(len(paths))[:OPENED]:
        try:
            found.append(read(paths[i]))
        except errors:
            closed.append(paths[i])
    return found, _but(closed, len(found))


def _but(closed: list[Path], opened: int) -> str:
    """How many of a sample cannot be opened, to end a reason with."""
    if not closed:
        return ""
    return f"; {len(closed):,} of {len(closed) + opened:,} that were tried are damaged, {min(closed).name!r} among them"


def _sounds(paths: list[Path]) -> Reading:
    """By the headers of a sample."""
    import soundfile

    def header(path: Path) -> Any:
        if path.suffix.lower() == ".mp3":
            check_mp3(path)
        return soundfile.info(path)

    headers, but = _tried(paths, header, OSError, ValueError, soundfile.SoundFileError)
    if not headers:
        return Reading("audio", {}, f"names of sound files{but}")
    seconds, rate = np.median([header.duration for header in headers]), np.median([h.samplerate for h in headers])
    return Reading("audio", {}, f"names of sound files, the median {seconds:.1f} s at {rate:,.0f} Hz{but}")


def read_arrays(paths: list[Path]) -> Reading:
    """By the names of arrays in npz files, clouds or events; by the headers series of rank 1 and 2, else arrays."""
    if not any(path.suffix.lower() == ".npy" for path in paths[:OPENED]):
        names, _ = _opened(paths)
        if _most("points" in inside for inside in names):
            return Reading("points", {}, "names of npz files with an array named points")
        if _most(_time_in(inside) for inside in names):
            return Reading("events", {"files": True}, "names of npz files of events: an array holds their times")
    found = {path: array_shape(path) for path in paths}
    shapes = Counter(shape for shape in found.values() if shape)
    but = _but([path for path, shape in found.items() if not shape], shapes.total())
    if not shapes:
        several = [name for path in paths[:1] if path.suffix.lower() == ".npz" for name in _names(path)]
        names = f": `key` in the schema says which of {', '.join(several[:5])}" if len(several) > 1 else ""
        return Reading("array", {"files": True}, f"names of files of arrays{names}")
    ranks = sorted({len(shape) for shape in shapes})
    if ranks[-1] <= 2:
        of = " and ".join(map(str, ranks))
        return Reading("series", {"files": True}, f"names of files of arrays of rank {of}{but}")
    usual = " × ".join(map(str, shapes.most_common(1)[0][0]))
    most = usual if len(shapes) == 1 else f"most {usual}"
    return Reading("array", {"files": True}, f"names of files of arrays, {most}{but}")


def _opened(paths: list[Path]) -> tuple[list[list[str]], str]:
    """The names in a sample of the files, as far as they can be opened, and `_but` for the others."""
    found = {path: _names(path) for path in paths[:OPENED]}
    names = [inside for inside in found.values() if inside]
    return names, _but([path for path, inside in found.items() if not inside], len(names))


def _most(fits: Iterable[Any]) -> bool:
    """Whether more fit than not: one file of another kind does not decide how all are read."""
    found = [bool(one) for one in fits]
    return 2 * sum(found) > len(found)


def _films(paths: list[Path]) -> Reading:
    """By the headers of a sample. Their sound is an input of its own where at least half of them have some."""
    headers, but = _tried(paths, clips.header, Unreadable)
    if not headers:
        return Reading("video", {}, f"names of clips{but}")
    seconds, rate = (np.median([getattr(header, name) for header in headers]) for name in ("seconds", "rate"))
    side = int(np.median([max(header.height, header.width) for header in headers]))
    resize = LONGEST_CLIP if side > LONGEST_CLIP else None
    scaled = f": scaled down to {resize}" if resize else ""
    size = f"the longest side {side}{scaled}{but}"
    reason = f"names of clips, the median {seconds:.1f} s at {rate:.3g} frames a second, {size}"
    sound = {"audio": Reading("audio", {}, "the sound of the clips")}
    heard = sum(header.sound for header in headers) >= len(headers) / 2
    return Reading("video", {"resize": resize}, reason, sound if heard else {})


def _points(paths: list[Path]) -> Reading:
    return Reading("points", {}, "names of files of points or meshes")


def _texts(paths: list[Path]) -> Reading:
    return Reading("text", {"files": True}, "names of text files")


def _tables(paths: list[Path]) -> Reading:
    """Events, where most of a sample have a column that is named like times."""
    headers, but = _opened(paths)
    if not headers:
        return Reading(None, {}, "names of tables that are empty, or that cannot be opened: save them anew")
    if _most(_time_in(header) for header in headers):
        name = next(time for header in headers if (time := _time_in(header)))
        return Reading("events", {"files": True}, f"names of tables, a row an event at its {name!r}{but}")
    shown = ", ".join(next((header for header in headers if not _time_in(header)), [])[:5])
    reason = (
        f"names of tables without a column named time: `modality: events, files: true, time: …` ({shown}) reads them"
    )
    return Reading(None, {}, reason)


def _time_in(names: list[str]) -> str | None:
    """The one that is named like times, beside others."""
    return next((name for name in names if name.strip().lower() in TIME_NAMES), None) if len(names) > 1 else None


def _names(path: Path) -> list[str]:
    """Of a table's columns, or of the arrays in an npz file; none where it cannot be opened."""
    from pyarrow import ArrowException, parquet

    ending = path.suffix.lower()
    try:
        if ending == ".npz":
            return array_names(path)
        if ending == ".parquet":
            return parquet.read_schema(path).names
        with path.open(encoding="utf-8", newline="") as file:
            line = file.readline(LONGEST_LINE)
        return next(csv.reader([line], delimiter="\t" if ending == ".tsv" else ","), [])
    except (OSError, ValueError, csv.Error, ArrowException):
        return []


FILES = {
    "events": _tables,
    "image": _pictures,
    "audio": _sounds,
    "video": _films,
    "points": _points,
    "text": _texts,
    "array": read_arrays,
}
