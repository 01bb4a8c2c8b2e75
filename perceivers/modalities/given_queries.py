"""Each point of a cloud as a query, and the heads that read its answer.

Not concerned with which points are asked (`given.py`), nor with metrics (`per_point_metrics.py`).
"""

from collections.abc import Sequence

import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu

from perceivers.core.attention import linear
from perceivers.core.positions import LearnedArray, fourier_channels, fourier_features
from perceivers.modalities.base import Batch, Part, Target
from perceivers.modalities.points_input import REACH, at, nearest

SCALES = (16, 48)  # points of the near and of the wider surrounding that a query sees
SURROUNDING = 15  # numbers that `surrounding` says of either, without features
NUM_BANDS, RESOLUTION = 12, 48


class PointQueries(nn.Module):
    """Points → queries (b o e): a small network of all that is known of a point without the latents (as the queries of
    optical flow are, Perceiver IO, section 4.3): the Fourier features of where it lies, its own features, and how the
    16 and the 48 nearest points that are read lie about it.

    A query depends on its own point and on the cloud alone, not on what else is asked.
    """

    def __init__(self, features: int, channels: int):
        super().__init__()
        known = fourier_channels(3, NUM_BANDS) + features + len(SCALES) * (SURROUNDING + 2 * features)
        self.known = linear(known, 2 * channels)
        self.to_channels = linear(2 * channels, channels)
        self.field = LearnedArray(1, channels)

    def forward(self, part: Part) -> Float[Tensor, "b o e"]:
        with torch.autocast(part["asked"].device.type, enabled=False):  # neighbours differ by less than bf16 can tell
            place = fourier_features((part["asked"] / REACH).clamp(-2, 2), NUM_BANDS, 3 * [RESOLUTION])
            known = torch.cat([place, part["asked_features"], *surroundings(part)], dim=-1)
        return self.to_channels(gelu(self.known(known))) + self.field(1)


@torch.no_grad()
def surroundings(part: Part) -> list[Float[Tensor, "b o f"]]:
    """What `surrounding` says of the nearest points of each asked one, and the mean and spread of their features."""
    points, there, asked = part["points"], part["mask"], part["asked"]
    near, known = nearest(asked, points, there, max(SCALES), in_order=True)
    size = ((points.square().sum(-1) * there).sum(1) / there.sum(1).clamp(min=1)).sqrt().clamp(min=1e-6)
    found = []
    for scale in SCALES:
        one, seen = near[..., :scale], known[..., :scale]
        reach = size * (scale / there.sum(1).clamp(min=1)).sqrt()  # so far they would be, were the cloud a sheet
        found.append(surrounding((at(points, one) - asked.unsqueeze(2)) / reach[:, None, None, None], seen, asked))
        found += moments(at(part["features"], one), seen)
    return found


def surrounding(
    about: Float[Tensor, "b o k 3"], known: Bool[Tensor, "b o k"], asked: Float[Tensor, "b o 3"]
) -> Float[Tensor, "b o 15"]:
    """How neighbours lie about a point: their middle, how far that is, how far they reach, how they spread along their
    three axes and as shares of the whole, their normal, outwards, and how high the point stands on them (Weinmann et
    al. 2015, "Semantic point cloud interpretation", section 3.2).
    """
    middle, _ = moments(about, known)
    aside = (about - middle.unsqueeze(2)) * known.unsqueeze(-1)
    covariance = einsum(aside, aside, "b o k i, b o k j -> b o i j") / known.sum(-1).clamp(min=1)[..., None, None]
    spread, axes = torch.linalg.eigh(covariance)
    spread, normal = spread.clamp(min=0), axes[..., 0]
    outwards = (asked * normal).sum(-1, keepdim=True)
    normal = torch.where(outwards < 0, -normal, normal)
    reach = (about.norm(dim=-1) * known).amax(-1, keepdim=True)
    shares = spread / spread.sum(-1, keepdim=True).clamp(min=1e-6)
    height = -(middle * normal).sum(-1, keepdim=True)
    return torch.cat([middle, middle.norm(dim=-1, keepdim=True), reach, spread.sqrt(), shares, normal, height], dim=-1)


def moments(values: Float[Tensor, "b o k c"], known: Bool[Tensor, "b o k"]) -> list[Float[Tensor, "b o c"]]:
    """Mean and standard deviation over the neighbours that are there; 0 where none is."""
    count = known.sum(-1).clamp(min=1).unsqueeze(-1)
    mean = (values * known.unsqueeze(-1)).sum(2) / count
    squares = ((values - mean.unsqueeze(2)).square() * known.unsqueeze(-1)).sum(2) / count
    return [mean, squares.sqrt()]


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
