"""The plain model that a training step is compared with."""

from dataclasses import replace

import torch
from torch import nn

from benchmarks import step
from perceivers.core.perceiver import build
from perceivers.training import defaults


def test_the_plain_model_is_ours_but_for_its_dropout():
    data = step.prepare_digits()
    sizes = defaults.resolve(step.config(), data.schema, 10_000, 2_000)
    ours_config = replace(defaults.perceiver(sizes), input_channels=step.C, query_channels=step.D)
    plain, ours = step.Classifier(step.plain(step.C)), step.Classifier(build(ours_config, nn.GELU))
    ours.load_state_dict(plain.state_dict())
    inputs = torch.randn(2, step.M, step.C, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(plain.eval()(inputs), ours.eval()(inputs), atol=1e-5, rtol=1e-5)
        plain.train()
        assert not torch.allclose(plain(inputs), plain(inputs))
