"""The real weights: these tests need the Hub, and are skipped without it (`pytest --network`)."""

import io
import urllib.request

import numpy as np
import pytest
import torch
from PIL import Image

from perceivers.published import load
from perceivers.published.pictures import prepare
from perceivers.published.text import fill, mask

pytestmark = pytest.mark.network

COCO = "http://images.cocodataset.org/val2017/000000039769.jpg"


@pytest.fixture(scope="module")
def picture():
    with urllib.request.urlopen(COCO, timeout=60) as response:
        return np.asarray(Image.open(io.BytesIO(response.read())).convert("RGB"))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("learned", [-1.1652, -0.1992, -0.7520]),
        ("fourier", [-1.1295, -0.2832, 0.3226]),
        ("conv", [-1.1186, 0.0554, 0.0897]),
    ],
)
@torch.no_grad()
def test_logits_that_public_tests_expect(kind, expected, picture):
    model = load(f"deepmind/vision-perceiver-{kind}")
    logits = model(prepare([picture], model.source.crop_and_resize))
    assert logits.shape == (1, 1000)
    assert torch.allclose(logits[0, :3], torch.tensor(expected), atol=1e-4)


def test_the_missing_word():
    sentence = "This is an incomplete sentence where some words are missing."
    model = load("deepmind/language-perceiver")
    assert fill(model, [mask(sentence, " missing.")]) == [sentence]


@pytest.mark.parametrize("name", ["deepmind/optical-flow-perceiver", "deepmind/multimodal-perceiver"])
def test_the_others_load(name):
    model = load(name)
    assert all(parameter.isfinite().all() for parameter in model.parameters())
