"""Series as a target: the steps that follow what was read, or any series of a fixed length.

Not concerned with series as an input (`series.py`), nor with where windows are cut (`perceivers.data.long`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from perceivers.core.attention import linear
from perceivers.errors import BadInput, Unreadable
from perceivers.modalities.base import Batch, Part, Target

MOST_LINEAR = 512  # steps


def flat(example: Float[np.ndarray, "t c"] | None, horizon: int) -> Float[np.ndarray, " n"] | None:
    """A series of at most `horizon` steps (time, then k channels) → its values, horizon · k, NaN where missing.

    Raises Unreadable where it is longer.
    """
    if example is None:
        return None
    values = example[:, 1:]
    if len(values) > horizon:
        raise Unreadable(f"{len(values)} steps came, the longest in train has {horizon}")
    return np.pad(values, ((0, horizon - len(values)), (0, 0)), constant_values=np.nan).ravel()


def collate(field: Any, examples: Sequence[Any] | np.ndarray) -> Part:
    """`values` (b n) float32, n = horizon · channels, standardised, 0 where missing; `present` (b n)."""
    n = field.options["horizon"] * field.options["channels"]
    raw = np.stack([np.full(n, np.nan) if example is None else example for example in examples])
    values = (raw - np.tile(field.options["mean"], field.options["horizon"])) / np.tile(
        field.options["std"], field.options["horizon"]
    )
    return {
        "values": torch.from_numpy(np.nan_to_num(values).astype(np.float32)),
        "present": torch.from_numpy(~np.isnan(values)),
    }


def shared(field: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What is known in advance; and a target that goes on from an input (`past`) has its mean and scale. Raises
    BadInput.
    """
    name = field.options["past"]
    known = [f for f in inputs.values() if f.modality == "series" and f.options["known"]]
    given = {"given": {f.name: f.options["channels"] for f in known}}
    if name is None:
        return given
    if name not in inputs or inputs[name].modality != "series":
        raise BadInput(f"{field.name}: past: {name} is no input series; there are {', '.join(inputs) or 'none'}")
    past = inputs[name].options
    if past["channels"] != field.options["channels"]:
        raise BadInput(
            f"{field.name}: has {field.options['channels']} channels, {name}, its past, {past['channels']}: set "
            "`past: null`"
        )
    return {**given, "mean": past["mean"], "std": past["std"], "read": int(np.ceil(past["length"]))}


def as_cells(answer: Float[np.ndarray, "b n"], channels: int) -> list[Any]:
    """Answers as cells: lists, or with several channels lists of lists."""
    if channels == 1:
        return answer.tolist()
    return rearrange(answer, "b (h k) -> b k h", k=channels).tolist()


class SeriesTarget(Target):
    """A query for each of H steps → k standardised values each; squared error.

    With a `past` the outputs are in units of that series, from its mean (Kim et al. 2022, "RevIN", section 3.2), and a
    linear map of its last steps is added (the autoregressive part of Lai et al. 2018, "LSTNet", section 3.6), so that
    the Perceiver learns what is left. What is known of the H steps in advance (`given`) is added to their queries.
    """

    def __init__(self, options: dict[str, Any], channels: int):
        super().__init__(options["horizon"], channels)
        self.horizon, self.k = options["horizon"], options["channels"]
        self.past, self.given = options["past"], options["given"]
        self.head = linear(channels, self.k)
        nn.init.zeros_(self.head.weight)
        if self.past is not None:
            self.linear = nn.Parameter(torch.zeros(min(options["read"], MOST_LINEAR), self.horizon))
        self.known = nn.ModuleList(linear(2 * k, channels) for k in self.given.values())
        self.register_buffer("mean", torch.tensor(options["mean"]), persistent=False)
        self.register_buffer("std", torch.tensor(options["std"]), persistent=False)

    def ask(self, batch: Batch) -> Float[Tensor, "b h e"]:
        queries = super().ask(batch)
        for name, module in zip(self.given, self.known, strict=True):
            queries = queries + module(_last(batch[name], self.horizon))
        return queries

    def forward(self, outputs: Float[Tensor, "b h e"], batch: Batch) -> Float[Tensor, "b n"]:
        values = self.head(outputs)
        if self.past is None:
            return rearrange(values, "b h k -> b (h k)")
        past = batch[self.past]
        read = _last(past, len(self.linear))[..., : self.k]
        values = values + einsum(read, self.linear, "b l k, l h -> b h k")
        values = past["mean"].unsqueeze(1) + past["std"].unsqueeze(1) * values
        return rearrange(values, "b h k -> b (h k)")

    def loss(self, prediction: Float[Tensor, "b n"], part: Part) -> Float[Tensor, " b"]:
        """The mean over the steps that have a value; 0 where none has."""
        there = part["present"]
        squares = there * (prediction - part["values"]) ** 2
        return squares.sum(-1) / there.sum(-1).clamp(min=1)

    def answer(self, prediction: Float[Tensor, "b n"], batch: Batch) -> Float[Tensor, "b n"]:
        values = rearrange(prediction, "b (h k) -> b h k", k=self.k)
        return rearrange(values * self.std + self.mean, "b h k -> b (h k)")


def _last(part: Part, count: int) -> Float[Tensor, "b l f"]:
    """The last `count` steps of each series: the values, and whether they are there; 0 before the first step."""
    place = part["length"][:, None] - count + torch.arange(count, device=part["length"].device)
    inside: Bool[Tensor, "b l"] = place >= 0
    both = torch.cat([part["values"], part["present"].to(part["values"].dtype)], dim=-1)
    index = place.clamp(min=0, max=both.shape[1] - 1).unsqueeze(-1).expand(-1, -1, both.shape[2])
    return both.gather(1, index) * inside.unsqueeze(-1)
