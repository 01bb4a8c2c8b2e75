"""A small Transformer encoder, RNN and CNN in the Perceiver's place, for the same rows and the same time.

Each reads the same tokens (bytes, patches, steps or cells with their positions), through the same augmentation, and
answers by the same heads; of sound and of points the networks that people take for them read the data themselves
(`nets.py`). All are trained by the ordinary recipe: AdamW, warm-up and cosine over the budget, dropout, the best
weights on validation. Not concerned with which rows and budgets are asked (`accuracy.py`).
"""

import copy
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from benchmarks.nets import M5, PointNet
from perceivers.data.schema import Field, Schema
from perceivers.modalities.base import Batch, PerField
from perceivers.model import Model
from perceivers.recipe import IMAGE_PATCHES
from perceivers.training import defaults, fitting
from perceivers.training.config import Architecture, Config
from perceivers.training.train import Data

CHANNELS, LAYERS, HEADS, DROPOUT = 128, 4, 4, 0.1
LR, WEIGHT_DECAY, WARMUP = 1e-3, 0.05, 0.05
VALIDATIONS = 20
TRANSFORMER_PATCHES = 64  # of a picture: its cost grows with their square


class Rival(nn.Module):
    """In the place of a Perceiver: tokens (b m c) → one vector (b 1 c), the mean over what there is, and beside it each
    query (b o c).
    """

    def __init__(self, body: nn.Module):
        super().__init__()
        self.body, self.norm = body, nn.LayerNorm(CHANNELS)

    def encode(self, tokens: Float[Tensor, "b m c"], mask: Bool[Tensor, "b m"]) -> Float[Tensor, "b 1 c"]:
        there = mask.unsqueeze(-1)
        found = self.body(tokens * there, mask) * there
        mean = found.sum(1) / there.sum(1).clamp(min=1)
        return self.norm(rearrange(mean, "b c -> b 1 c"))

    def process(self, latents: Float[Tensor, "b 1 c"]) -> Float[Tensor, "b 1 c"]:
        return latents

    def decode(self, latents: Float[Tensor, "b 1 c"], queries: Float[Tensor, "b o c"]) -> Float[Tensor, "b o c"]:
        return latents + queries


@dataclass(frozen=True)
class Contender:
    """What stands in the Perceiver's place, and what in place of the tokens of the kind of data that it reads."""

    body: nn.Module
    reader: M5 | PointNet | None = None
    patches: int | None = None  # of a picture, at most, where so many as ours has are too many for it


class Same(nn.Module):
    """Nothing more: the reader has done it all."""

    def forward(self, tokens: Float[Tensor, "b m c"], mask: Bool[Tensor, "b m"]) -> Float[Tensor, "b m c"]:
        return tokens


class TransformerEncoder(nn.Module):
    """Self-attends over all tokens (Vaswani et al. 2017), pre-norm."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            CHANNELS, HEADS, 4 * CHANNELS, DROPOUT, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)

    def forward(self, tokens: Float[Tensor, "b m c"], mask: Bool[Tensor, "b m"]) -> Float[Tensor, "b m c"]:
        blind = ~mask.any(1, keepdim=True)  # a row with nothing to see looks at its empty tokens
        return self.layers(tokens, src_key_padding_mask=~(mask | blind))


class RNN(nn.Module):
    """Two layers of gated recurrent units (Cho et al. 2014), in both directions."""

    def __init__(self):
        super().__init__()
        self.layers = nn.GRU(CHANNELS, CHANNELS // 2, 2, batch_first=True, dropout=DROPOUT, bidirectional=True)

    def forward(self, tokens: Float[Tensor, "b m c"], mask: Bool[Tensor, "b m"]) -> Float[Tensor, "b m c"]:
        return self.layers(tokens)[0]


class CNN(nn.Module):
    """Residual blocks of two convolutions (He et al. 2016): over a grid h × w of tokens, or along a line."""

    def __init__(self, grid: tuple[int, int] | None):
        super().__init__()
        self.grid = grid
        layer, norm, width = (nn.Conv2d, nn.BatchNorm2d, 3) if grid else (nn.Conv1d, nn.BatchNorm1d, 7)

        def half() -> list[nn.Module]:
            return [layer(CHANNELS, CHANNELS, width, padding="same", bias=False), norm(CHANNELS), nn.GELU()]

        self.blocks = nn.ModuleList(nn.Sequential(*half(), nn.Dropout(DROPOUT), *half()) for _ in range(LAYERS))

    def forward(self, tokens: Float[Tensor, "b m c"], mask: Bool[Tensor, "b m"]) -> Float[Tensor, "b m c"]:
        if self.grid:
            h, w = self.grid
            x, there = rearrange(tokens, "b (h w) c -> b c h w", h=h, w=w), rearrange(mask, "b (h w) -> b 1 h w", h=h)
        else:
            x, there = rearrange(tokens, "b m c -> b c m"), rearrange(mask, "b m -> b 1 m")
        for block in self.blocks:
            x = (x + block(x)) * there
        return rearrange(x, "b c h w -> b (h w) c" if self.grid else "b c m -> b m c")


NAMES = ("CNN", "RNN", "Transformer encoder", "M5", "PointNet")


def rivals(data: Data) -> dict[str, Contender]:
    """Those that fit the data: cells of a table are no sequence and no grid, and points are no sequence."""
    fields = data.schema.inputs
    kinds = {field.modality for field in fields}
    found = _nets(fields) | {"Transformer encoder": Contender(TransformerEncoder(), patches=TRANSFORMER_PATCHES)}
    if kinds & {"number", "category", "points"}:
        return found
    grid = None
    if kinds == {"image"}:
        (field,) = fields
        batch = data.rows.batch(data.parts["train"])[field.name]
        if len(batch["sizes"].unique(dim=0)) == 1:
            h, w = (-(-int(side) // field.options["patch"]) for side in batch["sizes"][0])
            grid = h, w
    return {"CNN": Contender(CNN(grid)), "RNN": Contender(RNN()), **found}


def _nets(fields: Sequence[Field]) -> dict[str, Contender]:
    """Networks that read a kind of data themselves, where one field is of that kind."""
    kinds = [field.modality for field in fields]
    found = {}
    for field in fields:
        options = field.options
        if field.modality == "audio" and kinds.count("audio") == 1:
            found["M5"] = Contender(Same(), M5(options["rate"], options["channels"], CHANNELS))
        if field.modality == "points" and kinds.count("points") == 1:
            found["PointNet"] = Contender(Same(), PointNet(len(options["features"]), CHANNELS))
    return found


def compete(contender: Contender, data: Data, seconds: float, seed: int) -> Model:
    """A model with the contender inside, after `seconds` of training."""
    torch.manual_seed(seed)
    sizes = len(data.parts["train"]), len(data.parts["validation"])
    config = defaults.resolve(Config(architecture=Architecture(latent_channels=CHANNELS)), data.schema, *sizes)
    model = Model(_coarser(data, contender.patches), defaults.perceiver(config))
    model.add_module("perceiver", Rival(contender.body))
    if contender.reader is not None:
        kind = contender.reader.modality
        (field,) = (field for field in data.schema.inputs if field.modality == kind)
        model.inputs[kind] = PerField({field.name: contender.reader})
    stream = iter(fitting.batches(data, config))
    validation = None if config.training.small else fitting.ValidationBatches(data, config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=WEIGHT_DECAY, fused=True)
    best, kept, validated = math.inf, None, 0
    began = time.monotonic()
    while (progress := (time.monotonic() - began) / seconds) < 1:
        _step(model.train(), next(stream), optimiser, progress)
        if validation is not None and progress * VALIDATIONS > validated + 1:
            validated += 1
            if (loss := _loss_on(model.eval(), validation)) < best:
                best, kept = loss, copy.deepcopy(model.state_dict())
    if kept is not None:
        model.load_state_dict(kept)
    return model.eval()


def _coarser(data: Data, patches: int | None) -> Schema:
    """The schema, its pictures in at most so many patches where their sizes are one."""
    fields = []
    for field in data.schema.fields:
        if patches and field.modality == "image" and field.role == "input":
            sizes = data.rows.batch(data.parts["train"][:1])[field.name]["sizes"][0].tolist()
            few = (p for p in IMAGE_PATCHES if math.prod(-(-side // p) for side in sizes) <= patches)
            field = replace(field, options={**field.options, "patch": next(few, IMAGE_PATCHES[-1])})
        fields.append(field)
    return replace(data.schema, fields=tuple(fields))


def _loss(model: Model, pieces: Sequence[Batch]) -> Tensor:
    """The mean over rows, summed over targets, in bfloat16 where it is computed and float32 where it is added. Each
    piece is read for itself: what the others make of an input is as long as it is.
    """
    with torch.autocast("cpu", torch.bfloat16):
        losses = [torch.stack([loss.float() for loss in model.losses(piece).values()]) for piece in pieces]
    return torch.cat(losses, dim=1).mean(1).sum()


def _step(model: Model, pieces: Sequence[Batch], optimiser: torch.optim.Optimizer, progress: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = LR * min(progress / WARMUP, 0.5 * (1 + math.cos(math.pi * progress)))
    optimiser.zero_grad()
    _loss(model, pieces).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()


@torch.no_grad()
def _loss_on(model: Model, batches: Iterable[Batch]) -> float:
    losses = [_loss(model, [batch]).item() for batch in batches]
    return sum(losses) / len(losses)
