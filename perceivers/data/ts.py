"""UCR/UEA `.ts` files as tables: the series, their labels, and the split that a pair of files says.

A header of `@key value` lines, then a line a case: channels with `:` between them, the label last. Values are parted
by commas, `?` is a missing one, and with time stamps each step is `(time,value)`.
Not concerned with how series are read by a model.
"""

import re
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from perceivers.errors import BadInput
from perceivers.terminal import counted

PAIR = re.compile(r"(.+)_(train|test)\.ts", re.IGNORECASE)
PAIRED = re.compile(r"\(([^()]*),([^(),]*)\)")
MISSING = ("?", "nan", "")


class Header(NamedTuple):
    """What the lines with `@` say of the cases below."""

    stamped: bool  # each step comes with its time
    labels: tuple[str, ...] | None  # the classes; None: the label is a number
    labelled: bool
    channels: tuple[int, str] | None  # how many a case has, and the line that says so
    equal: bool  # all steps of a case are there in each of its channels


def find_pair(folder: Path) -> dict[str, Path] | None:
    """{"train": …, "test": …} of `X_TRAIN.ts` and `X_TEST.ts`; None where the folder has no such files.

    Of several pairs it is the one that is named like the folder. Raises BadInput where it is none of them.
    """
    pairs: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.iterdir()):
        if match := PAIR.fullmatch(path.name):
            pairs.setdefault(match[1], {})[match[2].lower()] = path
    whole = {name: pair for name, pair in pairs.items() if len(pair) == 2}
    if len(whole) > 1 and folder.resolve().name not in whole:
        raise BadInput(f"{folder}: holds {len(whole)} pairs ({', '.join(whole)}): keep one in a folder of its own")
    return whole.get(folder.resolve().name) or next(iter(whole.values()), None)


def read_pair(pair: dict[str, Path]) -> pl.DataFrame:
    """The cases of both files with a column `split`. Raises BadInput."""
    frames = [read_ts(pair[part]).with_columns(split=pl.lit(part)) for part in ("train", "test")]
    try:
        return pl.concat(frames, how="vertical_relaxed")
    except pl.exceptions.PolarsError as error:
        raise BadInput(
            f"{pair['train']} and {pair['test']}: do not fit together, {', '.join(map(_columns, frames))}"
        ) from error


def _columns(frame: pl.DataFrame) -> str:
    return "one has " + ", ".join(f"{name} ({dtype})" for name, dtype in frame.schema.items())


def read_ts(path: Path) -> pl.DataFrame:
    """Columns `series` (a list, or with several channels a list of lists), `time` (seconds or numbers, where there are
    time stamps) and `class` (a string, or a number for regression). Raises BadInput with the line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: byte {error.start} is not UTF-8: save the file as UTF-8") from error
    header, first = _header(path, lines)
    rows: dict[str, list] = {"series": [], "class": []} | ({"time": []} if header.stamped else {})
    for number, line in enumerate(lines[first:], start=first + 1):
        if line.strip() and not line.startswith(("#", "%")):
            for name, value in _case(f"{path}, line {number}", line.strip(), header).items():
                rows[name].append(value)
    if not rows["series"]:
        raise BadInput(f"{path}: no case after @data: expected a line for each series")
    if all(len(channels) == 1 for channels in rows["series"]):
        rows["series"] = [channels[0] for channels in rows["series"]]
    if not header.labelled:
        del rows["class"]
    return pl.DataFrame(rows)


def _header(path: Path, lines: list[str]) -> tuple[Header, int]:
    found: dict[str, list[str]] = {}
    for number, line in enumerate(lines):
        words = line.split()
        if not words or line.startswith(("#", "%")):
            continue
        if words[0].lower() == "@data":
            labels = found.get("@classlabel", ["false"])
            classes, number_asked = labels[0].lower() == "true", found.get("@targetlabel", ["false"])[0].lower()
            stamped = found.get("@timestamps", ["false"])[0].lower() == "true"
            known = tuple(labels[1:]) if classes else None
            equal = found.get("@equallength", ["false"])[0].lower() == "true"
            return Header(stamped, known, classes or number_asked == "true", _channels(found), equal), number + 1
        if not words[0].startswith("@") or len(words) < 2:
            raise BadInput(f"{path}, line {number + 1}: {line[:40]!r}: expected `@key value` lines, then @data")
        found[words[0].lower()] = words[1:]
    raise BadInput(f"{path}: no @data line: not a .ts file of the UCR/UEA archive")


def _channels(found: dict[str, list[str]]) -> tuple[int, str] | None:
    if found.get("@univariate", [""])[0].lower() == "true":
        return 1, "@univariate true"
    said = next((f"{key} {found[key][0]}" for key in ("@dimensions", "@dimension") if key in found), None)
    count = (said or "").split(" ")[-1]
    return (int(count), said) if said and count.isdecimal() else None


def _case(where: str, line: str, header: Header) -> dict[str, object]:
    """One line → its columns. Raises BadInput."""
    if header.stamped:
        return _stamped_case(where, line, header)
    channels, label = _parts(where, line.split(":"), header)
    series = [_values(where, channel.split(",")) for channel in channels]
    if header.equal and len({len(channel) for channel in series}) > 1:
        lengths = ", ".join(str(len(channel)) for channel in series)
        raise BadInput(
            f"{where}: channels of {lengths} steps came, but the header says @equalLength true: write ? where a value "
            "is missing, or @equalLength false"
        )
    return {"series": series, **_label(where, label, header)}


def _stamped_case(where: str, line: str, header: Header) -> dict[str, object]:
    """Channels of their own times share one axis: a value is missing at the times of the others."""
    pairs = re.sub(r"\([^()]*\)", lambda match: match[0].replace(":", "\0"), line).split(":")  # clocks have colons
    channels, label = _parts(where, [pair.replace("\0", ":") for pair in pairs], header)
    found = []
    for channel in channels:
        steps, rest = PAIRED.findall(channel), PAIRED.sub("", channel).strip(", \t")
        if rest or not steps:
            raise BadInput(f"{where}: {rest[:40]!r}: expected (time,value),(time,value) …")
        times = _times(where, [time for time, _ in steps])
        if len(set(times)) < len(times):
            again = next(time for i, (time, _) in enumerate(steps) if times[i] in times[:i])
            raise BadInput(f"{where}: time {again!r} is there twice in a channel: keep one of them")
        found.append(dict(zip(times, _values(where, [value for _, value in steps]), strict=True)))
    times = sorted(set().union(*found))
    series = [[channel.get(time) for time in times] for channel in found]
    return {"series": series, "time": times, **_label(where, label, header)}


def _parts(where: str, parts: list[str], header: Header) -> tuple[list[str], str | None]:
    channels, label = (parts[:-1], parts[-1].strip()) if header.labelled else (parts, None)
    if header.channels is not None and len(channels) != header.channels[0]:
        count, said = header.channels
        raise BadInput(
            f"{where}: {counted(len(channels), 'channel')} came, but the header says {said}: "
            f"give {count}{', then : and the label' if header.labelled else ''}, or change the header"
        )
    return channels, label


def _label(where: str, label: str | None, header: Header) -> dict[str, object]:
    if label is None:
        return {}
    if header.labels is None:
        return {"class": None if label in MISSING else _values(where, [label])[0]}
    if label in MISSING:
        return {"class": None}
    if header.labels and label not in header.labels:
        raise BadInput(f"{where}: class {label!r} is none of @classLabel: {', '.join(header.labels)}")
    return {"class": label}


def _values(where: str, texts: list[str]) -> list[float | None]:
    if texts == [""]:
        return []  # a series without a step
    try:
        values = np.array(texts, dtype=np.float64)  # the common case at once
    except ValueError:
        values = np.array([_value(where, text) for text in texts], dtype=np.float64)
    return [None if np.isnan(value) else value for value in values.tolist()]


def _value(where: str, text: str) -> float:
    if text.strip().lower() in MISSING:
        return np.nan
    try:
        return float(text)
    except ValueError as error:
        raise BadInput(f"{where}: {text[:40]!r} is no number: write ? where a value is missing") from error


def _times(where: str, texts: list[str]) -> list[float]:
    try:
        return [float(text) for text in texts]
    except ValueError:
        pass
    try:
        return [(datetime.fromisoformat(text.strip()) - datetime(1970, 1, 1)).total_seconds() for text in texts]
    except (ValueError, TypeError) as error:
        raise BadInput(f"{where}: {texts[0]!r}: expected numbers or times such as 2026-11-23 08:00:00") from error
