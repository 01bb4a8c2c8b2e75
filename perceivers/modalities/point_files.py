"""From files and arrays to clouds of points: coordinates, and what else is known of each point. Meshes are sampled.

Not concerned with how many points a model gets, nor with batches (`points.py`).
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
from jaxtyping import Float, Int

from perceivers.arrays import array_names, read_array
from perceivers.errors import BadInput, Unreadable
from perceivers.modalities.base import is_missing
from perceivers.modalities.las import read_las
from perceivers.modalities.off import read_off
from perceivers.modalities.pcd import read_pcd
from perceivers.terminal import counted

SAMPLED = 8_192  # points of a mesh
MOST_POINTS = 50_000_000  # of a file: above it, memory would not hold what is made of them
BLOCK = 2**20  # characters of text at once
HEADER = 64 * 1024  # bytes: where the header of a ply ends at the latest
FEATURES = ("red", "green", "blue", "nx", "ny", "nz", "intensity")  # are used where all clouds have them
ALIASES = {
    **{f"diffuse_{colour}": colour for colour in FEATURES[:3]},
    **{"r": "red", "g": "green", "b": "blue"},
    **{f"normal_{axis}": f"n{axis}" for axis in "xyz"},
    **{"i": "intensity", "scalar_intensity": "intensity", "reflectance": "intensity"},
}


class Cloud(NamedTuple):
    """`points` (n 3) in the file's own units and axes, and `features` (n) by name."""

    points: Float[np.ndarray, "n 3"]
    features: Mapping[str, Float[np.ndarray, " n"]]


def read(cell: Any) -> Cloud | None:
    """The Path of a ply, off, obj, stl, xyz, npy, npz, las, laz or pcd file, or an array or nested list (n 2) or
    (n 3 + k), whose further columns are features → a cloud of n ≥ 1 points. Raises Unreadable.
    """
    if not isinstance(cell, Path):
        return None if is_missing(cell) else _checked(_columns(cell))
    suffix = cell.suffix.lower()
    if suffix not in READERS:
        raise Unreadable(f"{cell}: unknown ending {suffix!r}: expected one of {', '.join(READERS)}")
    return _opened(cell, READERS[suffix])


def _opened(cell: Path, reader: Callable[[Path], Cloud]) -> Cloud:
    """What a reader makes of a file. Raises Unreadable, whatever the reader raised."""
    try:
        if not cell.stat().st_size:
            raise Unreadable("an empty file: export it anew, or take its row out")
        return _checked(reader(cell))
    except Unreadable as error:
        raise Unreadable(f"{cell}: {error}") from error
    except BadInput:
        raise
    except OSError as error:
        raise Unreadable(f"{cell}: cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise Unreadable(f"{cell}: declares more points than memory holds: its header is damaged") from error
    except Exception as error:  # every library has errors of its own
        reason = " ".join(str(error).split())[:120].rstrip(".") or type(error).__name__
        raise Unreadable(
            f"{cell}: damaged, cut short, or not {cell.suffix.lower()[1:]}: {reason}: export it anew"
        ) from error


def read_property(cell: Any, name: str) -> Float[np.ndarray, " n"] | None:
    """What a cloud says of each of its points under that name. Raises Unreadable."""
    if isinstance(cell, Path) and cell.suffix.lower() in (".las", ".laz"):
        cloud = _opened(cell, partial(_las, names=(name,)))
    else:
        cloud = read(cell)
    if cloud is None:
        return None
    if name not in cloud.features:
        raise Unreadable(f"no property {name!r} in this cloud, which has {', '.join(cloud.features) or 'none'}")
    return cloud.features[name]


def _checked(cloud: Cloud) -> Cloud:
    """The same cloud, if it can be used."""
    count = len(cloud.points)
    if not count:
        raise Unreadable("no points in it: take its row out")
    if count > MOST_POINTS:
        raise Unreadable(f"{count:,} points, more than {MOST_POINTS:,}: thin it out first")
    for name, values in {"a coordinate": cloud.points, **cloud.features}.items():
        wrong = ~np.isfinite(values).reshape(count, -1).all(1)
        if wrong.any():
            such = counted(int(wrong.sum()), "such point")
            raise Unreadable(f"point {wrong.argmax() + 1}: {name} is not a finite number ({such}): take them out")
    return cloud


def _columns(cell: Any) -> Cloud:
    """An array or nested list, a row for each point."""
    if isinstance(cell, str | bytes | int | float | dict):
        raise Unreadable(f"{str(cell)[:60]!r} came, expected the path of a cloud of points, or an array (n 3)")
    try:
        array = np.asarray(cell)
        if array.dtype.kind not in "iuf":
            raise TypeError
    except (TypeError, ValueError) as error:
        raise Unreadable("points must be rows of numbers, all of one length, none missing") from error
    if not array.size:
        raise Unreadable("no points in it: take its row out")
    if array.ndim != 2 or array.shape[1] < 2:
        shape = " × ".join(str(n) for n in array.shape)
        raise Unreadable(f"an array of {shape} came, expected a row for each point: x, y, z and features")
    array = array.astype(np.float64)
    if array.shape[1] == 2:
        array = np.pad(array, ((0, 0), (0, 1)))  # a flat cloud
    return Cloud(array[:, :3], {f"column {i + 1}": array[:, i] for i in range(3, array.shape[1])})


def _named(columns: Mapping[str, np.ndarray]) -> Cloud:
    """Columns by name, x, y and z among them."""
    lower = {name.lower(): np.asarray(values) for name, values in columns.items()}
    if missing := [axis for axis in "xyz" if axis not in lower]:
        raise Unreadable(f"no {missing[0]} among its columns ({', '.join(lower)[:80]})")
    points = np.stack([lower.pop(axis) for axis in "xyz"], axis=1).astype(np.float64)
    flat = {ALIASES.get(name, name): values for name, values in lower.items() if values.ndim == 1}
    return Cloud(points, {name: v.astype(np.float64) for name, v in flat.items() if v.dtype.kind in "iuf"})


def _needs(library: str) -> Any:
    try:
        return import_module(library)
    except ImportError as error:
        raise BadInput(f"points are read by {library}: pip install 'perceivers[points]'") from error


def _ply(path: Path) -> Cloud:
    with path.open("rb") as file:
        header = file.read(HEADER).partition(b"end_header")[0]
    faces = re.search(rb"element\s+face\s+(\d+)", header)
    if faces and int(faces[1]):
        return _mesh(path)
    vertices = _needs("plyfile").PlyData.read(path)["vertex"]
    return _named({prop.name: vertices[prop.name] for prop in vertices.properties})


def _mesh(path: Path) -> Cloud:
    loaded = _needs("trimesh").load(path, force="mesh", process=False, skip_materials=True)
    return _surface(np.asarray(loaded.vertices, np.float64), np.asarray(loaded.faces, np.int64).reshape(-1, 3))


def _off(path: Path) -> Cloud:
    return _surface(*read_off(path))


def _surface(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "t 3"]) -> Cloud:
    """Points drawn evenly by area, with a seed."""
    if not len(faces):
        raise Unreadable("no faces in it: the file is damaged, or holds no surface: save points as ply or xyz")
    if not np.isfinite(vertices).all():
        raise Unreadable("a corner of the mesh is not at finite numbers")
    return Cloud(sample_surface(vertices[faces], SAMPLED), {})


def sample_surface(corners: Float[np.ndarray, "f 3 3"], count: int) -> Float[np.ndarray, "n 3"]:
    """Points on triangles, evenly by area, seeded (Osada et al. 2002, section 4.1). Raises Unreadable without area."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    areas = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    if not areas.sum() > 0:
        raise Unreadable("a mesh whose faces have no area")
    random = np.random.default_rng(0)
    chosen = np.searchsorted(areas.cumsum() / areas.sum(), random.random(count), side="right").clip(max=len(areas) - 1)
    root, along = np.sqrt(random.random((count, 1))), random.random((count, 1))
    return (1 - root) * a[chosen] + root * (1 - along) * b[chosen] + root * along * c[chosen]


def _obj(path: Path) -> Cloud:
    """A mesh, or where it has no faces the cloud of its vertices."""
    with path.open("rb") as file:
        if any(line.split(None, 1)[:1] == [b"f"] for line in file):
            return _mesh(path)
        file.seek(0)
        rows = [line.split()[1:4] for line in file if line.split(None, 1)[:1] == [b"v"]]
    return _columns(np.array(rows, dtype=np.float64))


def _xyz(path: Path) -> Cloud:
    """A row of numbers for each point, apart by spaces or commas; what follows # or // is left out."""
    with path.open(encoding="utf-8") as file:
        lines = _told(file)
        first = next(lines, None)
        if first is None:
            raise Unreadable("no points in it: take its row out")
        rows = np.loadtxt(chain([first], lines), ndmin=2, comments=None, max_rows=MOST_POINTS + 1)
    if len(rows) and rows.shape[1] < 3:
        raise Unreadable(f"{rows.shape[1]} numbers a line came, expected x y z and features")
    return _columns(rows)


def _told(file: TextIO) -> Iterator[str]:
    """Lines without remarks and commas, those that hold nothing left out; many at once, as a cloud has thousands."""
    while text := file.read(BLOCK) + file.readline():
        text = re.sub("//.*", "", re.sub("#.*", "", text))
        yield from filter(str.strip, text.replace(",", " ").splitlines())


def _npy(path: Path) -> Cloud:
    return _columns(read_array(path))


def _npz(path: Path) -> Cloud:
    """The array `points`, or the only one, and arrays of a number for each point as features."""
    names = array_names(path)
    if "points" not in names and len(names) != 1:
        raise Unreadable(f"holds {', '.join(names)[:80] or 'nothing'}: expected an array named points")
    name = "points" if "points" in names else names[0]
    points, features = _columns(read_array(path, name))
    others = {other: read_array(path, other) for other in names if other != name}
    more = {k: v.astype(np.float64) for k, v in others.items() if v.shape == (len(points),) and v.dtype.kind in "iuf"}
    return Cloud(points, {**features, **more})


def _las(path: Path, names: Sequence[str] = FEATURES) -> Cloud:
    if path.suffix.lower() == ".laz":
        _needs("lazrs")
    return _named(read_las(path, _needs("laspy"), names, MOST_POINTS))


def _pcd(path: Path) -> Cloud:
    """Points without coordinates are left out: that is how the format says "no return"."""
    cloud = _named(read_pcd(path, MOST_POINTS))
    known = ~np.isnan(cloud.points).all(1)
    return Cloud(cloud.points[known], {name: values[known] for name, values in cloud.features.items()})


READERS: dict[str, Callable[[Path], Cloud]] = {
    ".ply": _ply,
    ".off": _off,
    ".obj": _obj,
    ".stl": _mesh,
    ".xyz": _xyz,
    ".npy": _npy,
    ".npz": _npz,
    ".las": _las,
    ".laz": _las,
    ".pcd": _pcd,
}


def common_features(clouds: Iterable[Cloud]) -> list[str]:
    """The known features, and the unnamed columns of arrays, that all clouds have and that are not the same for all
    points.
    """
    clouds = list(clouds)
    names = [n for n in clouds[0].features if n in FEATURES or n.startswith("column ")]
    everywhere = [name for name in names if all(name in cloud.features for cloud in clouds)]
    return [n for n in everywhere if np.ptp(np.concatenate([cloud.features[n] for cloud in clouds])) > 0]
