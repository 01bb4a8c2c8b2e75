"""Small models with random weights, one of the kind of each published one."""

import pytest
import torch

from perceivers import jobs
from perceivers.errors import BadInput
from perceivers.published import PRESETS, untrained


@pytest.mark.parametrize("name", PRESETS)
def test_each_is_small_does_its_job_and_depends_on_its_seed_alone(name):
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    model, again, other = untrained(name), untrained(name), untrained(name, seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert type(model.sizes) is type(PRESETS[name].original)
    assert sum(p.numel() for p in model.parameters()) < 500_000
    assert type(jobs.job(model, name).model) is type(model)
    weights = model.perceiver.latents.array
    assert torch.equal(weights, again.perceiver.latents.array)
    assert not torch.equal(weights, other.perceiver.latents.array)


def test_other_names_are_refused():
    with pytest.raises(BadInput, match="no published model: those are"):
        untrained("deepmind/other")
