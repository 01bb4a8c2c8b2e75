"""A generator of surfaces as clouds of points: `sample:shapes`. Generated data, no measurements.

Not concerned with how a sample becomes a table (`samples.py`).
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

PER_CLASS, POINTS = 200, 1_024
NOISE = 0.02  # standard deviation, of the root mean square distance from the centre
CUT = 0.3  # at most so much of a surface is not seen: it lies beyond a plane
STRETCH = 0.2  # each axis is longer or shorter by so much at most

Cloud = Float[np.ndarray, "n 3"]
Random = np.random.Generator


def shapes(seed: int = 0) -> tuple[list[Cloud], list[str]]:
    """200 clouds of each of ten surfaces, float32 (1024 3), and their names, in random order."""
    random = np.random.default_rng(seed)
    names = np.array(sorted(SURFACES) * PER_CLASS)
    random.shuffle(names)
    return [_seen(SURFACES[name], random) for name in names], names.tolist()


def _seen(surface: Callable[[int, Random], Cloud], random: Random) -> Cloud:
    """Stretched, cut by a plane, turned in any way, with noise."""
    cloud = surface(2 * POINTS, random) * random.uniform(1 - STRETCH, 1 + STRETCH, 3)
    direction = random.normal(size=3)
    order = np.argsort(cloud @ direction)
    shown = order[: round(len(order) * (1 - random.uniform(0, CUT)))]
    cloud = cloud[random.permutation(shown)[:POINTS]]
    cloud -= cloud.mean(0)
    cloud /= np.sqrt((cloud**2).sum(1).mean())
    turn, upper = np.linalg.qr(random.normal(size=(3, 3)))
    turn *= np.sign(np.diag(upper))  # now every turn is as likely
    turn *= np.sign(np.linalg.det(turn))  # and none is a mirror
    return (cloud @ turn + NOISE * random.normal(size=cloud.shape)).astype(np.float32)


def _directions(n: int, random: Random) -> Cloud:
    found = random.normal(size=(n, 3))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def _sphere(n: int, random: Random) -> Cloud:
    return _directions(n, random)


def _cube(n: int, random: Random) -> Cloud:
    found = random.uniform(-1, 1, (n, 3))
    found[np.arange(n), random.integers(3, size=n)] = random.choice([-1.0, 1.0], n)
    return found


def _octahedron(n: int, random: Random) -> Cloud:
    return random.dirichlet([1, 1, 1], n) * random.choice([-1.0, 1.0], (n, 3))


def _cylinder(n: int, random: Random) -> Cloud:
    """Closed: as high as it is wide."""
    angle, on_side = random.uniform(0, 2 * np.pi, n), random.random(n) < 2 / 3
    radius = np.where(on_side, 1, np.sqrt(random.random(n)))
    z = np.where(on_side, random.uniform(-1, 1, n), random.choice([-1.0, 1.0], n))
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1)


def _cone(n: int, random: Random) -> Cloud:
    """Closed, twice as high as its radius."""
    angle, on_side = random.uniform(0, 2 * np.pi, n), random.random(n) < np.sqrt(5) / (1 + np.sqrt(5))
    radius = np.sqrt(random.random(n))
    z = np.where(on_side, 2 * (1 - radius), 0)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1)


def _torus(n: int, random: Random) -> Cloud:
    tube = random.uniform(0, 2 * np.pi, 4 * n)
    tube = tube[random.random(4 * n) < (1 + 0.4 * np.cos(tube)) / 1.4][:n]  # evenly by area
    angle = random.uniform(0, 2 * np.pi, len(tube))
    radius = 1 + 0.4 * np.cos(tube)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), 0.4 * np.sin(tube)], axis=1)


def _bowl(n: int, random: Random) -> Cloud:
    found = _directions(n, random)
    return found * [1, 1, -1] ** (found[:, 2:] > 0)


def _saddle(n: int, random: Random) -> Cloud:
    x, y = random.uniform(-1, 1, (2, n))
    return np.stack([x, y, 0.8 * (x**2 - y**2)], axis=1)


def _spring(n: int, random: Random) -> Cloud:
    """A tube along a helix of two turns and a half."""
    along, around = random.uniform(0, 5 * np.pi, n), random.uniform(0, 2 * np.pi, n)
    radius = 1 + 0.15 * np.cos(around)
    return np.stack([radius * np.cos(along), radius * np.sin(along), along / 5 + 0.15 * np.sin(around) - 1.5], axis=1)


def _strip(n: int, random: Random) -> Cloud:
    """A Möbius strip."""
    along, across = random.uniform(0, 2 * np.pi, n), random.uniform(-0.4, 0.4, n)
    radius = 1 + across * np.cos(along / 2)
    return np.stack([radius * np.cos(along), radius * np.sin(along), across * np.sin(along / 2)], axis=1)


SURFACES: dict[str, Callable[[int, Random], Cloud]] = {
    "bowl": _bowl,
    "cone": _cone,
    "cube": _cube,
    "cylinder": _cylinder,
    "octahedron": _octahedron,
    "saddle": _saddle,
    "sphere": _sphere,
    "spring": _spring,
    "strip": _strip,
    "torus": _torus,
}
