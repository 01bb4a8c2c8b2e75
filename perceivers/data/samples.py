"""Built-in data sets: small real ones that come with scikit-learn.

Not concerned with how they are read by a model: each is an ordinary table with its own target.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from perceivers.errors import BadInput


@dataclass(frozen=True)
class Sample:
    """A frame, its targets, and what is known of its columns (column → modality)."""

    frame: pl.DataFrame
    targets: tuple[str, ...]
    modalities: Mapping[str, str] = field(default_factory=dict)


def _digits() -> Sample:
    """1,797 handwritten digits of 8 × 8 grey pixels; `image` is uint8 in 0 … 255, `class` "0" … "9"."""
    from sklearn.datasets import load_digits

    data: Any = load_digits()
    images = np.round(data.images * 255 / 16).astype(np.uint8)
    frame = pl.DataFrame(
        [pl.Series("image", images, dtype=pl.Array(pl.UInt8, (8, 8))), pl.Series("class", data.target.astype(str))]
    )
    return Sample(frame, ("class",), {"image": "image"})


def _breast_cancer() -> Sample:
    """569 tumours: 30 measurements of cell nuclei; `class` is malignant or benign."""
    from sklearn.datasets import load_breast_cancer

    return _classes(load_breast_cancer())


def _wine() -> Sample:
    """178 Italian wines of three growers: 13 chemical measurements; `class` is the grower."""
    from sklearn.datasets import load_wine

    return _classes(load_wine())


def _diabetes() -> Sample:
    """442 patients: 10 measurements in their own units; `progression` of the disease after one year."""
    from sklearn.datasets import load_diabetes

    data: Any = load_diabetes(scaled=False)
    return Sample(_frame(data.data, data.feature_names, "progression", data.target), ("progression",))


def _classes(data: Any) -> Sample:
    names = [str(data.target_names[i]) for i in data.target]
    return Sample(_frame(data.data, data.feature_names, "class", names), ("class",))


def _frame(values: np.ndarray, names: Iterable[str], target: str, answers: Any) -> pl.DataFrame:
    columns = [pl.Series(str(name), column) for name, column in zip(names, values.T, strict=True)]
    return pl.DataFrame([*columns, pl.Series(target, answers)])


SAMPLES: dict[str, Callable[[], Sample]] = {
    "digits": _digits,
    "breast_cancer": _breast_cancer,
    "wine": _wine,
    "diabetes": _diabetes,
}


def load_sample(name: str) -> Sample:
    """The sample of that name. Raises BadInput with the known ones."""
    if name not in SAMPLES:
        close = difflib.get_close_matches(name, SAMPLES, n=1)
        hint = f"; did you mean sample:{close[0]}?" if close else ""
        raise BadInput(f"sample:{name}: no such sample: there are {', '.join(SAMPLES)}{hint}")
    return SAMPLES[name]()
