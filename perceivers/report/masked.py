"""The panels of a text whose masked bytes are asked.

Not concerned with how they are masked (`perceivers/modalities/masked.py`).
"""

import numpy as np

from perceivers.report.examples import EXPLAINED, WRONG, Example, example, some
from perceivers.report.panels import Panels
from perceivers.report.summary import Summary, TargetResult


def panels(summary: Summary, result: TargetResult) -> Panels:
    """What the templates show: the texts whose bytes surprise most, and some drawn at random."""
    bits = result.answers[:, 0] / np.maximum(result.answers[:, 1], 1)
    hardest = np.argsort(-bits, kind="stable")

    def shown(i: int) -> Example:
        remark = f"{result.answers[i, 1]:.0f} bytes asked"
        return example(summary, result, i, f"{bits[i]:.2f} bits per byte", "", remark, True)

    drawn = some(np.arange(len(bits)))
    return Panels(
        wrong_title="The texts whose bytes surprise most",
        wrong=[shown(i) for i in hardest[:WRONG]],
        right_title="Texts drawn at random",
        right=[shown(i) for i in drawn],
        explained=[(int(i), "", None) for i in (*hardest[:EXPLAINED], *drawn[:EXPLAINED])],
    )
