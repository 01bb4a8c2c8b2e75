"""Masked bytes: what is hidden is asked, nothing else, and is never read."""

import numpy as np
import polars as pl
import pytest
import torch

import perceivers as pv
from perceivers.data.schema import Field
from perceivers.errors import BadInput, Unreadable
from perceivers.modalities import metrics, modality, naive
from perceivers.modalities.masked import HIDDEN, UNKNOWN, asked, fill, hide
from perceivers.recipe import MASKED_MOST_ASKED
from perceivers.training.config import Config, Training

ADJECTIVES, ANIMALS = ("big", "old", "red"), ("cat", "dog", "hen")
SENTENCES = [f"the {a} {b} sat on the {c} mat" for a in ADJECTIVES for b in ANIMALS for c in "abcdef"]


def field(role="input", **options):
    found = Field("x.masked" if role == "input" else "x", "masked", role, ("x",), options)
    return found.with_options(**{**modality(found).options, "max_bytes": 64, **options})


def example(text):
    return modality(field()).read(field(), text)


@pytest.mark.parametrize("length", [0, 1, 2, 7, 100, 5_000])
def test_about_a_seventh_is_hidden_and_the_rest_stays(length):
    whole = np.random.default_rng(0).integers(0, 256, length).astype(np.int16)
    found = hide(whole, np.random.default_rng(1))
    hidden = found < 0
    np.testing.assert_array_equal(found[~hidden], whole[~hidden])
    np.testing.assert_array_equal(HIDDEN - found[hidden], whole[hidden])
    expected = 0 if length < 2 else min(MASKED_MOST_ASKED, max(1, round(0.15 * length)))
    assert abs(int(hidden.sum()) - expected) <= 4
    assert (found == hide(whole, np.random.default_rng(1))).all()


def test_a_test_text_is_always_masked_in_the_same_way_and_a_training_text_by_its_draw():
    kind, one = modality(field()), example("a rather ordinary sentence about nothing at all")
    assert (kind.windows(field(), one)[0] == kind.windows(field(), one)[0]).all()
    assert (kind.crop(field(), one, 0.3) == kind.crop(field(), one, 0.3)).all()
    assert (kind.crop(field(), one, 0.3) != kind.crop(field(), one, 0.4)).any()
    long = example("0123456789" * 20)
    assert [len(w) for w in kind.windows(field(), long)] == [64, 64, 64, 64]
    assert len(kind.crop(field(), long, 0.9)) == 64


def test_masks_in_a_text_are_one_byte_each_and_asked_alone():
    kind, one = modality(field()), example("ab<mask>c<mask><mask>é")
    assert one.tolist() == [97, 98, UNKNOWN, 99, UNKNOWN, UNKNOWN, 0xC3, 0xA9]
    assert [w.tolist() for w in kind.windows(field(), one)] == [one.tolist()]
    part = kind.collate(field(), [one, None])
    assert part["truth"].tolist()[0] == [-1, -1, 256, -1, 256, 256, -1, -1]
    assert part["mask"].sum(1).tolist() == [5, 0]
    with pytest.raises(Unreadable, match="49 <mask> came, expected at most 48"):
        example("<mask>" * 49)
    with pytest.raises(Unreadable, match="101 bytes came with <mask> among them, expected at most 64"):
        example("x" * 100 + "<mask>")


def test_what_is_hidden_is_nowhere_in_what_is_read():
    kind = modality(field())
    one, other = (hide(example(text), np.random.default_rng(0)) for text in ("abcdefghijkl", "ABCDEFGHIJKL"))
    other = np.where(one < 0, other, one)  # the same but for what is hidden
    module, target = kind.inputs([field()], 16), kind.target(field("target", source="x.masked"), 16)
    parts = [kind.collate(field(), [found]) for found in (one, other)]
    read = [module({"x.masked": part})[0] for part in parts]
    torch.testing.assert_close(*read)
    torch.testing.assert_close(*(target.ask({"x.masked": part}) for part in parts))
    assert not torch.equal(parts[0]["truth"], parts[1]["truth"])


def test_the_loss_is_the_cross_entropy_of_the_hidden_bytes():
    kind = modality(field())
    rows = [np.array([HIDDEN - 65, 66, HIDDEN - 67]), np.array([68, 69]), np.array([HIDDEN - 70, UNKNOWN])]
    part = kind.collate(field(), rows)
    place, truth = asked(part["truth"])
    assert place.tolist()[0] == [0, 2]
    assert truth.tolist() == [[65, 67], [-1, -1], [70, 256]]
    target = kind.target(field("target", source="x.masked"), 16)
    logits = torch.randn(3, 2, 256, generator=torch.Generator().manual_seed(0))
    nats = -logits.double().log_softmax(-1)
    expected = torch.stack([(nats[0, 0, 65] + nats[0, 1, 67]) / 2, torch.tensor(0.0).double(), nats[2, 0, 70]])
    torch.testing.assert_close(target.loss(logits, part).double(), expected)
    answer = target.answer(logits, {"x.masked": part})
    np.testing.assert_allclose(answer[:, 0], [2 * expected[0] / np.log(2), 0, expected[2] / np.log(2)], rtol=1e-5)
    assert answer[:, 1].tolist() == [2, 0, 1]
    assert answer[:, -1].tolist() == [0, 0, 1]
    assert answer[2, 2] == logits[2, 1].argmax()


def test_answers_are_filled_in_as_utf8():
    answer = np.array([0, 0, 0xC3, 0xA9, 33, *[0] * 45, 3])
    assert fill("caf<mask><mask> <mask>", answer) == "café !"
    assert fill("nothing asked", answer) is None
    assert fill(None, answer) is None
    assert modality(field("target")).columns(field("target"), answer[None], False) == {"x": ["é!"]}


def test_bits_per_byte_are_of_all_rows_together():
    bits, count = np.random.default_rng(0).random((2, 50)) + 0.1
    found = metrics.coding(bits, count)["bits_per_byte"]
    np.testing.assert_allclose(found["value"], bits.sum() / count.sum())
    assert found["low"] < found["value"] < found["high"]


def test_simple_baselines_count_bytes():
    train = [np.frombuffer(b"abababab", np.uint8).astype(np.int16)]
    found = naive.hidden_bytes(train, [[np.array([97, HIDDEN - 98])], [np.array([HIDDEN - 97])]])
    assert found["the byte before"][0, 0] < 0.5 < found["frequent bytes"][0, 0] < 1.5
    assert found["frequent bytes"][:, 1].tolist() == [1, 1]
    np.testing.assert_allclose(found["the byte before"][1], found["frequent bytes"][1])


def test_a_model_learns_bytes_and_fills_masks(tmp_path):
    frame = pl.DataFrame({"line": [f"{s}{end}" for s in SENTENCES for end in (".", "!", "?", "…")]})
    config = Config(training=Training(average=0.0))
    model = pv.fit(frame, "line", steps=120, size="tiny", out=tmp_path / "run", config=config)
    assert [(f.name, f.modality, f.role) for f in model.schema.fields] == [
        ("line", "masked", "target"),
        ("line.masked", "masked", "input"),
    ]
    found = model.metrics["line"]["bits_per_byte"]["value"]
    assert found < 3.5
    assert model.evaluate(frame) == model.metrics
    answers = model.predict(pl.DataFrame({"line": ["the big cat sat on t<mask>e a mat", "no mask in this one"]}))
    assert answers["line"][0] == "the big cat sat on t<mask>e a mat"
    assert answers["line_predicted"].to_list() == ["the big cat sat on the a mat", None]
    assert "bits per byte" in model.report.read_text()


def test_short_answers_and_lone_targets_are_refused():
    with pytest.raises(BadInput, match=r"more than three words\); if .* say `modality: category` in a --schema"):
        pv.fit(pl.DataFrame({"x": [f"word{i}" for i in range(50)], "z": [1, 2] * 25}), "x", steps=1)
    with pytest.raises(BadInput, match=r"add \{name: x.masked, modality: masked, role: input, columns: \[x\]\}"):
        modality(field("target")).agree(field("target"), {})
