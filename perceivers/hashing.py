"""Bits that depend on all bits. Not concerned with what is hashed."""

import numpy as np


def mixed(x: np.ndarray) -> np.ndarray:
    """Another uint64 for each uint64 (the finaliser of SplitMix64: Steele, Lea and Flood 2014)."""
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
