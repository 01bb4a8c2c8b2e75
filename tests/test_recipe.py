"""The rules from kind of data, rows and length to defaults."""

import re
from pathlib import Path

import pytest

import perceivers
from perceivers import recipe
from perceivers.training.defaults import SIZES

PACKAGE = Path(perceivers.__file__).parent


def test_every_rule_is_used():
    names = [name for name in vars(recipe) if name.isupper()]
    code = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    assert len(names) > 50
    assert [name for name in names if len(re.findall(rf"\b{name}\b", code)) < 2] == []


def test_heads_share_out_the_channels_of_every_size():
    for numbers in SIZES.values():
        assert numbers.latent_channels % numbers.self_heads == 0
        assert numbers.latent_channels % numbers.cross_heads == 0


@pytest.mark.parametrize("inputs", [{"number"}, {"category", "number"}, {"text"}, {"image"}, {"text", "number"}])
def test_more_rows_never_have_fewer_steps_nor_a_smaller_model_nor_more_noise(inputs):
    before = None
    for rows in (2, 100, 499, 500, 999, 1_000, 2_999, 3_000, 50_000):
        numbers = recipe.training(rows, rows, inputs, len(inputs))
        steps = recipe.max_steps(rows, numbers["batch_size"], recipe.is_small(rows), inputs, {"category"})
        order = list(SIZES)
        found = (order.index(recipe.size(rows, inputs)), numbers["batch_size"], -numbers["drop_path"], steps)
        if before is not None and rows not in (1_000, 3_000):  # a larger batch takes fewer steps over as many rows
            assert all(now >= then for now, then in zip(found, before, strict=True))
        before = found
