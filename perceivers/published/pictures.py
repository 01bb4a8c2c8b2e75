"""Pictures for the ImageNet models: centre crop, resize to 224, normalise.

A picture is (h w 3), uint8, RGB. Not concerned with files: `perceivers.modalities.pixels` reads them.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from perceivers.published import resize
from perceivers.published.resize import Pixels, check_pixels

if TYPE_CHECKING:
    from perceivers.published.models import ImageClassifier

MEAN = np.array([0.485, 0.456, 0.406]) * 255
STD = np.array([0.229, 0.224, 0.225]) * 255
# The share of the short side that is kept.
CROP = 224 / 256


def centre_crop(picture: Pixels, size: int, up: int = 0) -> Pixels:
    """The square of `size` in the middle; an odd remainder goes behind it, or before it where `up` is 1."""
    top, left = ((side - size + up) // 2 for side in picture.shape[:2])
    return picture[top : top + size, left : left + size]


def cropped(picture: Pixels) -> int:
    """The side of the square that is kept."""
    return max(int(CROP * min(picture.shape[:2])), 1)


def crop_and_resize_cubic(picture: Pixels, size: int) -> Pixels:
    """The original's way: the crop's odd remainder before it, then OpenCV's cubic, without antialiasing."""
    picture = centre_crop(picture, cropped(picture), up=1)
    return resize.cubic(picture, (size, size))


def crop_and_resize_bicubic(picture: Pixels, size: int) -> Pixels:
    """The port's way: Pillow's bicubic filter, which antialiases."""
    from PIL import Image

    picture = centre_crop(picture, cropped(picture))
    return np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC))


def prepare(
    pictures: Sequence[Pixels], crop_and_resize: Callable[[Pixels, int], Pixels], size: int = 224
) -> Float[Tensor, "b 3 size size"]:
    """Pictures of any sizes → images: cropped, resized, and normalised by ImageNet's mean and deviation."""
    for number, picture in enumerate(pictures):
        check_pixels(picture, f"picture {number}")
    resized = np.stack([crop_and_resize(picture, size) for picture in pictures])
    images = ((resized - MEAN) / STD).astype(np.float32)
    return torch.from_numpy(rearrange(images, "b h w c -> b c h w").copy())


@torch.no_grad()
def classify(model: "ImageClassifier", pictures: Sequence[Pixels]) -> Float[Tensor, "b k"]:
    """The probability of each class, in the order of ImageNet's 1,000 (`model.labels` where they are known)."""
    images = prepare(pictures, model.source.crop_and_resize, model.sizes.side)
    return model(images.to(model.logits.weight.device)).softmax(-1).cpu()
