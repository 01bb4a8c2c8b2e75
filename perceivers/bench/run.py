"""All rows in turn: kept as they end, gone on with when started again.

Not concerned with one row (`measure.py`).
"""

import itertools
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from perceivers.bench.measure import Row, Setting, measure, written
from perceivers.bench.process import SideFailed
from perceivers.bench.store import Store
from perceivers.bench.summary import Comparison, compare
from perceivers.bench.works import GAINS, PLAIN, Work
from perceivers.terminal import counted, say

MEMORY = Path("/proc/meminfo")
ROOM = 0.8  # of the memory that is free


def run(works: Sequence[Work], store: Store, setting: Setting, seconds: float) -> int:
    """Measures what the store lacks, until `seconds` have passed; the number of rows that failed."""
    until = time.monotonic() + seconds
    failed, left = 0, 0
    todo = [work for work in works if work.key not in store.rows]
    for name, group in itertools.groupby(todo, key=lambda work: work.weights):
        rows = list(group)
        if time.monotonic() > until:
            left += len(rows)
            continue
        try:
            with written(name) as files:
                for work in rows:
                    if time.monotonic() > until:
                        left += 1
                    else:
                        failed += not _one(work, store, setting, files)
        except SideFailed as error:
            say(f"not measured: {error}")
            failed += len(rows)
    if left:
        say(f"{counted(left, 'row')} not begun in time: the same command goes on")
    return failed


def _one(work: Work, store: Store, setting: Setting, files: dict[str, str]) -> bool:
    """Measures and keeps one row. False where it could not be."""
    if needed(work) > ROOM * free_memory():
        say(f"{work.key}: left out: needs about {needed(work) / 1e9:.0f} GB, {free_memory() / 1e9:.0f} GB are free")
        return True
    try:
        row = measure(work, setting, files)
    except SideFailed as error:
        say(f"{work.key}: not measured: {error}")
        return False
    store.keep(work.key, row)
    say(line(compare(row, max(row["rates"])), work.key))
    return True


def available(works: Sequence[Work], rivals: Collection[str]) -> list[Work]:
    """The works beside the rivals that are installed, else alone where that says something. Notes what is missing."""
    missing = sorted({work.rival for work in works if work.rival} - {*rivals, PLAIN, *GAINS})
    if missing:
        say(f"note: without {' and '.join(missing)}: `perceivers bench --install-rivals` installs what is missing")
    alone = [replace(work, rival=None) if work.rival in missing else work for work in works]
    return [work for work in alone if work.rival is not None or work.what != "others"]


def line(found: Comparison, key: str) -> str:
    """A row for the person who waits."""
    against = "" if found.ratio is None else f", {found.ratio:.2f} times as fast ({found.low:.2f} to {found.high:.2f})"
    return f"{key}: {found.ours_s:.3g} s{against}, {found.share:.0%} of the limit, {found.peak / 1e9:.2f} GB"


def needed(work: Work) -> int:
    """Bytes that a pass over noise takes, about: an array, its norm, keys and values, and their copies."""
    shape: Row = work.spec.get("shape", {})
    if not shape:
        return 0
    return 4 * (7 * shape["inputs"] * shape["channels"] + 4 * shape["queries"] * shape["query_channels"])


def free_memory() -> float:
    """Bytes that can be had without swapping; without limit where the system does not say."""
    if not MEMORY.exists():
        return float("inf")
    line = next(line for line in MEMORY.read_text().splitlines() if line.startswith("MemAvailable"))
    return 1024.0 * int(line.split()[1])
