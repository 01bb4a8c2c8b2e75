"""What a plan tries alone: operations that ask something of their numbers."""

import pytest
import torch

from perceivers.plan import probe
from perceivers.plan.trace import Trace


def places(x, index):
    return torch.unravel_index(index, (3, 4))


def rows(x, index):
    return x[index], torch.embedding(x, index), x.index_add(0, index, x)


@pytest.mark.parametrize("function", [places, rows])
def test_whole_numbers_divide_and_are_indices(function):
    x, index = torch.randn(1, 5), torch.zeros(1, dtype=torch.long)  # 0 is the only index there is
    with Trace() as traced:
        function(x, index)
    assert probe.total(traced.operations) > 0
