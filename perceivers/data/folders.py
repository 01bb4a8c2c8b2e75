"""Folders of files as a table: `class/name.ext`, also below `train/`, `validation/` and `test/`.

Not concerned with what stands in the files.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import polars as pl

from perceivers.errors import BadInput

# The modality of a file by its ending. Some are known here and not read yet.
EXTENSIONS = {
    "text": (".txt",),
    "image": (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".bmp", ".gif"),
    "audio": (".wav", ".flac", ".ogg", ".mp3"),
    "video": (".mp4", ".webm", ".avi", ".mkv"),
    "points": (".ply", ".off", ".obj", ".stl", ".xyz", ".las", ".pcd"),
    "array": (".npy", ".npz"),
}
MODALITY_OF = {ending: modality for modality, endings in EXTENSIONS.items() for ending in endings}
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
    frame: pl.DataFrame  # path, and where the folder says so class and split
    notes: tuple[str, ...]


def list_files(folder: Path) -> Files:
    """The files below `folder`, sorted, by class and split where it has such subfolders. Hidden ones are left out.

    Raises BadInput where there is none whose ending is known.
    """
    parts = _subfolders(folder)
    unknown: Counter[str] = Counter()
    if parts and {p.name.lower() for p in parts} <= SPLITS.keys() and all(_subfolders(p) for p in parts):
        rows = [
            {"path": path, "class": kind.name, "split": SPLITS[part.name.lower()]}
            for part in parts
            for kind in _subfolders(part)
            for path in _known(kind, folder, unknown)
        ]
    elif parts:
        rows = [{"path": path, "class": kind.name} for kind in parts for path in _known(kind, folder, unknown)]
    else:
        rows = [{"path": path} for path in _known(folder, folder, unknown)]
    if not rows:
        found = f"only files that end with {', '.join(sorted(unknown))}" if unknown else "an empty folder"
        raise BadInput(f"{folder}: {found}: expected class/name.ext (png, jpg, txt …), or one table")
    note = f"{sum(unknown.values())} files are left out, their endings unknown: {', '.join(sorted(unknown))}"
    return Files(pl.DataFrame(rows), (note,) if unknown else ())


def _subfolders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _known(folder: Path, root: Path, unknown: Counter[str]) -> Iterator[str]:
    """The files at any depth whose ending is known, relative to `root`; the endings of the others are counted."""
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(root)
        if any(part.startswith(".") for part in relative.parts) or not path.is_file():
            continue
        if path.suffix.lower() in MODALITY_OF:
            yield relative.as_posix()
        else:
            unknown[path.suffix or path.name] += 1
