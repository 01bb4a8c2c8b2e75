"""Filterbanks: tones against the mel scale, scipy's spectrum, and what may not change anything."""

import numpy as np
import pytest
import torch
from scipy.signal import get_window

from perceivers.modalities.filterbank import (
    BANDS,
    FLOOR,
    FRONTENDS,
    Frames,
    LearnedFilterbank,
    LogMel,
    edges,
    higher,
    mel,
    triangles,
)
from perceivers.modalities.filterbank import hertz as from_mel

RATES = (8_000, 11_025, 16_000)


def tone(hertz, rate, seconds=0.5, phase=0.0):
    time = torch.arange(round(rate * seconds)) / rate
    return np.sqrt(2) * torch.sin(2 * torch.pi * hertz * time + phase)[None]


def test_the_mel_scale_has_its_fixed_point_and_an_inverse():
    assert mel(1_000.0) == pytest.approx(1_000, abs=1)  # as it is defined
    found = np.linspace(0, 8_000, 7)
    np.testing.assert_allclose(from_mel(mel(found)), found, atol=1e-9)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("name", FRONTENDS)
def test_a_tone_is_loudest_in_its_band(name, rate):
    frontend, frame = FRONTENDS[name](rate), Frames(rate).frame
    for band in (5, 31, 60):
        sound = tone(edges(rate)[band + 1], rate)[:, : 40 * frame]
        found = frontend(sound)
        assert found.shape == (1, 40, BANDS)
        assert abs(int(found[0, 20].argmax()) - band) <= 1
        far = [i for i in range(BANDS) if abs(i - band) > 20]
        assert found[0, 20, band] - found[0, 20, far].max() > 5  # of the natural logarithm


@pytest.mark.parametrize("name", FRONTENDS)
def test_phase_does_not_matter_and_silence_is_the_floor(name):
    frontend = FRONTENDS[name](8_000)
    frames = [frontend(tone(700.0, 8_000, phase=phase))[0, 10:40].detach().max(-1)[0] for phase in (0.0, 1.0, 2.0)]
    assert max(float((other - frames[0]).abs().max()) for other in frames) < 0.1
    assert torch.allclose(frontend(torch.zeros(1, 800)), torch.tensor(FLOOR).log())


@pytest.mark.parametrize("name", FRONTENDS)
def test_noise_of_power_one_has_energy_one_in_every_band(name):
    noise = torch.randn(4, 32_000, generator=torch.Generator().manual_seed(0))
    energy = FRONTENDS[name](16_000)(noise).detach().exp().mean((0, 1))
    assert float(energy.mean()) == pytest.approx(1, abs=0.05)
    assert (energy - 1).abs().max() < 0.5


def test_log_mel_is_the_windowed_power_spectrum():
    rate, frame = 8_000, Frames(8_000)
    sound = torch.randn(1, 10 * frame.frame, generator=torch.Generator().manual_seed(0))
    found = LogMel(rate)(sound)[0, 5]
    start = 5 * frame.frame - (frame.window - frame.frame) // 2
    window = get_window("hann", frame.window)
    power = np.abs(np.fft.rfft(sound[0, start : start + frame.window].numpy() * window)) ** 2 / (window**2).sum()
    np.testing.assert_allclose(found, np.log(triangles(rate, frame.window) @ power + FLOOR), rtol=1e-4, atol=1e-4)


def test_every_band_hears_something_at_any_rate():
    for rate in (1_000, *RATES, 44_100):
        weights = triangles(rate, Frames(rate).window)
        assert (weights >= 0).all()
        np.testing.assert_allclose(weights.sum(1), 1)


def test_the_learned_part_begins_at_nothing_and_learns():
    frontend = LearnedFilterbank(8_000)
    assert not frontend.learned.any()
    frontend(tone(500.0, 8_000)).sum().backward()
    assert float(frontend.learned.grad.abs().max()) > 0


@pytest.mark.parametrize("warp", [-0.2, 0.1])
def test_bands_that_are_moved_hear_a_tone_where_a_higher_one_would_be(warp):
    time = torch.arange(3_200) / 16_000
    low, high = (LogMel(16_000)(torch.sin(2 * torch.pi * f * time)[None]) for f in (1_500, 1_500 * np.exp(warp)))
    low, high = (x.transpose(1, 2)[:, :, 2:-2] for x in (low, high))
    moved = higher(low, torch.tensor([warp]), 16_000)
    assert (moved.argmax(1) - high.argmax(1)).abs().max() <= 1
    assert (moved.argmax(1) != low.argmax(1)).all()
    assert torch.equal(higher(low, torch.zeros(1), 16_000), low)
