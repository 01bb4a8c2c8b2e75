"""Each point of a cloud as a query, and the heads that read its answer.

Not concerned with which points are asked (`given.py`), nor with metrics (`per_point_metrics.py`).
"""

from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu, relu

from perceivers.core.attention import linear
from perceivers.core.positions import LearnedArray, fourier_channels, fourier_features
from perceivers.modalities.base import Batch, Part, Target
from perceivers.modalities.points_input import HIDDEN, REACH, SURFACE, WIDTH, at, surface

NEAR = 16  # points around a point that its query sees
NUM_BANDS, RESOLUTION = 12, 48


class PointQueries(nn.Module):
    """Points → queries (b o e): the Fourier features of where a point lies, its own features, and the maximum over the
    16 nearest points that are read of what a small network makes of each (as `PointsInput` has it).

    A query depends on its own point and on the cloud alone, not on what else is asked.
    """

    def __init__(self, features: int, channels: int):
        super().__init__()
        self.near = linear(6 + SURFACE + features, HIDDEN)
        self.pooled = linear(HIDDEN, WIDTH)
        self.to_channels = linear(WIDTH, channels)
        self.own = linear(fourier_channels(3, NUM_BANDS) + features, channels)
        self.field = LearnedArray(1, channels)

    def forward(self, part: Part) -> Float[Tensor, "b o e"]:
        asked = part["asked"]
        with torch.autocast(asked.device.type, enabled=False):
            near, known = self._neighbourhood(part)
            place = (asked / REACH).clamp(-2, 2)
            own = torch.cat([fourier_features(place, NUM_BANDS, 3 * [RESOLUTION]), part["asked_features"]], dim=-1)
        x = self.pooled(relu(self.near(near))).masked_fill(~known.unsqueeze(-1), -torch.inf).amax(2)
        x = gelu(x.masked_fill(~known.any(2, keepdim=True), 0))
        return self.to_channels(x) + self.own(own) + self.field(1)

    def _neighbourhood(self, part: Part) -> tuple[Float[Tensor, "b o k f"], Bool[Tensor, "b o k"]]:
        """What is known of each of the nearest points, and which are there. The unit is the distance at which so many
        points are found, were the cloud a sheet.
        """
        points, there, asked = part["points"], part["mask"], part["asked"]
        count = there.sum(1).clamp(min=1)
        distance = torch.cdist(asked, points).masked_fill(~there[:, None], torch.inf)
        found = distance.topk(min(NEAR, points.shape[1]), largest=False, sorted=False)
        known = found.values.isfinite()
        size = ((points.square().sum(-1) * there).sum(1) / count).sqrt().clamp(min=1e-6)
        reach = size * (NEAR / count).sqrt()
        places = at(points, found.indices)
        about = (places - asked.unsqueeze(2)) / reach[:, None, None, None]
        piece = surface(about * known.unsqueeze(-1), known, asked)
        return torch.cat([about, places / REACH, piece, at(part["features"], found.indices)], dim=-1), known


class PerPoint(Target):
    """A query for each point that is asked of the input `source`."""

    def __init__(self, source: str, features: int, outputs: int, channels: int):
        super().__init__(1, channels)
        self.reads = source
        self.points = PointQueries(features, channels)
        self.head = linear(channels, outputs)

    def ask(self, batch: Batch) -> Float[Tensor, "b o e"]:
        part = batch[str(self.reads)]
        return self.points(part) + self.queries(len(part["asked"]))

    def forward(self, outputs: Float[Tensor, "b o e"], batch: Batch) -> Float[Tensor, "b o k"]:
        return self.head(outputs)

    def placed(self, found: Float[Tensor, "b o k"], batch: Batch) -> Float[Tensor, "b m"]:
        """For each point where it stands in its cloud, then the answer; -1 where none is asked."""
        part = batch[str(self.reads)]
        place = part["place"].masked_fill(~part["there"], -1).double().unsqueeze(-1)
        return rearrange(torch.cat([place, found.double()], dim=-1), "b o k -> b (o k)")


class PointClassTarget(PerPoint):
    """Logits of k categories a point; weighted cross-entropy."""

    def __init__(self, source: str, features: int, class_weights: Sequence[float], channels: int):
        super().__init__(source, features, len(class_weights), channels)
        self.register_buffer("class_weights", torch.tensor(class_weights), persistent=False)

    def loss(self, prediction: Float[Tensor, "b o k"], part: Part) -> Float[Tensor, " b"]:
        """The mean over the points that are asked; 0 where none is, or the cell is missing."""
        truth = part["labels"].gather(1, part["place"].clamp(max=part["labels"].shape[1] - 1))
        known = part["there"] & (truth >= 0)
        weight = self.class_weights.to(prediction.dtype)
        nats = cross_entropy(prediction.flatten(0, 1), truth.clamp(min=0).flatten(), weight=weight, reduction="none")
        return (nats.view(truth.shape) * known).sum(1) / known.sum(1).clamp(min=1)

    def answer(self, prediction: Float[Tensor, "b o k"], batch: Batch) -> Float[Tensor, "b m"]:
        return self.placed(prediction.softmax(-1), batch)


class PointValueTarget(PerPoint):
    """A standardised value a point; squared error."""

    def __init__(self, source: str, features: int, mean: float, std: float, channels: int):
        super().__init__(source, features, 1, channels)
        self.mean, self.std = mean, std

    def loss(self, prediction: Float[Tensor, "b o 1"], part: Part) -> Float[Tensor, " b"]:
        """The mean over the points that are asked; 0 where none is, or the cell is missing."""
        place = part["place"].clamp(max=part["values"].shape[1] - 1)
        truth, known = part["values"].gather(1, place), part["there"] & part["present"].gather(1, place)
        return ((prediction.squeeze(-1) - truth).square() * known).sum(1) / known.sum(1).clamp(min=1)

    def answer(self, prediction: Float[Tensor, "b o 1"], batch: Batch) -> Float[Tensor, "b m"]:
        return self.placed(prediction * self.std + self.mean, batch)
