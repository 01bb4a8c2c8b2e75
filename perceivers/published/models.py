"""The six published models, each a few lines around one Perceiver IO, and the one builder that sees their sizes.

Not concerned with weights (`weights.py`) nor with preparing data (`text.py`, `pictures.py`, `flow.py`, `clips.py`).
"""

from typing import Generic, TypeVar, cast

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from perceivers.core import kernels
from perceivers.core.attention import linear
from perceivers.core.inputs import Array, Chunks
from perceivers.core.perceiver import PerceiverIO, build
from perceivers.core.positions import LearnedArray
from perceivers.published.inputs import (
    ByteInputs,
    ClipInputs,
    ClipQueries,
    FourierPositions,
    LearnedInputs,
    PairInputs,
    PixelInputs,
    PixelQueries,
    Points,
    StemInputs,
)
from perceivers.published.presets import (
    AutoencoderSizes,
    ConvSizes,
    FlowSizes,
    FourierSizes,
    LanguageSizes,
    LearnedSizes,
    Sizes,
)
from perceivers.published.sources import Source

S = TypeVar("S", bound=Sizes)


class Published(nn.Module, Generic[S]):
    """A model that knows its sizes and its source, so that it can be written again."""

    def __init__(self, sizes: S, source: Source):
        super().__init__()
        self.sizes, self.source = sizes, source
        self.perceiver: PerceiverIO = build(sizes.perceiver, source.activation, source.pool)


class MaskedLanguage(Published[LanguageSizes]):
    """Ids of bytes (b m) → logits (b length vocabulary), for the places beyond m too.

    `mask` is True where there is text.
    """

    def __init__(self, sizes: LanguageSizes, source: Source):
        super().__init__(sizes, source)
        self.inputs = ByteInputs(sizes.vocabulary, sizes.length, sizes.perceiver.input_channels)
        self.queries = LearnedArray(sizes.length, sizes.perceiver.query_channels)
        self.bias = nn.Parameter(torch.zeros(sizes.vocabulary))

    def forward(
        self, ids: Int[Tensor, "b m"], mask: Bool[Tensor, "b m"] | None = None
    ) -> Float[Tensor, "b length vocabulary"]:
        latents = self.perceiver.process(self.perceiver.encode(self.inputs(ids), mask))
        seeing = None if mask is None else self.source.query_mask(mask, self.sizes.length)
        outputs = self.perceiver.decode(latents, self.queries(len(ids)), seeing)
        return outputs.to(self.bias.dtype) @ self.inputs.embedding.array.T + self.bias


class ImageClassifier(Published[FourierSizes | LearnedSizes | ConvSizes]):
    """Normalised images (b 3 h w) → logits (b k). `labels` are the classes' names where the weights came with them."""

    def __init__(
        self,
        sizes: FourierSizes | LearnedSizes | ConvSizes,
        source: Source,
        inputs: PixelInputs | LearnedInputs | StemInputs,
    ):
        super().__init__(sizes, source)
        self.inputs = inputs
        self.query = LearnedArray(1, sizes.perceiver.query_channels)
        self.logits = linear(sizes.perceiver.query_channels, sizes.num_classes)
        self.labels: tuple[str, ...] = ()

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b k"]:
        output = self.perceiver(self.inputs(images), self.query(len(images)))
        return kernels.linear(rearrange(output, "b 1 e -> b e"), self.logits)


class OpticalFlow(Published[FlowSizes]):
    """Neighbourhoods of two frames (b 2 27 h w) → flow (b h w 2) in twentieths of a pixel, x before y."""

    def __init__(self, sizes: FlowSizes, source: Source):
        super().__init__(sizes, source)
        positions = FourierPositions(sizes.num_bands, sizes.image_size, source.linspace)
        self.inputs = PairInputs(sizes.image_size, sizes.patch_channels, sizes.channels, positions)
        self.flow = linear(sizes.perceiver.query_channels, 2)

    def forward(self, patches: Float[Tensor, "b 2 c h w"]) -> Float[Tensor, "b h w 2"]:
        array = self.inputs(patches)
        latents = self.perceiver.process(self.perceiver.encode(array))
        flow = self.perceiver.decode(latents, array, layers=(self.flow,)) / self.sizes.rescale
        return rearrange(flow, "b (h w) c -> b h w c", h=patches.shape[-2])


class Autoencoder(Published[AutoencoderSizes]):
    """Video (b t 3 h w) in [0, 1] and sound (b s) → both again, and logits of a label, through one bottleneck."""

    def __init__(self, sizes: AutoencoderSizes, source: Source):
        super().__init__(sizes, source)
        self.inputs = ClipInputs(sizes, source.linspace)
        self.queries = ClipQueries(sizes, source.linspace)
        self.output = linear(sizes.perceiver.query_channels, sizes.output_channels)
        widths = {"audio": sizes.samples_per_patch, "image": 3, "label": sizes.num_classes}
        self.heads = nn.ModuleDict({name: linear(sizes.output_channels, width) for name, width in widths.items()})
        self.labels: tuple[str, ...] = ()

    def encode(self, video: Float[Tensor, "b t 3 h w"], audio: Float[Tensor, "b s"]) -> Float[Tensor, "b n d"]:
        """All that is kept of a clip."""
        return self.perceiver.process(self.perceiver.encode(self.inputs(video, audio)))

    def decode(self, latents: Float[Tensor, "b n d"], points: Points) -> dict[str, Tensor]:
        """`audio` (b samples), `image` (b pixels 3) and `label` (b k) at `points` (see `ClipQueries`)."""
        return {
            "image": self._pixels(latents, self.queries.apart("image", len(latents), points["image"])),
            **self._sound_and_label(latents, points["audio"]),
        }

    def _pixels(self, latents: Float[Tensor, "b n d"], queries: Array | Chunks) -> Float[Tensor, "b o 3"]:
        return self.perceiver.decode(latents, queries, layers=(self.output, cast(nn.Linear, self.heads["image"])))

    def _sound_and_label(self, latents: Float[Tensor, "b n d"], points: Int[Tensor, " m"]) -> dict[str, Tensor]:
        queries = self.queries(len(latents), {"audio": points, "image": points[:0]})
        outputs = self.perceiver.decode(latents, queries, layers=(self.output,))
        return {
            "audio": rearrange(self.heads["audio"](outputs[:, :-1]), "b m s -> b (m s)"),
            "label": self.heads["label"](outputs[:, -1]),
        }

    def forward(
        self, video: Float[Tensor, "b t 3 h w"], audio: Float[Tensor, "b s"], chunks: int = 128
    ) -> dict[str, Tensor]:
        """`video` (b t 3 h w), `audio` (b s), `label` (b k): encoded once, pixels in `chunks` to save memory."""
        if chunks < 1:
            raise ValueError(f"{chunks} chunks came: give at least 1")
        latents, everything = self.encode(video, audio), self.queries.everything()
        pixels = self._pixels(latents, PixelQueries(self.queries, len(video), everything["image"], chunks))
        t, (h, w) = self.sizes.num_frames, self.sizes.frame_size
        return {
            "video": rearrange(pixels, "b (t h w) c -> b t c h w", t=t, h=h, w=w),
            **self._sound_and_label(latents, everything["audio"]),
        }


def make(sizes: Sizes, source: Source) -> Published:
    """The one place that turns a preset's sizes and a source's parts into a model, in evaluation mode."""
    if isinstance(sizes, LanguageSizes):
        model = MaskedLanguage(sizes, source)
    elif isinstance(sizes, FlowSizes):
        model = OpticalFlow(sizes, source)
    elif isinstance(sizes, AutoencoderSizes):
        model = Autoencoder(sizes, source)
    elif isinstance(sizes, LearnedSizes):
        model = ImageClassifier(sizes, source, LearnedInputs(sizes.image_size, sizes.channels))
    else:
        positions = FourierPositions(sizes.num_bands, sizes.resolution, source.linspace)
        stem = isinstance(sizes, ConvSizes)
        inputs = StemInputs(source.stem(sizes.stem_channels), positions) if stem else PixelInputs(positions)
        model = ImageClassifier(sizes, source, inputs)
    return model.eval()
