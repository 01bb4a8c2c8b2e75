"""What is said of kernels and precision, whatever machine it is."""

import re

import pytest
import torch

from perceivers import published
from perceivers.commands.computing import computing
from perceivers.core import kernels, trials
from perceivers.jobs import job

NAME = "deepmind/vision-perceiver-fourier"


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Nothing was tried yet, and all products are worth it."""
    monkeypatch.setattr(trials, "_chosen", {})
    monkeypatch.setattr(trials, "_tried", {})
    monkeypatch.setattr(kernels, "SMALL_PRODUCT", 1)
    monkeypatch.setattr(kernels, "SMALL_ATTENTION", 1)


@pytest.fixture
def without(request, monkeypatch):
    """A CPU that lacks bf16, or a torch that lacks oneDNN."""
    if request.param == "oneDNN":
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    if request.param == "bf16":
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    return request.param


PICTURE = torch.arange(64 * 64 * 3).reshape(64, 64, 3).to(torch.uint8).numpy()


def answered(loaded, capsys, *how):
    with computing(loaded, *how):
        loaded.predict([PICTURE])
    return capsys.readouterr().err


def test_plain_products_are_asked_for_and_said(capsys):
    said = answered(job(published.untrained(NAME), NAME), capsys, "plain")
    assert re.fullmatch(r"computed in float32; products and attentions: .*\n", said)
    assert set(re.findall(r"\((.*?)[,)]", said)) == {"plain products are asked for"}
    assert kernels.record() == {}


def test_what_was_tried_is_said_in_one_line(capsys):
    said = answered(job(published.untrained(NAME), NAME), capsys, "auto")
    assert "(fastest of those tried)" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("without", ["oneDNN", "bf16"], indirect=True)
def test_where_a_capability_is_missing_the_plain_product_is_taken_and_the_line_says_so(without, capsys):
    said = answered(job(published.untrained(NAME), NAME), capsys, "auto", "bf16")
    assert "plain (oneDNN has none here)" in said
    assert not re.search(r"\d onednn", said)
    products = [shape for shape in kernels.record() if not shape.startswith("attention")]
    assert all("float32" in shape for shape in products)
    assert without == "bf16" or not products


def test_nothing_is_said_where_nothing_was_chosen(capsys, monkeypatch):
    monkeypatch.setattr(kernels, "SMALL_PRODUCT", 2**40)
    monkeypatch.setattr(kernels, "SMALL_ATTENTION", 2**40)
    assert answered(job(published.untrained(NAME), NAME), capsys, "auto") == ""


def test_auto_is_float32_where_bf16_is_no_faster(capsys, monkeypatch):
    monkeypatch.setattr("perceivers.core.precision.bf16_speed", lambda device: 0.4)
    said = answered(job(published.untrained(NAME), NAME), capsys, "auto", "auto")
    assert said.startswith("computed in float32: this machine multiplies bfloat16 0.4 times as fast as float32;")
