import pytest
import torch
from reduced import REDUCED
from torch import nn

import perceivers as pv
from perceivers.core import precision
from perceivers.core.attention import MLP, Attention
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
    assert precision.lower(model, "bf16") == "bf16: as asked"
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
    assert loaded.lower("bf16") == "bf16: as asked"
    fast = loaded.predict(table.frame, proba=True)
    column = next(name for name in exact.columns if name.endswith("_probability"))
    assert 0 < (exact[column] - fast[column]).abs().max() < 2e-2


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
