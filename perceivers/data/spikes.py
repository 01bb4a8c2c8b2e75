"""A generator of spike trains: `sample:spikes`. Generated data, no measurements.

Not concerned with how a sample becomes a table (`samples.py`).
"""

import numpy as np
from jaxtyping import Float

TRIALS, NEURONS = 200, 8  # trials of each wave
BURST, WIDTH = 6.0, 0.04  # spikes of a neuron while the wave passes, on average, and for how long, in seconds
REST = 4.0  # spikes a second at any time
BEGIN, PASSING = (0.2, 0.4), 0.3  # when a wave begins, and how long it takes to pass all neurons, in seconds
WAVES = {
    "backward": np.linspace(1, 0, NEURONS),
    "forward": np.linspace(0, 1, NEURONS),
    "outward": np.abs(np.linspace(-1, 1, NEURONS)),
    "together": np.full(NEURONS, 0.5),
}


def spikes(seed: int = 0) -> tuple[list[Float[np.ndarray, " n"]], list[list[str]], list[str]]:
    """200 trials of one second for each of four waves over eight neurons: the times of the spikes in seconds, the
    neuron of each, and the wave, in random order. All waves have the same rates: only the times tell them apart.
    """
    random = np.random.default_rng(seed)
    names = np.array(sorted(WAVES) * TRIALS)
    random.shuffle(names)
    trials = [_trial(WAVES[name], random) for name in names]
    return [times for times, _ in trials], [neurons for _, neurons in trials], names.tolist()


def _trial(places: Float[np.ndarray, " neurons"], random: np.random.Generator) -> tuple[np.ndarray, list[str]]:
    """A Poisson process for each neuron: at rest, and a burst when the wave passes its place."""
    begin = random.uniform(*BEGIN)
    found = []
    for neuron, place in enumerate(places):
        burst = begin + PASSING * place + WIDTH * random.normal(size=random.poisson(BURST))
        own = np.concatenate([burst, random.uniform(0, 1, random.poisson(REST))])
        found += [(float(time), f"n{neuron + 1}") for time in own if 0 <= time < 1]
    found.sort()
    return np.array([time for time, _ in found]), [name for _, name in found]
