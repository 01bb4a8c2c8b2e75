"""Clouds whose points are asked: read like any cloud, and each point a query of what is known of it alone.

Not concerned with reading clouds (`points.py`), nor with what is asked of the points (`per_point.py`).
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from perceivers.modalities.base import Inputs, Modality, Part, Uniform, positive
from perceivers.modalities.points import Points, about, columns, kept, moved, standardised, unit
from perceivers.modalities.shaded import Shaded

CHUNK = 512  # points that are asked in one pass
SAMPLED = 128  # points of a cloud that are asked in a step of training
POINTS = Points()


class Asked(NamedTuple):
    """The points that are read (n, 3 + k), the points that are asked (o, 3 + k), sorted, and where each of these stands
    in the cloud as it came (o).
    """

    cloud: Float[np.ndarray, "n c"]
    points: Float[np.ndarray, "o c"]
    place: Int[np.ndarray, " o"]

    @property
    def nbytes(self) -> int:
        return self.cloud.nbytes + self.points.nbytes + self.place.nbytes


class Given(Modality):
    """Options: those of `points`, and `sampled` (points of a cloud that are asked in a step of training).

    An example is an `Asked`. It is sorted, so that the order of points changes no answer.
    """

    name = "given"
    options: ClassVar[Mapping[str, Any]] = {**Points.options, "sampled": SAMPLED}

    def check(self, field: Any) -> None:
        POINTS.check(field)
        positive(field, "sampled")

    def fit(self, field: Any, cells: Sequence[Any]) -> dict[str, Any]:
        self.check(field)
        return POINTS.fit(field, cells)

    def read(self, field: Any, cell: Any) -> Asked | None:
        """What `Points.read` takes."""
        array = columns(field, cell)
        if array is None:
            return None
        cloud, centre = kept(field, array)
        place = np.lexsort(array.T[::-1])
        return Asked(cloud, about(array[place], centre), place)

    def windows(self, field: Any, example: Asked | None) -> list[Asked | None]:
        """The same cloud for each 512 of the points."""
        if example is None:
            return [None]
        cloud = POINTS.crop(field, example.cloud, 0.0)
        starts = range(0, len(example.place), CHUNK)
        return [Asked(cloud, example.points[i : i + CHUNK], example.place[i : i + CHUNK]) for i in starts]

    def crop(self, field: Any, example: Asked, uniform: float) -> Asked:
        random = np.random.default_rng(int(uniform * 2**53))
        cloud = POINTS.crop(field, example.cloud, random.random())
        chosen = np.sort(random.permutation(len(example.place))[: field.options["sampled"]])
        return Asked(cloud, example.points[chosen], example.place[chosen])

    def size(self, field: Any, cell: Any) -> int:
        return POINTS.size(field, cell)

    def collate(self, field: Any, examples: Sequence[Any] | np.ndarray) -> Part:
        """The part of `Points.collate`; and of the points that are asked `asked` (b o 3) float32 in the same unit,
        `asked_features` (b o k) float32, `place` (b o) int64, and `there` (b o), True where one is asked; o ≥ 1.
        """
        o = max([1, *(len(example.place) for example in examples if example is not None)])
        asked = np.zeros((len(examples), o, 3), np.float32)
        features = np.zeros((len(examples), o, len(field.options["features"])), np.float32)
        place, there = np.zeros((len(examples), o), np.int64), np.zeros((len(examples), o), bool)
        for row, example in enumerate(examples):
            if example is not None:
                count = len(example.place)
                asked[row, :count] = example.points[:, :3] / unit(field, example.cloud)
                features[row, :count] = standardised(field, example.points)
                place[row, :count], there[row, :count] = example.place, True
        found = {"asked": asked, "asked_features": features, "place": place, "there": there}
        cloud = POINTS.collate(field, [None if example is None else example.cloud for example in examples])
        return {**cloud, **{name: torch.from_numpy(array) for name, array in found.items()}}

    def augment(self, field: Any, part: Part, uniform: Uniform) -> Part:
        """What is asked turns and grows with the cloud."""
        asked, features = moved(field, part["asked"], part["asked_features"], uniform)
        return {**POINTS.augment(field, part, uniform), "asked": asked, "asked_features": features}

    def drop(self, field: Any, part: Part, rows: Bool[Tensor, " b"]) -> Part:
        there = ~rows[:, None, None]
        asked = {name: part[name] * there for name in ("asked", "asked_features")}
        return {**POINTS.drop(field, part, rows), **asked}

    def inputs(self, fields: Sequence[Any], channels: int) -> Inputs:
        return POINTS.inputs(fields, channels)

    def draw(self, field: Any, cell: Any) -> str:
        return POINTS.draw(field, cell)

    def shaded(self, field: Any, cell: Any, weights: Float[np.ndarray, "w m"]) -> Shaded:
        return POINTS.shaded(field, cell, weights)

    def baseline(self, field: Any) -> Any:
        """Those of the cloud, for other targets."""
        from perceivers.modalities import features

        return features.read_clouds(len(field.options["features"]))
