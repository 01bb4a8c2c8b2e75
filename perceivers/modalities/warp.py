"""Series read at times that run unevenly: cropped and warped, by draws that are given.

Not concerned with other changes in training (`Series.augment`).
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from perceivers import recipe


def warp(
    values: Float[Tensor, "b t k"], present: Bool[Tensor, "b t k"], length: Tensor, draws: Float[Tensor, "b 5"]
) -> tuple[Float[Tensor, "b t k"], Bool[Tensor, "b t k"]]:
    """Each series read at times that run unevenly over most of it, by `draws` in [-1, 1); its length stays."""
    t = values.shape[1]
    last = (length - 1).clamp(min=1)[:, None].float()
    place = (torch.arange(t) / last).clamp(max=1)
    waves = sum(draws[:, i : i + 1] / (i + 1) * torch.sin((i + 1) * torch.pi * place) for i in range(3))
    low, high = recipe.SERIES_CROP * (draws[:, 3:4] + 1) / 2, 1 - recipe.SERIES_CROP * (draws[:, 4:5] + 1) / 2
    source = ((low + (high - low) * place + recipe.SERIES_WARP * waves).clamp(0, 1)) * last
    before = source.floor().long().clamp(max=t - 1)
    after = (before + 1).clamp(max=t - 1).minimum(last.long())
    weight = (source - before).unsqueeze(-1)
    near = torch.where(weight < 0.5, before.unsqueeze(-1), after.unsqueeze(-1)).expand_as(values)
    before, after = (i.unsqueeze(-1).expand_as(values) for i in (before, after))
    both = present.gather(1, before) & present.gather(1, after)
    mixed = values.gather(1, before) * (1 - weight) + values.gather(1, after) * weight
    inside = (torch.arange(t) < length[:, None]).unsqueeze(-1)
    found = torch.where(both, mixed, values.gather(1, near))
    return found * inside, present.gather(1, near) & inside
