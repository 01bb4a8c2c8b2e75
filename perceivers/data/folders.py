"""Folders of files as a table: `class/name.ext`, also below `train/`, `validation/` and `test/`.

Not concerned with what stands in the files.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import polars as pl

from perceivers import clips
from perceivers.data.file_kinds import read_arrays
from perceivers.errors import BadInput

# The modality of a file by its ending.
EXTENSIONS = {
    "text": (".txt",),
    "image": (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".bmp", ".gif"),
    "audio": (".wav", ".flac", ".ogg", ".mp3"),
    "video": clips.ENDINGS,
    "points": (".ply", ".off", ".obj", ".stl", ".xyz", ".las", ".laz", ".pcd"),
    "array": (".npy", ".npz"),
    "events": (".csv", ".tsv", ".parquet"),
}
MODALITY_OF = {ending: modality for modality, endings in EXTENSIONS.items() for ending in endings}
SHOWN = 8
SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


class Files(NamedTuple):
    """A row for each file, and what a person should know."""

    frame: pl.DataFrame  # path, and where the folder says so class and split
    notes: tuple[str, ...]


def list_files(folder: Path) -> Files:
    """The files below `folder`, sorted, by class and split where it has such subfolders. Hidden ones are left out.

    Links to folders are followed one level deep, as classes, where they stay inside. Raises BadInput where there is no
    file whose ending is known.
    """
    left = Left()
    parts = _subfolders(folder, folder, left)
    if parts and {p.name.lower() for p in parts} <= SPLITS.keys() and all(_subfolders(p, folder, left) for p in parts):
        left.beside(folder, *parts)
        rows = [
            {"path": path, "class": kind.name, "split": SPLITS[part.name.lower()]}
            for part in parts
            for kind in _subfolders(part, folder, left)
            for path in _known(kind, folder, left)
        ]
    elif parts:
        left.beside(folder)
        rows = [{"path": path, "class": kind.name} for kind in parts for path in _known(kind, folder, left)]
    else:
        rows = [{"path": path} for path in _known(folder, folder, left)]
    if not rows:
        found = f"only files that end with {left.endings}" if left.unknown else "an empty folder"
        raise BadInput(f"{folder}: {found}: expected class/name.ext (png, jpg, txt …), or one table")
    rows = left.strange(folder, rows)
    return Files(pl.DataFrame(rows), left.notes)


class Left:
    """What is left out of a folder, and why."""

    def __init__(self):
        self.unknown: Counter[str] = Counter()
        self.links: set[Path] = set()
        self.names: set[Path] = set()
        self.loose: list[str] = []
        self.kind = ""
        self.others: list[str] = []

    def beside(self, *folders: Path) -> None:
        """Files beside the folders of classes belong to none of these."""
        for folder in folders:
            self.loose += sorted(p.name for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))

    def strange(self, root: Path, rows: list[dict[str, str]]) -> list[dict[str, str]]:
        """The rows of the kind of file that most are: a readme among pictures is no picture that cannot be read."""
        kinds = _kinds([root / row["path"] for row in rows])
        self.kind = Counter(kinds).most_common(1)[0][0]
        self.others = [row["path"] for row, kind in zip(rows, kinds, strict=True) if kind != self.kind]
        return [row for row, kind in zip(rows, kinds, strict=True) if kind == self.kind]

    @property
    def endings(self) -> str:
        """The most frequent unknown endings."""
        shown = sorted(ending for ending, _ in self.unknown.most_common(SHOWN))
        return ", ".join(shown) + (" …" if len(self.unknown) > SHOWN else "")

    @property
    def notes(self) -> tuple[str, ...]:
        """One line for each reason that there was."""
        notes = []
        if self.unknown:
            notes.append(f"{self.unknown.total():,} files are left out, their endings unknown: {self.endings}")
        if self.loose:
            notes.append(f"files beside the folders of classes are left out: {_named(self.loose)}")
        if self.others:
            notes.append(f"files of another kind than most, {self.kind}, are left out: {_named(self.others)}")
        if self.links:
            first = min(self.links).name
            notes.append(f"links that lead out of the folder are left out: {len(self.links):,}, {first!r} among them")
        if self.names:
            first = min(self.names).name
            notes.append(f"names that are not UTF-8 are left out: {len(self.names):,}, {first!r} among them")
        return tuple(notes)


def class_folders(folder: Path) -> list[str]:
    """The names of the subfolders that hold files whose ending is known."""
    left = Left()
    return [kind.name for kind in _subfolders(folder, folder, left) if next(_known(kind, folder, left), None)]


def _kinds(paths: list[Path]) -> list[str]:
    """What each file is by its ending; arrays are what most of them hold, where files of other kinds are there too."""
    kinds = [MODALITY_OF[path.suffix.lower()] for path in paths]
    if len({*kinds}) > 1 and "array" in kinds:
        held = read_arrays([path for path, kind in zip(paths, kinds, strict=True) if kind == "array"]).modality
        kinds = [str(held) if kind == "array" else kind for kind in kinds]
    return kinds


def _named(names: list[str]) -> str:
    return f"{len(names):,}: {', '.join(map(repr, names[:SHOWN]))}" + (" …" if len(names) > SHOWN else "")


def _subfolders(folder: Path, root: Path, left: Left) -> list[Path]:
    found = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    return [p for p in found if _inside(p, root, left)]


def _inside(path: Path, root: Path, left: Left) -> bool:
    """Whether a path has a name that can be written and, should it be a link, stays inside the root."""
    try:
        path.name.encode()
    except UnicodeEncodeError:
        left.names.add(path)
        return False
    if path.is_symlink() and not path.resolve().is_relative_to(root.resolve()):
        left.links.add(path)
        return False
    return True


def _known(folder: Path, root: Path, left: Left) -> Iterator[str]:
    """The files at any depth whose ending is known, relative to `root`; what is left out is counted."""
    for path in sorted(folder.rglob("*")):  # which does not follow links to folders
        relative = path.relative_to(root)
        if any(part.startswith(".") for part in relative.parts) or not path.is_file():
            continue
        if path.suffix.lower() not in MODALITY_OF:
            left.unknown[path.suffix or path.name] += 1
        elif _inside(path, root, left):
            yield relative.as_posix()
