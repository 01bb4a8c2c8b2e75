"""Clouds of points: any count, with or without features, a set: their order changes nothing.

Not concerned with files (`point_files.py`), nor with the module (`points_input.py`), nor with asking for each point
(`given.py`).
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from perceivers import recipe
from perceivers.errors import BadInput, Unreadable
from perceivers.hashing import mixed
from perceivers.modalities import point_files
from perceivers.modalities.base import (
    Inputs,
    Modality,
    Part,
    PerField,
    Uniform,
    fault,
    is_missing,
    numbers,
    one_column,
    positive,
)
from perceivers.modalities.cloud import Scatter
from perceivers.modalities.point_files import Cloud
from perceivers.modalities.points_input import PointsInput, farthest
from perceivers.modalities.pose import rotation_of
from perceivers.modalities.shaded import Plain, Shaded, shades

SAMPLE = 200  # clouds of train that `fit` reads
SPARE = 4  # times as many are kept, so that each epoch sees others
SMALLEST = 1e-12  # of a size: a single point has none
ROTATIONS = ("all", "upright", "small", "none")
NORMALS = ("nx", "ny", "nz")
DRAWN = 300


class Points(Modality):
    """Options: `points` (the model gets at most so many of each cloud; None: by train's counts, at most 1,024),
    `absolute` (where a cloud lies and how large it is are seen, in units of train; else each cloud is centred and
    scaled, and its size told), `features` (names of columns beside the coordinates; None: the colours, normals,
    intensity or unnamed columns that all clouds of train have, but for those in `without`), `rotation` in training
    (all, upright: about z, small: 15 degrees, none; None: in the way that train's clouds are turned, by `rotation_of`);
    and of train: `centre`, `size` (mean and standard deviation of the log of the root mean square distance),
    `feature_mean`, `feature_std`.

    An example is float32 (n, 3 + k), about the cloud's or train's centre, sorted: at most 4 · `points`, chosen by a
    hash of their values.
    """

    name = "points"
    options: ClassVar[Mapping[str, Any]] = {
        "points": None,
        "absolute": False,
        "features": None,
        "without": [],
        "rotation": None,
        "centre": None,
        "size": None,
        "feature_mean": None,
        "feature_std": None,
    }

    def check(self, field: Any) -> None:
        one_column(field)
        positive(field, "points")
        if field.options["rotation"] not in (None, *ROTATIONS):
            raise BadInput(f"{field.name}: rotation {field.options['rotation']!r} is none of {', '.join(ROTATIONS)}")
        if not isinstance(field.options["absolute"], bool):
            raise BadInput(f"{field.name}: absolute must be true or false, got {field.options['absolute']!r}")
        features = field.options["features"]
        if features is not None and not (isinstance(features, list) and all(isinstance(f, str) for f in features)):
            raise BadInput(f"{field.name}: features must be a list of names, such as [red, green, blue]")
        without = field.options["without"]
        if not isinstance(without, list) or not all(isinstance(name, str) for name in without):
            raise BadInput(f"{field.name}: without must be a list of names of features, got {without!r:.60}")
        numbers(field, "centre", 3)
        numbers(field, "size", 2)
        for option in ("feature_mean", "feature_std"):
            numbers(field, option, None if features is None else len(features))

    def fit(self, field: Any, cells: Sequence[Any]) -> dict[str, Any]:
        self.check(field)
        clouds = []
        for i in np.random.default_rng(0).permutation(len(cells)):
            with suppress(Unreadable):
                cloud = point_files.read(cells[i])
                clouds += [] if cloud is None else [cloud]
            if len(clouds) == SAMPLE:
                break
        if not clouds:
            raise BadInput(f"{field.name}: no cloud of the train rows can be read: {fault(point_files.read, cells)}")
        found = _statistics(field, clouds)
        return {name: value for name, value in found.items() if field.options[name] is None}

    def read(self, field: Any, cell: Any) -> np.ndarray | None:
        """The Path of a ply, off, obj, stl, xyz, npy, npz, las, laz or pcd file, or an array or list (n, 3 + k)."""
        array = columns(field, cell)
        return None if array is None else kept(field, array)[0]

    def windows(self, field: Any, example: np.ndarray | None) -> list[np.ndarray | None]:
        return [example if example is None else self.crop(field, example, 0.0)]

    def crop(self, field: Any, example: np.ndarray, uniform: float) -> np.ndarray:
        """`points` of the points, chosen with `uniform` as the seed."""
        if len(example) <= field.options["points"]:
            return example
        order = np.random.default_rng(int(uniform * 2**53)).permutation(len(example))
        return example[np.sort(order[: field.options["points"]])]

    def size(self, field: Any, cell: Any) -> int:
        if isinstance(cell, Path):
            return field.options["points"]
        return 1 if is_missing(cell) or np.isscalar(cell) else min(len(cell), field.options["points"])

    def collate(self, field: Any, examples: Sequence[Any] | np.ndarray) -> Part:
        """`points` (b n 3) float32 of root mean square 1, or in units of train's size; `features` (b n k) float32,
        standardised by train, but for normals; `mask` (b n), True where there is a point; `size` (b) float32,
        standardised. n ≥ 1; 0 where there is no point.
        """
        options = field.options
        n = max([1, *(len(example) for example in examples if example is not None)])
        points = np.zeros((len(examples), n, 3), np.float32)
        features = np.zeros((len(examples), n, len(options["features"])), np.float32)
        mask, size = np.zeros((len(examples), n), bool), np.zeros(len(examples), np.float32)
        mean, std = options["size"]
        for row, example in enumerate(examples):
            if example is not None:
                points[row, : len(example)] = example[:, :3] / unit(field, example)
                features[row, : len(example)] = standardised(field, example)
                mask[row, : len(example)], size[row] = True, (np.log(_size(example[:, :3])) - mean) / std
        found = {"points": points, "features": features, "mask": mask, "size": size}
        return {name: torch.from_numpy(array) for name, array in found.items()}

    def augment(self, field: Any, part: Part, uniform: Uniform) -> Part:
        """Turns, scales and shakes each cloud, and drops up to half of its points."""
        n = part["points"].shape[1]
        jitter = rearrange(recipe.POINTS_JITTER * (2 * uniform("jitter", 3 * n) - 1), "b (n i) -> b n i", i=3)
        mask = part["mask"] & (uniform("points", n) >= recipe.POINTS_DROP * uniform("dropped", 1))
        mask = torch.where(mask.any(1, keepdim=True), mask, part["mask"])
        points, features = moved(field, part["points"], part["features"], uniform)
        return {**part, "points": (points + jitter) * part["mask"][..., None], "features": features, "mask": mask}

    def drop(self, field: Any, part: Part, rows: Bool[Tensor, " b"]) -> Part:
        return {**part, "mask": part["mask"] & ~rows[:, None], "size": part["size"] * ~rows}

    def inputs(self, fields: Sequence[Any], channels: int) -> Inputs:
        return PerField({field.name: PointsInput(len(field.options["features"]), channels) for field in fields})

    def draw(self, field: Any, cell: Any) -> str:
        example = self.read(field, cell)
        return "–" if example is None else Scatter.of(example[:, :3], None, DRAWN).html()

    def shaded(self, field: Any, cell: Any, weights: Float[np.ndarray, "w m"]) -> Shaded:
        """The cloud from two sides; a point has the shade of the nearest centre of a patch."""
        example = self.read(field, cell)
        if example is None:
            return Plain("–")
        part = self.collate(field, self.windows(field, example))
        centres = part["points"][0, farthest(part["points"], part["mask"], weights.shape[1])[0]]
        nearest = torch.cdist(part["points"][0], centres).argmin(1).numpy()
        return Scatter.of(part["points"][0].numpy(), shades(weights.mean(0))[nearest], DRAWN)

    def baseline(self, field: Any) -> Any:
        """The size, the spread along the main axes, distances between points and from the centre, and the features'
        means.
        """
        from perceivers.modalities import features

        return features.Distances(len(field.options["features"]))


def columns(field: Any, cell: Any) -> Float[np.ndarray, "n c"] | None:
    """All points of a cell in their order: the coordinates, then the field's features. Raises Unreadable."""
    cloud = point_files.read(cell)
    if cloud is None:
        return None
    for name in field.options["features"]:
        if name not in cloud.features:
            known = ", ".join(cloud.features) or "coordinates alone"
            raise Unreadable(f"no feature {name!r} in this cloud, which has {known}")
    return np.column_stack([cloud.points, *(cloud.features[name] for name in field.options["features"])])


def kept(field: Any, array: Float[np.ndarray, "n c"]) -> tuple[Float[np.ndarray, "m c"], Float[np.ndarray, " 3"]]:
    """The points that may be read, sorted, about a centre; and the centre."""
    array = _in_order(_thinned(array, SPARE * field.options["points"]))
    centre = np.array(field.options["centre"]) if field.options["absolute"] else array[:, :3].mean(0)
    return about(array, centre), centre


def about(array: Float[np.ndarray, "n c"], centre: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "n c"]:
    """Points about a centre, float32."""
    return np.column_stack([array[:, :3] - centre, array[:, 3:]]).astype(np.float32)


def unit(field: Any, example: Float[np.ndarray, "n c"]) -> float:
    """The length that is 1: the cloud's size, or train's."""
    return float(np.exp(field.options["size"][0])) if field.options["absolute"] else _size(example[:, :3])


def standardised(field: Any, example: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n k"]:
    """The features of points, by train's statistics."""
    return (example[:, 3:] - np.array(field.options["feature_mean"])) / np.array(field.options["feature_std"])


def moved(
    field: Any, points: Float[Tensor, "b n 3"], features: Float[Tensor, "b n k"], uniform: Uniform
) -> tuple[Float[Tensor, "b n 3"], Float[Tensor, "b n k"]]:
    """Points turned and scaled, and the normals among their features turned along."""
    turn = _rotation(uniform("rotation", 3), field.options["rotation"])
    scale = 1 + recipe.POINTS_SCALE * (2 * uniform("scale", 1)[:, None] - 1)
    features = features.clone()
    if all(name in field.options["features"] for name in NORMALS):
        at = [field.options["features"].index(name) for name in NORMALS]
        features[..., at] = einsum(turn, features[..., at], "b i j, b n j -> b n i")
    return einsum(turn, points, "b i j, b n j -> b n i") * scale, features


def _statistics(field: Any, clouds: Sequence[Cloud]) -> dict[str, Any]:
    """What `fit` reads off the clouds of train."""
    names = field.options["features"]
    without = field.options["without"]
    names = [n for n in point_files.common_features(clouds) if n not in without] if names is None else names
    usable = [cloud for cloud in clouds if all(name in cloud.features for name in names)]
    if not usable:
        raise BadInput(f"{field.name}: no cloud has the features {', '.join(names)}: name others, or none: []")
    columns = [np.concatenate([cloud.features[name] for cloud in usable]) for name in names]
    centres = np.array([cloud.points.mean(0) for cloud in clouds])
    centre = np.array(field.options["centre"] or centres.mean(0))
    absolute = field.options["absolute"]
    placed = [cloud.points - (centre if absolute else own) for cloud, own in zip(clouds, centres, strict=True)]
    sizes = np.log([_size(points) for points in placed])
    normal = [name in NORMALS for name in names]
    return {
        "points": int(
            np.clip(
                np.percentile([len(cloud.points) for cloud in clouds], 90), recipe.POINTS_FEWEST, recipe.POINTS_MOST
            )
        ),
        "features": names,
        "rotation": "small" if absolute else rotation_of([points / _size(points) for points in placed]),
        "centre": centre.tolist(),
        "size": [float(sizes.mean()), float(max(sizes.std(), 0.1))],
        "feature_mean": [0.0 if n else float(c.mean()) for n, c in zip(normal, columns, strict=True)],
        "feature_std": [1.0 if n else float(c.std()) or 1.0 for n, c in zip(normal, columns, strict=True)],
    }


def _size(points: Float[np.ndarray, "n 3"]) -> float:
    """The root mean square distance from 0."""
    unit = float(np.abs(points).max()) or 1.0  # squares of large numbers would overflow
    scaled = points.astype(np.float64) / unit
    return max(unit * float(np.sqrt((scaled**2).sum(1).mean())), SMALLEST)


def _thinned(array: Float[np.ndarray, "n c"], most: int) -> Float[np.ndarray, "m c"]:
    """At most so many points, those with the smallest hash of their values: no order, no seed."""
    if len(array) <= most:
        return array
    bits = np.ascontiguousarray(array + 0.0).view(np.uint64)  # -0 and 0 are the same
    with np.errstate(over="ignore"):
        codes = bits @ np.random.default_rng(0).integers(2**64, size=array.shape[1], dtype=np.uint64)
    chosen = np.argpartition(mixed(codes), most)[:most]
    return array[chosen]


def _in_order(array: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
    """Sorted by x, then y, then z …: what comes after sees one order, whatever came."""
    return array[np.lexsort(array.T[::-1])]


def _rotation(draws: Float[Tensor, "b 3"], how: str) -> Float[Tensor, "b 3 3"]:
    """Matrices from numbers in [0, 1): for `all`, every rotation is as likely (Shoemake 1992, "Uniform random
    rotations").
    """
    u, v, w = draws.double().unbind(1)
    turn = 2 * torch.pi
    if how == "all":
        quaternion = [(1 - u).sqrt() * (turn * v).sin(), (1 - u).sqrt() * (turn * v).cos()]
        quaternion += [u.sqrt() * (turn * w).sin(), u.sqrt() * (turn * w).cos()]
        return _matrix(torch.stack(quaternion, dim=1)).float()
    if how == "small":
        half = torch.deg2rad(recipe.POINTS_ANGLE * (2 * draws.double() - 1)) / 2
        return _matrix(torch.cat([half, torch.ones_like(half[:, :1])], dim=1)).float()
    angle = turn * u if how == "upright" else 0 * u
    zero = torch.zeros_like(u)
    return _matrix(torch.stack([zero, zero, (angle / 2).sin(), (angle / 2).cos()], dim=1)).float()


def _matrix(quaternion: Float[Tensor, "b 4"]) -> Float[Tensor, "b 3 3"]:
    """The rotation of a quaternion (x y z w) of any length."""
    x, y, z, w = (quaternion / quaternion.norm(dim=1, keepdim=True)).unbind(1)
    rows = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        *(2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        *(2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    ]
    return rearrange(torch.stack(rows, dim=1), "b (i j) -> b i j", i=3)
