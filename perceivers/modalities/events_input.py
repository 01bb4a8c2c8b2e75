"""From events to tokens: what each is among its neighbours, a few neighbours in time a token, positions in time.

Not concerned with reading events (`events.py`).
"""

from collections.abc import Mapping
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import gelu, pad

from perceivers.core.attention import linear
from perceivers.core.positions import LearnedArray, fourier_channels, fourier_features
from perceivers.modalities.base import Part, PerField, Weights

NUM_BANDS, RESOLUTION = 16, 64
WIDTH = 64
NEAR = 8  # events of the same unit on either side that an event is seen with
FAR = 2.0  # spans: no position is farther away
LEAST_GAP = 0.01  # usual gaps


class EventsInputs(PerField):
    """Fields of events, side by side along m."""

    def weights(self, fields: Mapping[str, Any]) -> dict[str, Weights]:
        """Each unit by its name; what is made of all units together is the same for the same units alone."""
        found = {}
        for name, module in zip(self.names, self.fields, strict=True):
            own, units = dict(module.named_parameters()), fields[name].options["units"]
            embedded = own.pop("units.weight")
            rows = {label: embedded[i] for i, label in enumerate((*(f"= {unit}" for unit in units), "unseen"))}
            whole = {f"{units} {key}": own.pop(key) for key in [*own] if key.startswith("whole.")}
            found[name] = "events", {**own, **whole, **rows}
        return found


class EventsInput(nn.Module):
    """Events of u units with k values → a token for the whole and one for each `group` of them (b m channels).

    An event is its unit's embedding, its values, its time as Fourier features, how long ago the last one was, and the
    values and gaps of the eight events before and after it in its own unit. A token is the mean and the maximum over a
    group of neighbours in time of what a small network makes of each, and the Fourier features of their mean time since
    the start and until the end, in spans of train.
    """

    def __init__(self, u: int, k: int, group: int, span: float, channels: int):
        super().__init__()
        self.group, self.span = group, span
        self.units = nn.Embedding(u + 1, WIDTH)
        nn.init.normal_(self.units.weight, std=0.5)
        self.event = nn.Linear(2 * k + 1 + 2 * NEAR * (2 * k + 2) + fourier_channels(1, NUM_BANDS), WIDTH)
        self.mixed = nn.Linear(WIDTH, WIDTH)
        self.to_channels = linear(2 * WIDTH, channels)
        self.positions = linear(fourier_channels(2, NUM_BANDS), channels)
        self.whole = linear((u + 1) * (1 + 2 * k) + 1, channels)
        self.field = LearnedArray(3, channels)

    def forward(self, part: Part) -> tuple[Float[Tensor, "b m c"], Bool[Tensor, "b m"]]:
        x = gelu(self.event(self.features(part)) + self.units(part["units"]))
        x = gelu(self.mixed(x))
        mask = self.grouped(part["mask"].unsqueeze(-1), False)
        x = self.grouped(x, 0.0)
        count = mask.sum(2).clamp(min=1)
        mean = (x * mask).sum(2) / count
        highest = x.masked_fill(~mask, -torch.inf).amax(2).masked_fill(~mask.any(2), 0)
        times = (self.grouped(part["times"].unsqueeze(-1), 0.0) * mask).sum(2) / count
        last = (part["length"] * self.span)[:, None, None]
        place = self.place(torch.cat([times, last - times], dim=-1))
        tokens = self.to_channels(torch.cat([mean, highest], dim=-1)) + self.positions(
            fourier_features(place, NUM_BANDS, (RESOLUTION, RESOLUTION))
        )
        field = self.field(len(tokens))
        whole = self.of_whole(part) + torch.where(part["present"][:, None], field[:, 0], field[:, 1])
        tokens = torch.cat([whole.unsqueeze(1), tokens + field[:, 2:]], dim=1)
        return tokens, pad(mask.any(2).squeeze(-1), (1, 0), value=True)

    def place(self, times: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Usual gaps since the start → positions, 0 … span as -1 … 1."""
        return (2 * times / self.span - 1).clamp(-FAR, FAR)

    def grouped(self, x: Tensor, filling: float) -> Tensor:
        """(b n c) → (b m group c)."""
        x = pad(x, (0, 0, 0, -x.shape[1] % self.group), value=filling)
        return rearrange(x, "b (m g) c -> b m g c", g=self.group)

    def features(self, part: Part) -> Float[Tensor, "b n f"]:
        """What is known of each event but its unit."""
        times, there = part["times"].unsqueeze(-1), part["there"].to(part["times"].dtype)
        values = torch.cat([soft(part["values"], 5), 1 - there], dim=-1)
        before = log_gaps(times[:, 1:] - times[:, :-1])
        near = in_own_unit(values, part["times"], part["units"], part["mask"])
        position = fourier_features(self.place(times), NUM_BANDS, (RESOLUTION,))
        return torch.cat([values, pad(before, (0, 0, 1, 0)), near, position], dim=-1)

    def of_whole(self, part: Part) -> Float[Tensor, "b c"]:
        """How many events of each unit there are, the mean and the spread of their values, and the row's length."""
        u = part["counts"].shape[1]
        found = [part["counts"], part["length"].unsqueeze(1).clamp(max=FAR)]
        units = part["units"].unsqueeze(-1).expand_as(part["values"])
        zero = part["values"].new_zeros(len(units), u, units.shape[-1])
        count = zero.scatter_add(1, units, part["there"].to(zero.dtype))
        mean = zero.scatter_add(1, units, part["values"]) / count.clamp(min=1)
        off = (part["values"] - mean.gather(1, units)).square() * part["there"]
        spread = (zero.scatter_add(1, units, off) / count.clamp(min=1)).clamp(min=1e-6).log()
        found += [soft(mean, 3).flatten(1), (spread * (count > 1)).flatten(1)]
        return self.whole(torch.cat(found, dim=1))


def soft(x: Tensor, limit: float) -> Tensor:
    """Softly clipped to ± limit."""
    return x / (1 + (x / limit) ** 2).sqrt()


def log_gaps(gaps: Tensor) -> Tensor:
    """Times between events in usual gaps → about -4.6 for none, 0 for the usual one."""
    return (gaps.clamp(min=0) + LEAST_GAP).log()


def in_own_unit(
    values: Float[Tensor, "b n f"], times: Float[Tensor, "b n"], units: Int[Tensor, "b n"], mask: Bool[Tensor, "b n"]
) -> Float[Tensor, "b n g"]:
    """Of the eight events before and after each in its own unit: the gap to it, its values, and that it is there."""
    order = units.masked_fill(~mask, torch.iinfo(units.dtype).max).argsort(dim=1, stable=True)
    rows = torch.arange(len(units), device=units.device)[:, None]
    of, when, what, known = units[rows, order], times[rows, order], values[rows, order], mask[rows, order]
    found, n = [], units.shape[1]
    for offset in (o for i in range(1, NEAR + 1) for o in (-i, i)):
        index = torch.arange(n, device=units.device) + offset
        other = index.clamp(0, n - 1)
        same = (index == other) & (of[:, other] == of) & known[:, other] & known
        gap = log_gaps((when[:, other] - when).abs())
        one = torch.cat([gap.unsqueeze(-1), what[:, other]], dim=-1) * same.unsqueeze(-1)
        found.append(torch.cat([one, same.unsqueeze(-1).to(one.dtype)], dim=-1))
    back = order.argsort(dim=1)
    return torch.cat(found, dim=-1)[rows, back]
