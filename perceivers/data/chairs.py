"""A generator of chairs as clouds of points, with the part of each point: `sample:chairs`. Generated, no measurements.

Not concerned with how a sample becomes a table (`samples.py`).
"""

import numpy as np
from jaxtyping import Float

CHAIRS, POINTS = 400, 512
NOISE = 0.012  # standard deviation; a seat is about 1 wide
STOOLS = 0.25  # so many have no back

Random = np.random.Generator


def chairs(seed: int = 0) -> tuple[list[Float[np.ndarray, "n 3"]], list[list[str]]]:
    """400 chairs of 512 points, float32 (512 3), z upwards, turned about it in any way; and the part of each point."""
    random = np.random.default_rng(seed)
    pairs = [_chair(random) for _ in range(CHAIRS)]
    return [cloud for cloud, _ in pairs], [parts for _, parts in pairs]


def _chair(random: Random) -> tuple[Float[np.ndarray, "n 3"], list[str]]:
    """Boxes of random proportions, about as many points on each as its surface is large."""
    width, depth = random.uniform(0.8, 1.3, 2)
    height, thick, leg = random.uniform(0.5, 1.2), random.uniform(0.04, 0.15), random.uniform(0.03, 0.1)
    boxes = [("seat", (0, 0, height), (width, depth, thick))]
    for x in (-1, 1):
        for y in (-1, 1):
            foot = (x * (width - leg) / 2, y * (depth - leg) / 2, height / 2)
            boxes.append(("leg", foot, (leg, leg, height)))
    if random.random() > STOOLS:
        tall = random.uniform(0.5, 1.2)
        boxes.append(("back", (0, (depth - thick) / 2, height + tall / 2), (width, thick, tall)))
    areas = np.array([a * b + b * c + c * a for _, _, (a, b, c) in boxes])
    counts = random.multinomial(POINTS, areas / areas.sum())
    points = np.concatenate([_on_box(n, at, s, random) for n, (_, at, s) in zip(counts, boxes, strict=True)])
    parts = np.repeat([name for name, _, _ in boxes], counts)
    angle = random.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    cloud = points @ turn.T + NOISE * random.normal(size=points.shape)
    order = random.permutation(POINTS)
    return cloud[order].astype(np.float32), parts[order].tolist()


def _on_box(
    n: int, middle: tuple[float, float, float], sides: tuple[float, float, float], random: Random
) -> Float[np.ndarray, "n 3"]:
    """Points on the surface of a box, evenly by area."""
    a, b, c = sides
    areas = np.array([b * c, a * c, a * b])
    at = random.uniform(-0.5, 0.5, (n, 3))
    at[np.arange(n), random.choice(3, n, p=areas / areas.sum())] = random.choice([-0.5, 0.5], n)
    return np.array(middle) + at * np.array(sides)
