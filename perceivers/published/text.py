"""Text of the language model: bytes to ids and back, masks, windows of long texts, and the filling of masks.

An id is a byte + 6; 0 to 5 are PAD, BOS, EOS, MASK, CLS and SEP. Nothing is cut or added silently.
Not concerned with the model inside.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from perceivers.errors import Unreadable

if TYPE_CHECKING:
    from perceivers.published.models import MaskedLanguage

PAD, BOS, EOS, MASK, CLS, SEP = range(6)
SPECIAL = 6
# Stands for one masked byte in a text: `mask` puts one for each byte.
MASK_TEXT = "<mask>"
OVERLAP = 4  # neighbouring windows of a long text share 1/4


def encode(text: str | bytes) -> list[int]:
    """UTF-8 bytes + 6. Each `<mask>` in a string is one MASK; bytes are taken as they are. No special ids are added."""
    if isinstance(text, bytes):
        return [byte + SPECIAL for byte in text]
    ids: list[int] = []
    for i, part in enumerate(text.split(MASK_TEXT)):
        ids += ([MASK] if i else []) + [byte + SPECIAL for byte in part.encode("utf-8")]
    return ids


def without_ends(ids: Sequence[int]) -> list[int]:
    """The ids alone, as the original reads them."""
    return list(ids)


def between_ends(ids: Sequence[int]) -> list[int]:
    """The ids between CLS and SEP, as the port's tokenizer gives them."""
    return [CLS, *ids, SEP]


def decode(ids: Iterable[int]) -> str:
    """Ids → text: ids below 6 are dropped, those from 262 wrap, invalid UTF-8 is replaced."""
    return bytes((i - SPECIAL) % 256 for i in map(int, ids) if i >= SPECIAL).decode("utf-8", errors="replace")


def mask(text: str, part: str) -> str:
    """The text with `part` masked wherever it stands, a `<mask>` for each byte. Raises ValueError where it is not."""
    if not part or part not in text:
        raise ValueError(f"{part!r} is not in the text: give a part of it to mask")
    return text.replace(part, MASK_TEXT * len(part.encode()))


def mask_span(ids: Sequence[int], start: int, stop: int) -> list[int]:
    """Ids with those from `start` up to `stop` masked. Raises ValueError where the span leaves the text."""
    if not 0 <= start < stop <= len(ids):
        raise ValueError(
            f"span {start}:{stop} is not in a text of {len(ids)} ids: give 0 <= start < stop <= {len(ids)}"
        )
    return [*ids[:start], *[MASK] * (stop - start), *ids[stop:]]


def collate(rows: Sequence[Sequence[int]], length: int) -> tuple[Int[Tensor, "b length"], Bool[Tensor, "b length"]]:
    """Rows of ids → (ids padded to `length`, mask: True where there is one). Raises Unreadable for a longer row."""
    for number, row in enumerate(rows):
        if len(row) > length:
            raise Unreadable(f"text {number}: {len(row)} bytes came, but the model reads {length}: cut it")
    ids = torch.full((len(rows), length), PAD)
    for place, row in zip(ids, rows, strict=True):
        place[: len(row)] = torch.tensor(row, dtype=ids.dtype)
    lengths = torch.tensor([len(row) for row in rows])
    return ids, torch.arange(length) < lengths[:, None]


@dataclass(frozen=True)
class Window:
    """The ids of a text from `start` up to `stop`, and which of its masks, as places in the text, are filled there."""

    start: int
    stop: int
    masks: tuple[int, ...]


def windows(ids: Sequence[int], room: int) -> list[Window]:
    """Windows of up to `room` ids, those that hold masks alone. Neighbours share a quarter.

    Each mask belongs to the window whose edges are farthest from it.
    """
    last = max(len(ids) - room, 0)
    starts = [*range(0, last, room - room // OVERLAP), last]
    owners: dict[int, list[int]] = {}
    for place in (i for i, one in enumerate(ids) if one == MASK):
        start = max(starts, key=lambda start: min(place - start, start + room - 1 - place))
        owners.setdefault(start, []).append(place)
    return [Window(start, min(start + room, len(ids)), tuple(masks)) for start, masks in sorted(owners.items())]


def room(model: "MaskedLanguage") -> int:
    """How many ids of a text one window holds: the model's length without the ends."""
    return model.sizes.length - len(model.source.ends([]))


def as_read(model: "MaskedLanguage", ids: Sequence[int], window: Window) -> tuple[Tensor, Tensor, list[int]]:
    """One window as the model reads it: ids (1 length), mask (1 length), and where in them its masks are."""
    before = len(model.source.ends([])) // 2
    part, mask = collate([model.source.ends(ids[window.start : window.stop])], model.sizes.length)
    device = model.bias.device
    return part.to(device), mask.to(device), [place - window.start + before for place in window.masks]


@torch.no_grad()
def probabilities(model: "MaskedLanguage", ids: Sequence[int]) -> Float[Tensor, "k 256"]:
    """For each mask of a text of any length, the probability of each byte there."""
    found = []
    for window in windows(ids, room(model)):
        part, mask, places = as_read(model, ids, window)
        found.append(model(part, mask)[0, places].softmax(-1)[:, SPECIAL : SPECIAL + 256].cpu())
    return torch.cat(found) if found else torch.zeros(0, 256)


def fill(model: "MaskedLanguage", texts: Sequence[str]) -> list[str]:
    """The texts, of any lengths, with every `<mask>` replaced by the likeliest byte there."""
    return [decode(filled(ids, probabilities(model, ids))) for ids in map(encode, texts)]


def filled(ids: Sequence[int], found: Float[Tensor, "k 256"]) -> list[int]:
    """The ids with each mask replaced by the likeliest byte."""
    best = iter((found.argmax(-1) + SPECIAL).tolist())
    return [next(best) if one == MASK else one for one in ids]
