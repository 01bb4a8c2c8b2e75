"""Pairs of pictures and where each pixel of the first went in the second, by the optical flow model.

Not concerned with neighbourhoods and tiles (`published/flow.py`), nor with formats of flow (`flow_files.py`).
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from perceivers.core.inputs import join
from perceivers.core.rollout import rollout
from perceivers.data.schema import Field
from perceivers.data.sources import Table
from perceivers.errors import BadInput
from perceivers.files import write_atomic
from perceivers.jobs.base import Job, are_pictures, check_ending, numbered
from perceivers.jobs.flow_files import WRITERS, ending
from perceivers.jobs.pictures import RGB, read_rgb
from perceivers.modalities.shaded import Picture, shades
from perceivers.predict import inputs_as_table, values_as_table
from perceivers.published import flow
from perceivers.published.models import OpticalFlow
from perceivers.terminal import natural

ASKED = 16  # rows and columns of the pixels that are asked where they look
GIVE = "give two, the first frame and the second; or a folder of frames; or a table with the columns 'first', 'second'"


@dataclass(frozen=True)
class Pair:
    """Two frames of one size."""

    first: RGB
    second: RGB


class EstimateFlow(Job[Pair]):
    """Answers `flow_x` and `flow_y`, the mean over the pixels of where they went, right and down; `flow_length`, the
    mean of how far, and `flow_longest`; all in pixels. A file's ending asks for the vector of every pixel.

    Two pictures are a pair, four are two. A folder holds the frames of a film in the order of their names: each is
    paired with the next; each of its subfolders is a film of its own.
    """

    field = Field("pair", "image", "input", ("first", "second"))
    target = Field("flow_x, flow_y", "number", "target", ("flow_x", "flow_y"))
    wants = "pairs of pictures"

    def __init__(self, model: OpticalFlow, name: str):
        super().__init__(model, name)
        self.model = model

    def suits(self, cells: list[Any]) -> bool:
        return are_pictures(cells)

    def written(self, inputs: Any) -> Table:
        table = inputs_as_table((replace(self.field, columns=("path",)),), inputs)
        if table.name != "the command line" or "path" not in table.frame.columns:
            return table
        paths = table.frame["path"].to_list()
        if len(paths) % 2:
            raise BadInput(f"{len(paths)} picture{'s' * (len(paths) > 1)}: {self.name} reads pairs: {GIVE}")
        return replace(table, frame=pl.DataFrame({"first": paths[::2], "second": paths[1::2]}))

    def values(self, data: Any) -> Table:
        """As for every model; a list holds pairs: of paths, or of arrays (h w c)."""
        if not isinstance(data, list | tuple) or not data or isinstance(data[0], dict):
            return values_as_table(self.reads, data)
        if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in data):
            raise BadInput(f"{self.name} reads pairs: give a list of them, such as [(first, second)]")
        sides = [
            values_as_table((replace(self.field, columns=("path",)),), list(side)) for side in zip(*data, strict=True)
        ]
        first, second = (side.frame["path"] for side in sides)
        return replace(sides[0], frame=pl.DataFrame({"first": first, "second": second}))

    def arrange(self, table: Table) -> Table:
        columns = set(table.frame.columns)
        if not (table.root and "path" in columns and columns <= {"path", "class", "split"}):
            return table
        paths = table.frame["path"].to_list()
        frames = sorted((path for path in paths if are_pictures([path])), key=natural)
        pairs = [(a, b) for a, b in pairwise(frames) if Path(a).parent == Path(b).parent]
        if not pairs:
            raise BadInput(f"{table.name}: no folder in it holds two pictures: {GIVE}")
        return replace(table, frame=pl.DataFrame(pairs, schema=["first", "second"], orient="row"))

    def read(self, cell: Any) -> Pair:
        first, second = map(read_rgb, cell)
        flow.check_sizes(first, second)
        return Pair(first, second)

    def flow(self, first: RGB, second: RGB) -> Float[np.ndarray, "h w 2"]:
        """Where each pixel of `first` went in `second`: right and down, in pixels."""
        return flow.estimate(self.model, first, second)

    def answer(self, example: Pair, proba: bool) -> dict[str, Any]:
        return _summary(self.flow(example.first, example.second))

    def numbers(self, example: Pair) -> Float[np.ndarray, "n 1"]:
        h, w = self.model.sizes.image_size
        return self.flow(example.first[:h, :w], example.second[:h, :w]).reshape(-1, 1)

    def check_out(self, out: Path) -> None:
        check_ending(out, ending(out), WRITERS, "hold flow", "its mean")

    def predict_to(self, table: Table, out: Path, *, proba: bool = False) -> tuple[str, dict[int, str]]:
        """One pair's flow is written to `out`; of several, to names numbered from 1 before the ending."""
        kind = ending(out)
        if kind not in WRITERS:
            return super().predict_to(table, out, proba=proba)
        table = self.arrange(table)
        count, failed = len(table.frame), {}

        def write(row: int, example: Pair) -> Path:
            place = numbered(out, kind, row, count)
            write_atomic(place, WRITERS[kind](self.flow(example.first, example.second)))
            return place

        places = [place for _, place in self.each(table, write, failed)]
        several = len(places) > 1
        what = f"{places[0]} to {places[-1]}" if several else places[0]
        return f"flow of {len(places):,} pair{'s' * several}: {what}", failed

    @torch.inference_mode()
    def attention(self, example: Pair) -> Float[np.ndarray, "1 m"]:
        """Of each pixel of both frames, the mean over a grid of 16 × 16 answers in each tile."""
        size = self.model.sizes.image_size
        rows, columns = (torch.linspace(0, side - 1, ASKED).round().long() for side in size)
        asked = (rows[:, None] * size[1] + columns).ravel()

        def looked(tile: flow.Frames) -> Tensor:
            array = join(self.model.inputs(flow.neighbourhoods(tile)))
            weights = rollout(self.model.perceiver, array, array[:, asked]).mean(1)
            return repeat(weights, "b (h w) -> b h w 2", h=size[0])

        found = flow.merge(flow.prepare(example.first, example.second), looked, size)[0, ..., 0]
        return rearrange(found / found.sum(), "h w -> 1 (h w)").double().cpu().numpy()

    def shaded(self, example: Pair, weights: Float[np.ndarray, "1 m"]) -> Picture:
        """The first frame."""
        return Picture(example.first, shades(weights.reshape(example.first.shape[:2])))


def _summary(found: Float[np.ndarray, "h w 2"]) -> dict[str, float]:
    x, y = found.reshape(-1, 2).mean(0, dtype=np.float64).tolist()
    lengths = np.linalg.norm(found, axis=-1)
    return {"flow_x": x, "flow_y": y, "flow_length": float(lengths.mean()), "flow_longest": float(lengths.max())}
