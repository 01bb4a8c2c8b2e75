"""What every kind of target says of its answers, for the templates.

Not concerned with what a kind puts there: `classes.py`, `distances.py` and `worst.py` do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from perceivers.report.examples import Example


@dataclass(frozen=True, kw_only=True)
class Panels:
    """Answers in panels: rows worth looking at, and, where a kind has them, plots and what is known of classes.

    fails: sentences in four pieces, the first and the third of which are names or values
    never: no test row is answered wrongly
    explained: (the number of a test row, its truth as it is written, whether the answer is right; None: not said)
    worst: the answer to the worst row beside the truth, drawn, and the name of the row
    plots: (column, answers against truths, residuals)
    """

    wrong_title: str
    wrong: Sequence[Example]
    right_title: str
    right: Sequence[Example]
    explained: Sequence[tuple[int, str, bool | None]]
    fails: Sequence[tuple[str, str, str, str]] = ()
    never: bool = False
    worst: tuple[Markup, str] | None = None
    plots: Sequence[tuple[str, Markup, Markup]] = ()
    confusion: dict[str, Any] | None = None
    pairs: Sequence[tuple[str, str, int, str]] = ()
    classes: Sequence[tuple[str, int, list[tuple[str, str]]]] = ()
    more_classes: int = 0
    calibration: dict[str, Any] | None = None
