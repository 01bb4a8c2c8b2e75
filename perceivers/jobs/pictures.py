"""Pictures and the names of what they show, by one of the three ImageNet models.

Not concerned with how a picture is cropped and scaled (`published/pictures.py`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8

from perceivers.core.inputs import join
from perceivers.core.rollout import rollout
from perceivers.data.schema import Field
from perceivers.errors import Unreadable
from perceivers.evaluate import Evaluation
from perceivers.jobs import labels
from perceivers.jobs.base import Job, are_pictures
from perceivers.modalities import pixels
from perceivers.modalities.deepmind_image import DRAWN, on_picture
from perceivers.modalities.shaded import Picture
from perceivers.published import pictures
from perceivers.published.models import Autoencoder, ImageClassifier

BEST = 5
MAX_PIXELS = 500_000_000

RGB = UInt8[np.ndarray, "h w 3"]


class NamePictures(Job[RGB]):
    """Answers `class` and `class_probability`, and the five likeliest classes in `best`.

    A picture is a file, or an array (h w) or (h w c) of uint8, uint16, or floats in [0, 1]; grey becomes RGB, and
    what is transparent lies on white. A class is a name where the weights came with names, else its index.
    """

    field = Field("path", "image", "input", ("path",))
    target = Field("class", "category", "target", ("class",))
    wants = "pictures"

    def __init__(self, model: ImageClassifier, name: str):
        super().__init__(model, name)
        self.model = model
        self.classes = class_names(model)

    def suits(self, cells: list[Any]) -> bool:
        return are_pictures(cells)

    def read(self, cell: Any) -> RGB:
        return read_rgb(cell)

    def answer(self, example: RGB, proba: bool) -> dict[str, Any]:
        return ranked(self.classes, self.probabilities(example), proba)

    def numbers(self, example: RGB) -> Float[np.ndarray, " k"]:
        return self.probabilities(example)

    def probabilities(self, picture: RGB) -> Float[np.ndarray, " k"]:
        """The probability of each of `classes`."""
        return pictures.classify(self.model, [picture])[0].double().numpy()

    def evaluations(self, data: Any) -> tuple[list[Evaluation], dict[int, str], list[str]]:
        """Of pictures whose class is known: a folder for each class, or a column `class`."""
        return labels.evaluations(self, self.classes, data, self.probabilities)

    @torch.inference_mode()
    def attention(self, example: RGB) -> Float[np.ndarray, "1 m"]:
        model = self.model
        array = join(model.inputs(pictures.prepare([example], model.source.crop_and_resize, model.sizes.side)))
        looked = rollout(model.perceiver, array, model.query(1))
        return rearrange(looked, "1 1 m -> 1 m").double().numpy()

    def shaded(self, example: RGB, weights: Float[np.ndarray, "1 m"]) -> Picture:
        """The whole picture, at most 512 pixels wide and high; what is cropped off has no weight."""
        return on_picture(pixels.fit(example, 3, DRAWN), weights[0])


def class_names(model: ImageClassifier | Autoencoder) -> tuple[str, ...]:
    """The names of a model's classes where the weights came with names, else their indices."""
    return model.labels or tuple(map(str, range(model.sizes.num_classes)))


def ranked(classes: Sequence[str], found: Float[np.ndarray, " k"], proba: bool) -> dict[str, Any]:
    """The columns of an answer: the likeliest class and its probability, the five likeliest; with `proba` all."""
    order = np.argsort(-found, kind="stable")[:BEST]
    best = [{"class": classes[i], "probability": float(found[i])} for i in order]
    columns = {"class": best[0]["class"], "class_probability": best[0]["probability"], "best": best}
    if proba:
        each = zip(classes, found.tolist(), strict=True)
        columns |= {f"class_probability_{name}": probability for name, probability in each}
    return columns


def read_rgb(cell: Any) -> RGB:
    """A file or an array as RGB of 8 bits. Raises Unreadable."""
    picture = pixels.read(cell, MAX_PIXELS)
    if picture is None:
        raise Unreadable("no picture there: give the path of one, or an array")
    try:
        return np.asarray(pixels.as_picture(np.asarray(pixels.fit(picture, 3, None))))
    except Unreadable as error:
        raise Unreadable(f"{cell}: {error}" if isinstance(cell, Path) else str(error)) from error
