"""The page of the sweep: means, differences and what is clear of them. The trials themselves take hours."""

import numpy as np

from benchmarks import sweep
from benchmarks.variants import VARIANTS


def test_the_page_says_what_is_clearly_better_and_what_is_worse():
    found = {
        **{f"digits//default/{seed}": [value, value + 0.05] for seed, value in enumerate((0.90, 0.91, 0.92))},
        "digits/optimiser/AdamW/0": [0.80, 0.80],
        "digits/latents/16/0": [0.97, 0.97],
        "digits/latents/64/0": [0.92, 0.92],
    }
    page = sweep.page(found)
    assert "|  | default | 0.910 (spread 0.020) |" in page
    assert "| optimiser | AdamW | 0.800 (-0.110) |" in page
    assert "| linear part | the default with it | 0.960 (+0.050) |" in page
    better, worse = page.split("## Clear differences")[1].split("## Tried elsewhere")[0].split("Worse:")
    assert "- latents, 16: digits +0.060" in better
    assert "64" not in better + worse
    assert "- optimiser, AdamW: digits -0.110" in worse


def test_what_seeds_may_do_is_not_clear():
    default, own = [0.90, 0.91, 0.92], [0.95]
    samples = np.random.default_rng(0).normal(size=(20_000, 4))  # of one distribution: one in twenty is beyond
    assert sweep.beyond(own, default) is None
    found = [sweep.beyond([row[3]], row[:3].tolist()) is not None for row in samples[:2_000]]
    assert 0.035 < np.mean(found) < 0.065


def test_a_set_without_trials_is_no_column():
    assert "reviews" not in sweep.page({"digits//default/0": [0.9, 0.9]}).split("## Clear")[0]


def test_variants_touch_what_the_set_has():
    by_name = {variant.name: variant for variant in VARIANTS if variant.factor == "bytes dropped"}
    assert sweep.fits("reviews", by_name["none"])
    assert not sweep.fits("digits", by_name["none"])
