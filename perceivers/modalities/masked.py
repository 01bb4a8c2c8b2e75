"""Masked bytes of a text: the text is read without some of its bytes, and those are asked.

Not concerned with how bytes become tokens (`text.py`).
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, embedding_bag, pad

from perceivers import recipe
from perceivers.core.attention import linear
from perceivers.core.positions import fourier_channels, fourier_features
from perceivers.errors import BadInput, Unreadable
from perceivers.modalities import metrics
from perceivers.modalities.base import Batch, Inputs, Metrics, Modality, Part, PerField, Target, one_column, positive
from perceivers.modalities.text import NUM_BANDS, Text, TextInput

MASK = b"<mask>"  # in a text to be filled it stands for one byte
UNKNOWN = -1  # a byte that is asked and not known; one that is hidden is HIDDEN - its value
HIDDEN = -2
NEAR = 6  # bytes on either side that a query sees
TEXT = Text()


class Masked(Modality):
    """Options: `max_bytes` (of one window; None: the 99th percentile of train, at most 2,048), and of a target
    `source`, the input in which its bytes are masked.

    An example is int16 (m): a byte, or -1 where `<mask>` stands; in a window also -2 - byte where one is hidden. Of a
    target: how many bytes it has, int64 (1); what is asked stands in the input.
    """

    name = "masked"
    options: ClassVar[Mapping[str, Any]] = {"max_bytes": None, "source": None}
    evidence_name = "the bits per byte of what is asked"

    def check(self, field: Any) -> None:
        one_column(field)
        positive(field, "max_bytes")

    def fit(self, field: Any, cells: Sequence[Any]) -> dict[str, Any]:
        self.check(field)
        if field.options["max_bytes"] is not None:
            return {}
        found = TEXT.fit(field.with_options(files=False), cells)["max_bytes"]
        return {"max_bytes": min(found, recipe.MASKED_MOST_BYTES)}

    def agree(self, field: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
        source = field.options["source"] or next(
            (f.name for f in inputs.values() if f.modality == self.name and f.columns == field.columns), None
        )
        if source not in inputs or inputs[source].modality != self.name:
            column = field.columns[0]
            raise BadInput(
                f"{field.name}: no input in which its bytes are masked: add {{name: {column}.masked, modality: masked, "
                f"role: input, columns: [{column}]}}"
            )
        return {"source": source, "max_bytes": inputs[source].options["max_bytes"]}

    def read(self, field: Any, cell: Any) -> np.ndarray | None:
        """A str, in which `<mask>` stands for a byte that is asked. Raises Unreadable where there are too many."""
        example = TEXT.read(field, cell)
        if field.role == "target" or example is None:
            return None if example is None else np.array([len(example)])
        pieces = example.tobytes().split(MASK)
        whole = np.full(sum(map(len, pieces)) + len(pieces) - 1, UNKNOWN, np.int16)
        start = 0
        for piece in pieces:
            whole[start : start + len(piece)] = np.frombuffer(piece, np.uint8)
            start += len(piece) + 1
        longest = field.options["max_bytes"] or recipe.MASKED_MOST_BYTES
        if len(pieces) > 1 + recipe.MASKED_MOST_ASKED:
            raise Unreadable(
                f"{len(pieces) - 1} {MASK.decode()} came, expected at most {recipe.MASKED_MOST_ASKED} in a text"
            )
        if len(pieces) > 1 and len(whole) > longest:
            raise Unreadable(f"{len(whole)} bytes came with {MASK.decode()} among them, expected at most {longest}")
        return whole

    def windows(self, field: Any, example: np.ndarray | None) -> list[np.ndarray | None]:
        """Windows of a text, with bytes hidden by its contents alone; a text with `<mask>` as it is."""
        if field.role == "target" or example is None or (example == UNKNOWN).any():
            return [example]
        windows = [window for window in TEXT.windows(field, example) if window is not None]
        return [hide(window, np.random.default_rng(zlib.crc32(window.tobytes()))) for window in windows]

    def remarks(self, field: Any, cell: Any, example: np.ndarray | None) -> Sequence[str]:
        return () if field.role == "target" else TEXT.remarks(field, cell, example)

    def crop(self, field: Any, example: np.ndarray, uniform: float) -> np.ndarray:
        random = np.random.default_rng(int(uniform * 2**53))
        return hide(TEXT.crop(field, example, random.random()), random)

    def size(self, field: Any, cell: Any) -> int:
        return TEXT.size(field, cell)

    def collate(self, field: Any, examples: Sequence[Any] | np.ndarray) -> Part:
        """`bytes` (b m) uint8 and `mask` (b m), True where one is shown; `truth` (b m) int64, the byte where one is
        hidden, 256 where one is asked and not known, -1 elsewhere. Of a target `length` (b) int64.
        """
        if field.role == "target":
            return {"length": torch.tensor([0 if example is None else int(example[0]) for example in examples])}
        longest = max([1, *(len(example) for example in examples if example is not None)])
        array = np.full((len(examples), longest), 1_000, np.int64)  # beyond the end
        for row, example in zip(array, examples, strict=True):
            if example is not None:
                row[: len(example)] = example
        shown = (array >= 0) & (array < 256)
        truth = np.where(array <= HIDDEN, HIDDEN - array, np.where(array == UNKNOWN, 256, -1))
        return {
            "bytes": torch.from_numpy(np.where(shown, array, 0).astype(np.uint8)),
            "mask": torch.from_numpy(shown),
            "truth": torch.from_numpy(truth),
        }

    def drop(self, field: Any, part: Part, rows: Bool[Tensor, " b"]) -> Part:
        return {**part, "mask": part["mask"] & ~rows[:, None]}

    def inputs(self, fields: Sequence[Any], channels: int) -> Inputs:
        return PerField({field.name: TextInput(field.options["max_bytes"], channels) for field in fields})

    def target(self, field: Any, channels: int) -> Target:
        return BytesTarget(field.options["source"], field.options["max_bytes"], channels)

    def draw(self, field: Any, cell: Any) -> str:
        return TEXT.draw(field, cell)

    def baseline(self, field: Any) -> Any:
        """TF-IDF, for other targets: see `Text.baseline`."""
        from perceivers.modalities import features

        return features.masked()

    def columns(self, field: Any, answer: np.ndarray, proba: bool) -> dict[str, list[Any]]:
        """The bytes for the places that were `<mask>`, as text; None where there was none."""
        filled = [row[2 : 2 + int(row[-1])].astype(np.uint8).tobytes() for row in answer]
        return {field.name: [one.decode("utf-8", errors="replace") if one else None for one in filled]}

    def predicted(
        self, field: Any, answer: np.ndarray, proba: bool, cells: Callable[[str], list[Any]]
    ) -> dict[str, list[Any]]:
        """The texts with their `<mask>`s filled; None where there was none."""
        texts = cells(field.options["source"])
        return {field.name: [fill(text, one) for text, one in zip(texts, answer, strict=True)]}

    def row_scores(self, field: Any, answer: np.ndarray, truth: np.ndarray) -> tuple[str, Float[np.ndarray, " n"]]:
        return "bits_per_byte", answer[:, 0] / np.maximum(answer[:, 1], 1)

    def rivals(self, field: Any, simple: Any) -> dict[str, np.ndarray]:
        """How often bytes come, and how often after the byte before."""
        from perceivers.modalities import naive

        source, _, _ = simple.inputs[field.options["source"]]
        train, test = simple.examples(source.name)
        windows = [[w for w in self.windows(source, example) if w is not None] for example in test]
        return naive.hidden_bytes(train, windows)

    def compared(self, field: Any, answer: np.ndarray, truth: Any, example: Callable[[str], Any]) -> str:
        return ""

    def evidence(self, field: Any, answer: Float[np.ndarray, "n k"], asked: Float[np.ndarray, " k"]) -> np.ndarray:
        """The bits per byte (n 1) of what is hidden; nothing (n 0) of a text in which all that is asked is unknown."""
        if asked[1] == 0:
            return answer[:, :0]
        return answer[:, :1] / np.maximum(answer[:, 1:2], 1)

    def metrics(self, field: Any, answer: np.ndarray, truth: Sequence[Any], groups: Sequence[Any] | None) -> Metrics:
        return metrics.coding(answer[:, 0], answer[:, 1], groups)


def hide(example: Int[np.ndarray, " m"], random: np.random.Generator) -> Int[np.ndarray, " m"]:
    """Hides about 15 % of the bytes, at most 48, in spans of one to five; at least one where there are two."""
    if len(example) < 2:
        return example
    hidden = np.zeros(len(example), dtype=bool)
    wanted = min(recipe.MASKED_MOST_ASKED, max(1, round(recipe.MASKED_RATE * len(example))))
    while hidden.sum() < wanted:
        start = int(random.integers(len(example)))
        length = int(random.integers(1, recipe.MASKED_LONGEST_SPAN + 1))
        hidden[start : start + min(length, wanted - int(hidden.sum()))] = True
    return np.where(hidden & (example >= 0), HIDDEN - example, example).astype(np.int16)


def fill(text: str | None, answer: Float[np.ndarray, " k"]) -> str | None:
    """A text with the answered bytes in place of its `<mask>`s; None where it has none."""
    pieces = (text or "").encode("utf-8").split(MASK)
    if len(pieces) == 1:
        return None
    found = [bytes([int(byte)]) for byte in answer[2 : 1 + len(pieces)]]
    return b"".join(p + b for p, b in zip(pieces, [*found, b""], strict=True)).decode("utf-8", errors="replace")


class BytesTarget(Target):
    """A query for each byte that is asked → logits of 256 bytes; cross-entropy.

    A query is the byte's position and the bytes near it that are shown, each place with its own embeddings.
    """

    def __init__(self, source: str, max_bytes: int, channels: int):
        super().__init__(1, channels)
        self.reads = self.source = source
        self.max_bytes = max_bytes
        self.positions = linear(fourier_channels(1, NUM_BANDS), channels)
        self.near = nn.Parameter(torch.empty(1 + 2 * NEAR * 256, channels).normal_(std=channels**-0.5))
        self.head = linear(channels, 256)

    def ask(self, batch: Batch) -> Float[Tensor, "b o e"]:
        part = batch[self.source]
        place, _ = asked(part["truth"])
        positions = (place * (2 / self.max_bytes) - 1).unsqueeze(-1)
        found = self.positions(fourier_features(positions, NUM_BANDS, [self.max_bytes]))
        return self.queries(len(place)) + found + self._around(part, place)

    def _around(self, part: Part, place: Int[Tensor, "b o"]) -> Float[Tensor, "b o e"]:
        shown = torch.where(part["mask"], part["bytes"].long(), -1)
        beside = pad(shown, (NEAR, NEAR), value=-1)
        steps = torch.tensor([s for s in range(2 * NEAR + 1) if s != NEAR], device=place.device)
        at = rearrange(place.unsqueeze(-1) + steps, "b o s -> b (o s)")
        values = rearrange(beside.gather(1, at), "b (o s) -> (b o) s", s=2 * NEAR)
        rows = torch.where(values >= 0, 1 + 256 * torch.arange(2 * NEAR, device=place.device) + values, 0)
        summed = embedding_bag(rows, self.near, mode="sum", padding_idx=0)
        return rearrange(summed, "(b o) e -> b o e", b=len(place))

    def forward(self, outputs: Float[Tensor, "b o e"], batch: Batch) -> Float[Tensor, "b o k"]:
        return self.head(outputs)

    def loss(self, prediction: Float[Tensor, "b o k"], part: Part) -> Float[Tensor, " b"]:
        """The mean over the bytes that are hidden, in nats; 0 where none is."""
        nats, count = _coded(prediction, part)
        return nats / count.clamp(min=1)

    def answer(self, prediction: Float[Tensor, "b o k"], batch: Batch) -> Float[Tensor, "b k"]:
        """[bits of the hidden bytes, their number, the likeliest byte at each `<mask>` (48), the number of these]."""
        nats, count = _coded(prediction, batch[self.source])
        _, truth = asked(batch[self.source]["truth"])
        unknown = truth == 256
        likeliest = torch.where(unknown, prediction.argmax(-1), 0)
        order = (~unknown).to(torch.int64).argsort(dim=1, stable=True)  # the unknown ones first, in their order
        most = recipe.MASKED_MOST_ASKED
        filled = pad(likeliest.gather(1, order)[:, :most], (0, max(0, most - truth.shape[1])))
        return torch.cat(
            [(nats / np.log(2)).unsqueeze(1), count.unsqueeze(1), filled, unknown.sum(1, keepdim=True)], dim=1
        )


def asked(truth: Int[Tensor, "b m"]) -> tuple[Int[Tensor, "b o"], Int[Tensor, "b o"]]:
    """The places that are asked, in their order, and the truth there (-1 where a row has fewer); o ≥ 1."""
    there = truth >= 0
    most = int(there.sum(1).max().clamp(min=1))
    order = (~there).to(torch.int64).argsort(dim=1, stable=True)[:, :most]
    return order, truth.gather(1, order)


def _coded(prediction: Float[Tensor, "b o k"], part: Part) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """The nats of the hidden bytes of each row, and their number."""
    _, truth = asked(part["truth"])
    known = (truth >= 0) & (truth < 256)
    nats = cross_entropy(rearrange(prediction, "b o k -> b k o"), truth.where(known, 0), reduction="none")
    return (nats * known).sum(1), known.sum(1).to(prediction.dtype)
