"""All kinds of data, by name: `MODALITIES`, and `modality(field)`, which finds the one of a field.

Not concerned with what any of them does: each has its file.
"""

from difflib import get_close_matches
from typing import Any

from perceivers.errors import BadInput
from perceivers.modalities.array import Array
from perceivers.modalities.asked import Asked
from perceivers.modalities.audio import Audio
from perceivers.modalities.base import Modality
from perceivers.modalities.category import Category
from perceivers.modalities.deepmind_clip import DeepmindClip
from perceivers.modalities.deepmind_image import DeepmindImage
from perceivers.modalities.deepmind_pair import DeepmindPair
from perceivers.modalities.deepmind_text import DeepmindText
from perceivers.modalities.events import Events
from perceivers.modalities.given import Given
from perceivers.modalities.image import Image
from perceivers.modalities.masked import Masked
from perceivers.modalities.number import Number
from perceivers.modalities.per_point import PointClass, PointValue
from perceivers.modalities.points import Points
from perceivers.modalities.series import Series
from perceivers.modalities.text import Text
from perceivers.modalities.video import Video

KINDS = (
    Text(),
    Image(),
    Audio(),
    Video(),
    Points(),
    Array(),
    Number(),
    Category(),
    Series(),
    Events(),
    Masked(),
    Asked(),
    Given(),
    PointClass(),
    PointValue(),
    DeepmindText(),
    DeepmindImage(),
    DeepmindPair(),
    DeepmindClip(),
)
MODALITIES: dict[str, Modality] = {kind.name: kind for kind in KINDS}


def modality(field: Any) -> Modality:
    """The modality of a field. Raises BadInput where there is none of that name, or it lacks one of the options."""
    if field.modality not in MODALITIES:
        raise BadInput(
            f"{field.name}: {_unknown('modality', field.modality, MODALITIES)}; one of your own is put into "
            "perceivers.modalities.MODALITIES before, from Python"
        )
    kind = MODALITIES[field.modality]
    for option in field.options:
        if option not in kind.options:
            raise BadInput(f"{field.name} ({kind.name}): {_unknown('option', option, kind.options)}")
    return kind


def check_targets(schema: Any, where: str) -> None:
    """Raises BadInput where a target of the schema is of a kind that cannot be asked for."""
    for field in schema.targets:
        if not modality(field).askable:
            kinds = ", ".join(name for name, kind in MODALITIES.items() if kind.askable)
            why = f" ({field.reason})" if field.reason else ""
            classes = field.modality == "text" and field.reason
            mend = "; if its strings are classes, say `modality: category` in a --schema" if classes else ""
            raise BadInput(
                f"{where}: target {field.name!r} reads as {field.modality}{why}, which cannot be asked for: there are "
                f"{kinds} (masked bytes of texts of more than three words){mend}"
            )


def _unknown(what: str, name: Any, known: Any) -> str:
    nearest = get_close_matches(str(name), known, n=1)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    return f"unknown {what} {name!r}: {hint}known: {', '.join(known)}"
