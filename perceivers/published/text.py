"""Text of the language model: bytes to ids and back, masks, and the filling of masks.

An id is a byte + 6; 0 to 5 are PAD, BOS, EOS, MASK, CLS and SEP. Nothing is cut or added silently.
Not concerned with the model inside.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from perceivers.errors import Unreadable

if TYPE_CHECKING:
    from perceivers.published.models import MaskedLanguage

PAD, BOS, EOS, MASK, CLS, SEP = range(6)
SPECIAL = 6
# Stands for one masked byte in a text: `mask` puts one for each byte.
MASK_TEXT = "<mask>"


def encode(text: str | bytes) -> list[int]:
    """UTF-8 bytes + 6. Each `<mask>` in a string is one MASK; bytes are taken as they are. No special ids are added."""
    if isinstance(text, bytes):
        return [byte + SPECIAL for byte in text]
    ids: list[int] = []
    for i, part in enumerate(text.split(MASK_TEXT)):
        ids += ([MASK] if i else []) + [byte + SPECIAL for byte in part.encode("utf-8")]
    return ids


def encode_with_ends(text: str | bytes) -> list[int]:
    """The same between CLS and SEP, as the port's tokenizer gives it."""
    return [CLS, *encode(text), SEP]


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


@torch.no_grad()
def fill(model: "MaskedLanguage", texts: Sequence[str]) -> list[str]:
    """The texts with every `<mask>` replaced by the likeliest byte there."""
    ids, mask = collate([model.source.encode_text(text) for text in texts], model.sizes.length)
    device = model.bias.device
    logits = model(ids.to(device), mask.to(device)).cpu()
    best = logits[..., SPECIAL : SPECIAL + 256].argmax(-1) + SPECIAL
    return [decode(row) for row in torch.where(ids == MASK, best, ids).tolist()]
