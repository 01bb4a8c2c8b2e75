"""What the published models do: fill masks, name pictures, estimate flow, reconstruct clips. A file for each job.

Not concerned with the models and their preparation of single examples: see `published/`.
"""

from perceivers.errors import BadInput
from perceivers.jobs.base import Job
from perceivers.jobs.bytes import FillMasks
from perceivers.jobs.clips import ReconstructClips
from perceivers.jobs.flow import EstimateFlow
from perceivers.jobs.pictures import NamePictures
from perceivers.published.models import Autoencoder, ImageClassifier, MaskedLanguage, OpticalFlow, Published

__all__ = ["EstimateFlow", "FillMasks", "Job", "NamePictures", "ReconstructClips", "job"]


def job(model: Published, name: str) -> Job:
    """The job of a published model. `name` stands in messages. Raises BadInput where it has none here."""
    if isinstance(model, MaskedLanguage):
        return FillMasks(model, name)
    if isinstance(model, ImageClassifier):
        return NamePictures(model, name)
    if isinstance(model, OpticalFlow):
        return EstimateFlow(model, name)
    if isinstance(model, Autoencoder):
        return ReconstructClips(model, name)
    raise BadInput(f"{name}: a {type(model).__name__} is used from Python: perceivers.published.load reads it")
