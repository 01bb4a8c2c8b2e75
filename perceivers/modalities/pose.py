"""How clouds of points lie: turned in any way, turned about the vertical alone, or all in one pose.

Not concerned with turning them (`points.py`).
"""

from collections.abc import Sequence

import numpy as np
from einops import rearrange
from jaxtyping import Float

POINTS = 1_024  # of each cloud: moments need no more
BY_CHANCE, MOST = 4.0, 0.1  # of n clouds that have nothing in common the mean has a share of 1 / n, and hardly 4 / n
ROUND = 0.05  # the moments of a cloud of size 1 that no turn changes are smaller
TURNS = 8  # about the vertical: their mean is that of all turns, for moments up to the third


def rotation_of(clouds: Sequence[Float[np.ndarray, "n 3"]]) -> str:
    """The `rotation` that clouds, each about its own centre and at size 1, were under already: `all` where their second
    and third moments have nothing in common, though each cloud has its own; `upright` where they have nothing in common
    but what turns about z leave; else `small`.
    """
    own = np.array([_moments(cloud) for cloud in clouds])
    turned = np.array([_upright(cloud) for cloud in clouds])
    share = min(MOST, BY_CHANCE / len(clouds))
    if np.linalg.norm(own, axis=1).mean() < ROUND:
        return "small"
    if _common(own) < share:
        return "all"
    return "upright" if _common(own - turned) < share else "small"


def _common(moments: Float[np.ndarray, "c 36"]) -> float:
    """The mean's square as a share of the mean square: the larger of that of second and of third moments."""
    parts = np.split(moments, [9], axis=1)
    return max(float((part.mean(0) ** 2).sum() / max((part**2).sum(1).mean(), 1e-12)) for part in parts)


def _moments(cloud: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " 36"]:
    """The second moments without their trace, and the third ones: both are 0 on average over all turns."""
    cloud = cloud[:: -(-len(cloud) // POINTS)]
    squares = rearrange(cloud[:, :, None] * cloud[:, None], "n i j -> (i j) n") / len(cloud)
    second, third = squares.sum(1), squares @ cloud
    return np.concatenate([second - np.eye(3).ravel() * second[::4].sum() / 3, third.ravel()])


def _upright(cloud: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " 36"]:
    """The mean of the moments over turns about z."""
    found = []
    for angle in 2 * np.pi * np.arange(TURNS) / TURNS:
        c, s = np.cos(angle), np.sin(angle)
        found.append(_moments(cloud @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])))
    return np.mean(found, axis=0)
