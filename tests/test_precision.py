import re

import numpy as np
import pytest
import torch
from reduced import REDUCED
from torch import nn

import perceivers as pv
from perceivers.commands.computing import computing
from perceivers.core import precision
from perceivers.core.attention import MLP, Attention
from perceivers.jobs import job
from perceivers.published.models import Autoencoder, MaskedLanguage, OpticalFlow, make
from perceivers.published.sources import HUB


def answers(model):
    """All that a model answers to one random example, (… k) each."""
    torch.manual_seed(3)
    if isinstance(model, MaskedLanguage):
        return {"logits": model(torch.randint(262, (1, 50)))}
    if isinstance(model, Autoencoder):
        sizes = model.sizes
        video, audio = torch.rand(1, sizes.num_frames, 3, *sizes.frame_size), torch.rand(1, sizes.audio_samples)
        points = {name: torch.arange(size) for name, size in (("audio", 5), ("image", 7))}
        return model.decode(model.encode(video, audio), points)
    if isinstance(model, OpticalFlow):
        return {"flow": model(torch.rand(1, 2, model.sizes.patch_channels, *model.sizes.image_size))}
    return {"logits": model(torch.randn(1, 3, model.sizes.side, model.sizes.side))}


@torch.no_grad()
@pytest.mark.parametrize("name", REDUCED)
def test_every_published_model_answers_in_bf16_as_in_float32(name):
    torch.manual_seed(1)
    model = make(REDUCED[name], HUB)
    exact = answers(model)
    assert precision.lower(model, "bf16").startswith("bf16")
    fast = answers(model)
    for key, values in exact.items():
        found = precision.agreement(values, fast[key])
        assert 0 < found.error < 2e-2
        assert found.same == found.decided
    kinds = {
        kind: {p.dtype for m in model.modules() if isinstance(m, kind) for p in m.parameters()}
        for kind in (Attention, MLP, nn.LayerNorm)
    }
    assert kinds == {Attention: {torch.bfloat16}, MLP: {torch.bfloat16}, nn.LayerNorm: {torch.float32}}


@pytest.mark.parametrize(("speed", "taken"), [(1.1, "float32"), (4.5, "bf16")])
def test_auto_takes_what_the_machine_is_good_at_and_says_why(speed, taken, monkeypatch):
    monkeypatch.setattr(precision, "bf16_speed", lambda device: speed)
    said = precision.lower(MLP(3), "auto")
    assert said == f"{taken}: this machine multiplies bfloat16 {speed} times as fast as float32"


def test_a_loaded_model_answers_in_bf16_and_says_so(tmp_path):
    loaded = pv.fit("sample:wine", steps=2, size="tiny", out=tmp_path / "run")
    table = loaded.values("sample:wine")
    exact = loaded.predict(table.frame, proba=True)
    assert loaded.lower("bf16").startswith("bf16")
    fast = loaded.predict(table.frame, proba=True)
    column = next(name for name in exact.columns if name.endswith("_probability"))
    assert 0 < (exact[column] - fast[column]).abs().max() < 2e-2


@pytest.mark.parametrize(("speed", "words"), [(0.4, "bf16: slower on this machine than float32"), (2.0, "bf16")])
def test_bf16_is_taken_where_it_is_asked_and_said_to_be_slow_where_it_is(speed, words, monkeypatch):
    monkeypatch.setattr(precision, "bf16_speed", lambda device: speed)
    assert precision.lower(MLP(3), "bf16") == words
    assert precision.lower(MLP(3), "float32") == "float32"


def test_a_cpu_without_bfloat16_is_not_timed(monkeypatch):
    monkeypatch.setattr(precision, "onednn_types", lambda: (torch.float32,))
    monkeypatch.setattr(precision, "TRIALS", None)  # it would fail
    assert precision.bf16_speed(torch.device("cpu")) == 0
    assert precision.lower(MLP(3), "auto").startswith("float32")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("class", r"relative error \d.\de-\d\d; the same top answer in (\d+) of \1 clear rows"),
        ("alcohol", r"relative error \d.\de-\d\d"),
    ],
)
def test_predict_says_how_far_bf16_agrees(target, said, tmp_path, capsys):
    loaded = pv.fit("sample:wine", target, steps=2, size="tiny", out=tmp_path / "run")
    capsys.readouterr()
    table = loaded.values("sample:wine")
    with computing(loaded, "auto", "bf16", table):
        loaded.predict_table(table)
    line, *_ = capsys.readouterr().err.splitlines()
    assert re.fullmatch(f"{target}: bf16 beside float32 on the first rows: {said}", line)
    with computing(loaded, "auto", "float32", table):
        pass
    assert "beside" not in capsys.readouterr().err


ROWS = {
    "language": "It was a <mask><mask> day, " * 3,
    "imagenet_fourier": np.arange(64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8),
    "optical_flow": (np.zeros((40, 50, 3), np.uint8), np.full((40, 50, 3), 9, np.uint8)),
}


@pytest.mark.parametrize("name", ROWS)
def test_published_models_say_how_far_bf16_agrees(name, capsys):
    torch.manual_seed(1)
    loaded = job(make(REDUCED[name], HUB), name)
    loaded.lower("bf16", loaded.values([ROWS[name]]))
    assert re.search(r"bf16 beside float32 on the first rows: relative error \d", capsys.readouterr().err)


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="precision 'int3' is none of auto, float32, bf16"):
        precision.lower(MLP(3), "int3")


def test_agreement_counts_the_rows_that_are_clear():
    exact = torch.tensor([[4.0, 1.0], [1.0, 1.1], [0.0, 3.0]])
    fast = torch.tensor([[3.8, 1.0], [1.2, 1.1], [0.0, 3.1]])
    found = precision.agreement(exact, fast)
    assert (found.error, found.decided, found.same) == (pytest.approx(0.05), 2, 2)
    assert str(precision.Agreement(0.0123, 20, 19)).startswith(
        "relative error 1.2e-02; the same top answer in 19 of 20"
    )
    with pytest.raises(ValueError, match=r"answers \(3, 2\) and \(2, 2\) came"):
        precision.agreement(exact, fast[:2])
