"""Whether a model is as often right as it says: the reliability curve (DeGroot and Fienberg 1983; Guo et al. 2017).

Not concerned with the calibration error, which is a metric (`ece`).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from perceivers.modalities import metrics
from perceivers.report import figures

SURE, FEWEST = 0.9, 10


@dataclass(frozen=True)
class Bin:
    """Rows of similar confidence: how many, how sure the model is, and how often it is right (with its interval)."""

    n: int
    confidence: float
    right: float
    low: float
    high: float


def reliability(confidence: Float[np.ndarray, " n"], right: Bool[np.ndarray, " n"]) -> list[Bin]:
    """Rows in the bins of the calibration error, those that have any."""
    place = metrics.bins(confidence)
    found = []
    for i in np.unique(place):
        share = metrics.proportion(right[place == i].astype(float))
        n = int((place == i).sum())
        found.append(Bin(n, float(confidence[place == i].mean()), share["value"], share["low"], share["high"]))
    return found


def panel(confidence: Float[np.ndarray, " n"], right: Bool[np.ndarray, " n"]) -> dict[str, Any]:
    """The curve, and in a sentence what confidence is worth."""
    sure = confidence >= SURE
    sentence = f"No answer is given with {100 * SURE:.0f} % confidence or more."
    if sure.sum() >= FEWEST:
        sentence = (
            f"Where the model says that it is at least {100 * SURE:.0f} % sure ({sure.sum():,} of {len(sure):,} rows; "
            f"{100 * confidence[sure].mean():.1f} % on average), it is right in {100 * right[sure].mean():.1f} %."
        )
    elif sure.any():
        sentence = (
            f"Answers with {100 * SURE:.0f} % confidence or more: {sure.sum()} of {len(sure):,}, too few to say how "
            "often they are right."
        )
    return {"curve": figures.reliability(reliability(confidence, right)), "sentence": sentence}
