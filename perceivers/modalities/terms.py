"""What a linear model reads of a field, for the kinds of data of which it can read much: the columns of `Wide`.

Not concerned with the model (`perceivers/wide.py`), nor with what the Perceiver reads.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from perceivers.modalities.base import Part

STEPS = 64  # of a series
SOFT = 3  # standard deviations, from which on values are clipped softly


class Terms(nn.Module, ABC):
    """The columns 0 to `width` - 1 of one field. `counts`: they are very many, and nearly all 0."""

    counts: ClassVar[bool] = False

    def __init__(self, width: int):
        super().__init__()
        self.width = width

    def learn(self, parts: Iterable[Part]) -> None:
        """Sees train rows once, before any other use, where it `counts`; as it stands, there is nothing to learn."""

    @abstractmethod
    def forward(self, part: Part) -> tuple[Int[Tensor, "b t"], Float[Tensor, "b t"]]:
        """Of each row t columns and their values: all others are 0."""

    def _all(self, values: Float[Tensor, "b w"]) -> tuple[Int[Tensor, "b w"], Float[Tensor, "b w"]]:
        """The values of all columns."""
        return torch.arange(self.width, device=values.device).expand(len(values), -1), values


class NumberTerms(Terms):
    """The standardised values of k columns, and whether each is missing."""

    def __init__(self, k: int):
        super().__init__(2 * k)

    def forward(self, part: Part) -> tuple[Int[Tensor, "b w"], Float[Tensor, "b w"]]:
        present = part["present"].to(part["values"].dtype)
        return self._all(torch.cat([soft(part["values"]) * present, 1 - present], dim=1))


class CategoryTerms(Terms):
    """Which of k categories, unseen or missing it is."""

    def __init__(self, k: int):
        super().__init__(k + 2)

    def forward(self, part: Part) -> tuple[Int[Tensor, "b l"], Float[Tensor, "b l"]]:
        there = part["labels"] >= 0  # -1 fills up
        return torch.where(there, part["labels"], 0), there.float()


class SeriesTerms(Terms):
    """Each of k channels at 64 equal steps (as many as there are, where it is fewer), its own mean and the logarithm
    of its scale, and the length.
    """

    def __init__(self, options: dict[str, Any]):
        self.steps = max(1, min(STEPS, round(options["length"])))
        self.longest = options["length"]
        super().__init__(options["channels"] * (self.steps + 2) + 1)

    def forward(self, part: Part) -> tuple[Int[Tensor, "b w"], Float[Tensor, "b w"]]:
        length = part["length"].unsqueeze(1)
        last = (length - 1).clamp(min=0)
        place = last * torch.linspace(0, 1, self.steps, device=length.device)
        before = (place + 1e-3).long()  # a whole place that was rounded down is that place
        after = torch.minimum(before + 1, last)
        share = (place - before).clamp(min=0).unsqueeze(-1)
        values = part["values"] * part["present"]
        ends = [values.gather(1, i.unsqueeze(-1).expand(-1, -1, values.shape[2])) for i in (before, after)]
        steps = soft((1 - share) * ends[0] + share * ends[1])
        there = (length > 0).to(values.dtype)
        scale = part["std"].clamp(min=1e-6).log() * there
        found = [rearrange(steps, "b s k -> b (s k)"), soft(part["mean"]), scale, length / self.longest]
        return self._all(torch.cat(found, dim=1))


def soft(values: Tensor) -> Tensor:
    """Softly clipped at ±3 (Holzmüller et al. 2024, section 3)."""
    return values / (1 + (values / SOFT) ** 2).sqrt()
