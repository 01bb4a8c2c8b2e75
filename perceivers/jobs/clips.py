"""Clips, what the autoencoder makes of their frames and sound, and what it takes them for.

Not concerned with windows and crops (`published/clips.py`), nor with files of clips (`perceivers/clips.py`).
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from perceivers import clips
from perceivers.core.inputs import join
from perceivers.core.rollout import rollout
from perceivers.data.folders import MODALITY_OF
from perceivers.data.schema import Field
from perceivers.data.sources import Table
from perceivers.errors import Unreadable
from perceivers.evaluate import Evaluation
from perceivers.jobs import labels
from perceivers.jobs.base import Job, check_ending, numbered
from perceivers.jobs.pictures import class_names, ranked
from perceivers.modalities.deepmind_clip import Clip, on_frames, read_clip
from perceivers.modalities.shaded import Picture
from perceivers.published import clips as published
from perceivers.published.models import Autoencoder


class ReconstructClips(Job[Clip]):
    """Answers `class` and `class_probability`, guessed from a clip's frames and sound by asking for the label, which is
    always masked; the five likeliest in `best`; and in `note` what was done to the clip: another rate, silence in place
    of sound, frames repeated. With a clip as `out` frames and sound are reconstructed, and written together.

    A clip is a file of at most two minutes, or an array (t h w) or (t h w c), whose frames are taken as they come and
    which is silent. It is read in windows of 16 frames.
    """

    field = Field("path", "video", "input", ("path",))
    target = Field("class", "category", "target", ("class",))
    wants = "clips"

    def __init__(self, model: Autoencoder, name: str):
        super().__init__(model, name)
        self.model = model
        self.classes = class_names(model)

    def suits(self, cells: list[Any]) -> bool:
        if cells and isinstance(cells[0], str):
            return MODALITY_OF.get(Path(cells[0]).suffix.lower()) == "video"
        return bool(cells) and isinstance(cells[0], list | np.ndarray)

    def read(self, cell: Any) -> Clip:
        found = read_clip(cell, self.model.sizes)
        if found is None:
            raise Unreadable("an empty cell came, expected a clip")
        return found

    def answer(self, example: Clip, proba: bool) -> dict[str, Any]:
        return ranked(self.classes, self.probabilities(example), proba) | {"note": "; ".join(example.notes) or None}

    def evaluations(self, data: Any) -> tuple[list[Evaluation], dict[int, str], list[str]]:
        """Of clips whose class is known: a folder for each class, or a column `class`."""
        return labels.evaluations(self, self.classes, data, self.probabilities)

    def numbers(self, example: Clip) -> Float[np.ndarray, " k"]:
        first = next(published.windows(self.model.sizes, example.frames, example.sound))
        return published.label(self.model, first.frames, first.audio)

    def probabilities(self, clip: Clip) -> Float[np.ndarray, " k"]:
        """The probability of each of `classes`."""
        return published.label(self.model, clip.frames, clip.sound)

    def check_out(self, out: Path) -> None:
        check_ending(out, out.suffix.lower(), clips.ENDINGS, "hold the reconstruction", "the label")

    def predict_to(self, table: Table, out: Path, *, proba: bool = False) -> tuple[str, dict[int, str]]:
        """One clip's reconstruction is written to `out`; of several, to names numbered from 1 before the ending."""
        if out.suffix.lower() not in clips.ENDINGS:
            return super().predict_to(table, out, proba=proba)
        count, failed = len(table.frame), {}

        def write(row: int, example: Clip) -> str:
            place = numbered(out, out.suffix, row, count)
            found = self.reconstruct(example, place)
            best = ", ".join(
                f"{one['class']} {one['probability']:.3f}" for one in ranked(self.classes, found, False)["best"]
            )
            return "; ".join([f"{place}: {best}", *example.notes])

        return "\n".join(line for _, line in self.each(table, write, failed)), failed

    def reconstruct(self, example: Clip, place: Path) -> Float[np.ndarray, " k"]:
        """Writes what the model makes of a clip, and returns the probability of each class."""
        found = published.reconstruct(self.model, example.frames, example.sound)
        video = np.round(255 * found["video"].clip(0, 1)).astype(np.uint8)
        sound = found["audio"].clip(-1, 1)[:, None]
        clips.write(place, video, round(published.frame_rate(self.model.sizes)), sound, published.SOUND_RATE)
        return found["label"]

    @torch.inference_mode()
    def attention(self, example: Clip) -> Float[np.ndarray, "w m"]:
        """Of the label, on patches of frames and sound, in each window."""
        model = self.model
        nothing = {name: torch.zeros(0, dtype=torch.long) for name in ("audio", "image")}
        rows = []
        for window in published.windows(model.sizes, example.frames, example.sound):
            array = join(model.inputs(*published.tensors(model, window)))
            rows.append(rollout(model.perceiver, array, model.queries(1, nothing))[0, 0].double().cpu().numpy())
        return np.stack(rows)

    def shaded(self, example: Clip, weights: Float[np.ndarray, "w m"]) -> Picture:
        """A few frames side by side; a pixel has the shade of its patch. What lies on the sound is not drawn."""
        return on_frames(example, weights, self.model.sizes)
