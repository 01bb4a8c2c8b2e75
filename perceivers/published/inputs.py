"""How each published model turns its raw arrays into an input array (b m c), or (features, positions) apart.

Not concerned with files, crops or tiles (`text.py`, `pictures.py`, `flow.py`, `clips.py`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor, nn

from perceivers.core.attention import linear
from perceivers.core.derived import derived
from perceivers.core.grids import OnGrid
from perceivers.core.inputs import Parts, Whole, join
from perceivers.core.positions import LearnedArray, fourier_channels, grid, sines
from perceivers.published.presets import AutoencoderSizes
from perceivers.published.stem import Stem

Points = Mapping[str, Int[Tensor, " o"]]
FeaturesAndPositions = tuple[Float[Tensor, "b m f"], Float[Tensor, "#m p"] | OnGrid]


class FourierPositions(nn.Module):
    """Fourier features by one source's `linspace`, which decides their last bits."""

    def __init__(self, num_bands: int, resolution: Sequence[int], linspace: Callable[..., Tensor]):
        super().__init__()
        self.num_bands, self.resolution, self.linspace = num_bands, tuple(resolution), linspace
        self.channels = fourier_channels(len(resolution), num_bands)
        self._grids: dict[tuple, OnGrid] = {}

    def forward(self, positions: Float[Tensor, "m d"]) -> Float[Tensor, "m p"]:
        frequencies = [self.linspace(1.0, size / 2, self.num_bands) for size in self.resolution]
        return sines(positions, torch.stack(frequencies).to(positions))

    def on_grid(self, shape: Sequence[int], like: Tensor) -> OnGrid:
        """The features of a grid's cells, from -1 to 1 inclusive. The last grid's are kept."""
        asked = (tuple(shape), like.dtype, like.device)
        if asked not in self._grids:
            with torch.inference_mode(False):
                self._grids = {asked: self._on_grid(shape, like)}
        return self._grids[asked]

    def _on_grid(self, shape: Sequence[int], like: Tensor) -> OnGrid:
        """A channel hangs on one axis: those of the last one differ by column, all others by row."""
        d, bands = len(shape), self.num_bands
        axis = torch.arange(d, device=like.device)
        of_last = torch.cat([axis, *2 * [axis.repeat_interleave(bands)]]) == d - 1
        cells = grid(shape, like.device, self.linspace).to(like.dtype).unflatten(0, (-1, shape[-1]))
        rows, columns = self(cells[:, 0]), self(cells[0])
        return OnGrid(rows.masked_fill(of_last, 0.0), columns.masked_fill(~of_last, 0.0))


class ByteInputs(nn.Module):
    """Ids (b m) → embedded bytes with learned positions added (b m c), m up to `length`."""

    def __init__(self, vocabulary: int, length: int, channels: int):
        super().__init__()
        self.embedding = LearnedArray(vocabulary, channels)
        self.positions = LearnedArray(length, channels)

    def forward(self, ids: Int[Tensor, "b m"]) -> Float[Tensor, "b m c"]:
        if ids.shape[1] > len(self.positions.array):
            raise ValueError(
                f"{ids.shape[1]} bytes came, but the model reads {len(self.positions.array)}: cut the text"
            )
        return self.embedding.array[ids] + self.positions.array[: ids.shape[1]]


class PixelInputs(nn.Module):
    """Images (b 3 h w) of any size → their pixels, and Fourier features of their grid."""

    def __init__(self, positions: FourierPositions):
        super().__init__()
        self.positions = positions
        self.channels = 3 + positions.channels

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> FeaturesAndPositions:
        return rearrange(images, "b c h w -> b (h w) c"), self.positions.on_grid(images.shape[-2:], images)


class LearnedInputs(nn.Module):
    """Images (b 3 h w) of one size → pixels by a 1×1 convolution, and learned positions by a projection."""

    def __init__(self, image_size: tuple[int, int], channels: int):
        super().__init__()
        self.image_size = image_size
        self.pixels = nn.Conv2d(3, channels, 1)
        self.positions = LearnedArray(image_size[0] * image_size[1], channels)
        self.project = linear(channels, channels)
        self.channels = 2 * channels

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> FeaturesAndPositions:
        if tuple(images.shape[-2:]) != self.image_size:
            raise ValueError(
                f"images of {_by(images.shape)} came, but positions were learned for {_by(self.image_size)}"
            )
        return rearrange(self.pixels(images), "b c h w -> b (h w) c"), self._projected()

    def _projected(self) -> Float[Tensor, "m c"]:
        """The same for all images."""
        array, project = self.positions.array, self.project
        return derived([array, project.weight, project.bias], lambda: project(array))


class StemInputs(nn.Module):
    """Images (b 3 h w) of any size → the features of a convolutional stem, and Fourier features of their grid."""

    def __init__(self, stem: Stem, positions: FourierPositions):
        super().__init__()
        self.stem, self.positions = stem, positions
        self.channels = stem.conv.out_channels + positions.channels

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> FeaturesAndPositions:
        features = self.stem(images)
        return rearrange(features, "b c h w -> b (h w) c"), self.positions.on_grid(features.shape[-2:], features)


class PairInputs(nn.Module):
    """Neighbourhoods of two frames (b 2 c h w) → both frames' side by side, projected; Fourier features of the grid."""

    def __init__(self, image_size: tuple[int, int], patch_channels: int, channels: int, positions: FourierPositions):
        super().__init__()
        self.image_size = image_size
        self.project = linear(2 * patch_channels, channels)
        self.positions = positions
        self.channels = channels + positions.channels

    def forward(self, patches: Float[Tensor, "b 2 c h w"]) -> FeaturesAndPositions:
        if tuple(patches.shape[-2:]) != self.image_size:
            raise ValueError(
                f"frames of {_by(patches.shape)} came, but the model reads {_by(self.image_size)}:"
                " `perceivers.published.flow.estimate` tiles frames of any size"
            )
        features = self.project(rearrange(patches, "b t c h w -> b (h w) (t c)"))
        return features, self.positions.on_grid(self.image_size, features)


class Padded(nn.Module):
    """An array (b m c) → (b m width): one learned vector behind every element, so that modalities join. Features and
    positions on a grid stay apart.
    """

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.padding = LearnedArray(1, width - channels)

    def forward(self, array: Whole) -> Whole:
        if isinstance(array, tuple) and isinstance(array[1], OnGrid):
            return array[0], array[1].behind(self.padding.array)
        array = join(array)
        b, m, _ = array.shape
        return torch.cat([array, repeat(self.padding.array, "1 c -> b m c", b=b, m=m)], dim=-1)


class ClipInputs(nn.Module):
    """Video (b t 3 h w) in [0, 1] and sound (b s) → audio, image and label along m (b m c), in this order.

    The label is always masked: it is there to be asked for. Its padding, and the mask tokens of the two others,
    are in the published weights and move nothing.
    """

    def __init__(self, sizes: AutoencoderSizes, linspace: Callable[..., Tensor]):
        super().__init__()
        self.sizes = sizes
        self.audio_positions = FourierPositions(sizes.audio_bands, (sizes.audio_samples,), linspace)
        self.image_positions = FourierPositions(sizes.image_bands, sizes.grid, linspace)
        self.channels = sizes.perceiver.input_channels
        widths = {
            "audio": sizes.samples_per_patch + self.audio_positions.channels,
            "image": 3 * sizes.patch_size**2 + self.image_positions.channels,
            "label": sizes.num_classes,
        }
        self.padded = nn.ModuleDict({name: Padded(width, self.channels) for name, width in widths.items()})
        self.mask_tokens = nn.ModuleDict({name: LearnedArray(1, self.channels) for name in widths})
        for idle in (self.padded["label"], self.mask_tokens["audio"], self.mask_tokens["image"]):
            idle.requires_grad_(False)

    def forward(self, video: Float[Tensor, "b t 3 h w"], audio: Float[Tensor, "b s"]) -> Parts:
        sizes, p = self.sizes, self.sizes.patch_size
        expected = (sizes.num_frames, 3, *sizes.frame_size), (sizes.audio_samples,)
        if (tuple(video.shape[1:]), tuple(audio.shape[1:])) != expected:
            raise ValueError(
                f"video {tuple(video.shape)} and sound {tuple(audio.shape)} came, expected (b, {_list(expected[0])})"
                f" and (b, {_list(expected[1])})"
            )
        samples = rearrange(audio, "b (m s) -> b m s", s=sizes.samples_per_patch)
        patches = rearrange(video, "b t c (h y) (w x) -> b (t h w) (y x c)", y=p, x=p)
        return Parts(
            (
                self.padded["audio"]((samples, self.audio_positions.on_grid((sizes.audio_patches,), samples))),
                self.padded["image"]((patches, self.image_positions.on_grid(sizes.grid, patches))),
                self.mask_tokens["label"](len(video)),
            )
        )


class ClipQueries(nn.Module):
    """What is asked of the autoencoder: patches of sound, pixels, and the label, along o (b o e), in this order.

    `points` are flat indices: of pixels (`image`) and of patches of sound (`audio`).
    """

    def __init__(self, sizes: AutoencoderSizes, linspace: Callable[..., Tensor]):
        super().__init__()
        audio = FourierPositions(sizes.audio_bands, (sizes.audio_samples,), linspace)
        image = FourierPositions(sizes.image_bands, sizes.grid, linspace)
        self.positions = nn.ModuleDict({"audio": audio, "image": image})
        self.shapes = {"audio": (sizes.audio_patches,), "image": (sizes.num_frames, *sizes.frame_size)}
        self.label = LearnedArray(1, sizes.label_query_channels)
        widths = {"audio": audio.channels, "image": image.channels, "label": sizes.label_query_channels}
        self.width = sizes.perceiver.query_channels
        self.padded = nn.ModuleDict({name: Padded(channels, self.width) for name, channels in widths.items()})

    def forward(self, batch: int, points: Points) -> Float[Tensor, "b o e"]:
        parts = [join(self.apart(name, batch, points[name])) for name in self.shapes]
        return torch.cat([*parts, self.padded["label"](self.label(batch))], dim=1)

    def apart(self, name: str, batch: int, points: Int[Tensor, " o"]) -> FeaturesAndPositions:
        """Queries of `audio` or `image`, and the channels behind them (1 p), which they share."""
        like, shape = self.label.array, self.shapes[name]
        places = at_points(points.to(like.device), shape).to(like.dtype)
        return self.positions[name](places).expand(batch, -1, -1), cast(Padded, self.padded[name]).padding.array

    def everything(self) -> Points:
        """All pixels and all patches of sound."""
        device = self.label.array.device
        return {name: torch.arange(math.prod(shape), device=device) for name, shape in self.shapes.items()}


class PixelQueries:
    """The queries of pixels in chunks."""

    def __init__(self, queries: ClipQueries, batch: int, points: Int[Tensor, " o"], chunks: int):
        self.adapter, self.batch, self.points = queries, batch, points.tensor_split(chunks)
        self.shape = batch, len(points), queries.width

    def __len__(self) -> int:
        return len(self.points)

    def chunk(self, index: int) -> tuple[FeaturesAndPositions, None]:
        return self.adapter.apart("image", self.batch, self.points[index]), None


def at_points(points: Int[Tensor, " o"], shape: Sequence[int]) -> Float[Tensor, "o d"]:
    """Flat indices → positions -1 + 2i/n along each axis, where an input's grid has 2i/(n - 1): so do both sources."""
    places = torch.stack(torch.unravel_index(points, tuple(shape)), dim=-1)
    return -1 + 2 * places / torch.tensor(shape, device=points.device)


def _by(shape: Sequence[int]) -> str:
    return f"{shape[-2]}×{shape[-1]}"


def _list(shape: Sequence[int]) -> str:
    return ", ".join(map(str, shape))
