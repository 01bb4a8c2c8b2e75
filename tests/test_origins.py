"""Published models as the start of models of own data: the new model computes what the published encoder computes."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import tiny
import torch
from PIL import Image
from reduced import GOLDENS, REDUCED
from test_published_hub import CONFIGS, randomise

import perceivers as pv
from perceivers import published as published_models
from perceivers.core.inputs import join
from perceivers.data import sources
from perceivers.data.batches import evaluation_batches
from perceivers.data.schema import Field, Schema
from perceivers.errors import BadInput, Unreadable
from perceivers.modalities import MODALITIES
from perceivers.model import load_model, save_model
from perceivers.published import clips, export_hub, flow, load_original, pictures, text, untrained
from perceivers.published.config import understood
from perceivers.published.models import make
from perceivers.training import defaults, origins
from perceivers.training.config import Config, Training
from perceivers.training.train import prepare, train

TUNED = Config(steps=3, training=replace(tiny.CONFIG.training, batch_size=5, validations=1))
WORDS = ["grün and long enough to be read", "red", "", "a text that is much too long for a window of so few bytes"]
CLASS = Field("class", "category", "target", ("class",), {"categories": ["a", "b"]})


def hub(architecture, **changed):
    torch.manual_seed(0)
    config = {"model_type": "perceiver", "architectures": [architecture], **CONFIGS[architecture], **changed}
    model = make(*understood(config, "config"))
    randomise(model)
    return model


def original(name):
    return load_original(GOLDENS / f"{name}.pickle", REDUCED[name])


def taken(published, frame, fields=None, kind=None, **options):
    """The model of a table that starts from a published one, its batch of all rows, and what was said."""
    start = origins.of_published(published, "it")
    table = sources.read(frame)
    kind = kind or ("text" if "text" in table.frame.columns else "image")
    names = fields or [name for name in table.frame.columns if name != "class"]
    schema = Schema((*(Field(name, kind, "input", (name,), options) for name in names), CLASS))
    ids = np.arange(len(frame))
    data = prepare(table, start.adapted(schema), dict.fromkeys(("train", "validation", "test"), ids))
    config = defaults.resolve(start.sized(Config(steps=3)), data.schema, len(ids), 0, start.chosen(Training()))
    model = start.new_model(data.schema, config)
    lines = start.take(model)
    ((rows, batch),) = evaluation_batches(data.rows, ids, 99)
    order = np.argsort(rows, kind="stable")  # batches are by length
    return model.eval(), {name: {k: v[order] for k, v in part.items()} for name, part in batch.items()}, lines


@pytest.fixture(autouse=True)
def _no_download(monkeypatch):
    """Names stand for small models with random weights."""
    load = published_models.load
    small = published_models.PRESETS.keys()
    monkeypatch.setattr(published_models, "load", lambda place: untrained(place) if place in small else load(place))


@torch.no_grad()
def encoded(model, batch):
    return model.perceiver.process(model.perceiver.encode(*model.read(batch)))


@torch.no_grad()
def thought(published, array, mask=None):
    return published.perceiver.process(published.perceiver.encode(join(array), mask))


@pytest.mark.parametrize("published", [hub("PerceiverForMaskedLM"), original("language")], ids=["hub", "original"])
def test_bytes_are_read_as_the_language_model_reads_them(published):
    words = ["grün and not long at all", "red", "blue"]
    model, batch, lines = taken(published, pl.DataFrame({"text": words, "class": ["a", "b", "a"]}))
    assert "taken: text" in lines
    length = published.sizes.length
    ids, mask = text.collate([published.source.ends(text.encode(one)) for one in words], length)
    expected = thought(published, published.inputs(ids), mask)
    torch.testing.assert_close(encoded(model, batch), expected, atol=2e-5, rtol=1e-4)


def test_longer_windows_stretch_the_positions():
    published = original("language")
    model, batch, lines = taken(published, pl.DataFrame({"text": WORDS, "class": ["a", "b"] * 2}), max_bytes=99)
    assert "fitted: text: published.positions.array" in lines
    old, new = published.inputs.positions.array, model.inputs["deepmind_text"].fields[0].published.positions.array
    assert new.shape == (99, 24)
    torch.testing.assert_close(new[[0, -1]], old[[0, -1]])
    np.testing.assert_allclose(
        new[:, 3].detach(), np.interp(np.arange(99) * 63 / 98, np.arange(64), old[:, 3].detach()), atol=1e-5
    )
    assert model(batch)["class"].shape == (4, 2)


def test_an_empty_text_is_masked_and_what_is_masked_does_not_matter():
    model, batch, _ = taken(hub("PerceiverForMaskedLM"), pl.DataFrame({"text": WORDS, "class": ["a", "b"] * 2}))
    part = batch["text"]
    array, mask = model.read(batch)
    assert mask.sum(1).tolist() == [34, 5, 0, 37, 37]
    part["bytes"] = torch.where(part["mask"], part["bytes"], 77)
    torch.testing.assert_close(model.read(batch)[0][mask], array[mask])


IMAGES = {
    "hub fourier": lambda: hub("PerceiverForImageClassificationFourier"),
    "hub learned": lambda: hub("PerceiverForImageClassificationLearned"),
    "hub conv": lambda: hub("PerceiverForImageClassificationConvProcessing"),
    "original fourier": lambda: original("imagenet_fourier"),
    "original learned": lambda: original("imagenet_learned"),
    "original conv": lambda: original("imagenet_conv"),
}


def photos(channels=3):
    sizes = [(31, 47), (40, 25), (24, 24)]
    rng = np.random.default_rng(0)
    cells = [rng.integers(0, 256, (*size, channels), dtype=np.uint8) for size in sizes]
    return cells, [{"photo": cell, "class": label} for cell, label in zip(cells, "aba", strict=True)]


@pytest.mark.parametrize("name", IMAGES)
def test_pictures_are_read_as_the_imagenet_models_read_them(name, tmp_path):
    published = IMAGES[name]()
    cells, rows = photos()
    model, batch, lines = taken(published, rows)
    assert lines[1] == "taken: photo, from image"
    images = pictures.prepare(cells, published.source.crop_and_resize, published.sizes.side)
    expected = thought(published, published.inputs(images))
    torch.testing.assert_close(encoded(model, batch), expected, atol=2e-5, rtol=1e-4)
    save_model(model, tmp_path)
    torch.testing.assert_close(encoded(load_model(tmp_path), batch), encoded(model, batch))


def test_a_stem_keeps_its_statistics_in_training():
    model, batch, _ = taken(original("imagenet_conv"), photos()[1])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items() if "running" in name}
    model.train()(batch)
    assert len(before) == 2
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize("name", IMAGES)
def test_squares_of_another_side_fit_the_positions(name):
    published = IMAGES[name]()
    side = published.sizes.side
    model, batch, lines = taken(published, photos()[1], resize=16)
    what = f"squares of 16 × 16 pixels in place of {side} × {side}"
    if "learned" in name:
        old, new = published.inputs.positions.array, model.inputs["deepmind_image"].fields[0].published.positions.array
        assert new.shape == (256, old.shape[1])
        torch.testing.assert_close(new.mean(0), old.mean(0), atol=0.05, rtol=0)
        what = f"published.positions.array, {what}"
    assert lines[1] == f"fitted: photo: {what}, from image"
    array, mask = model.read(batch)
    assert array.shape[2] == published.sizes.perceiver.input_channels
    assert bool(mask.all())


def test_a_side_that_was_inferred_is_for_models_made_new():
    for published, names, as_published, as_asked in (
        (original("imagenet_fourier"), "a", ("side", 24), ("side", 128)),
        (original("optical_flow"), "ab", ("size", [20, 28]), ("size", [91, 128])),
    ):
        start = origins.of_published(published, "it")
        for reason, (option, expected) in (("larger than 128 pixels", as_published), ("", as_asked)):
            fields = [Field(name, "image", "input", (name,), {"resize": 128}, reason) for name in names]
            (field,) = start.adapted(Schema((*fields, CLASS))).inputs
            assert field.options[option] == expected


def test_grey_is_read_as_rgb_and_many_channels_as_their_mean():
    published = original("imagenet_fourier")
    grey, rows = photos(1)
    model, batch, _ = taken(published, rows)
    images = pictures.prepare([np.repeat(cell, 3, 2) for cell in grey], published.source.crop_and_resize, 24)
    torch.testing.assert_close(
        encoded(model, batch), thought(published, published.inputs(images)), atol=2e-5, rtol=1e-4
    )
    five = [{**row, "photo": np.repeat(row["photo"], 5, 2)} for row in rows]
    many, batch, lines = taken(published, five)
    assert lines[1] == "fitted: photo: 5 channels in place of 3 (1 of 1 weights made new), from image"
    torch.testing.assert_close(encoded(many, batch), encoded(model, taken(published, rows)[1]), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "published", [hub("PerceiverForOpticalFlow"), original("optical_flow")], ids=["hub", "original"]
)
def test_pairs_are_read_as_the_flow_model_reads_them(published):
    h, w = published.sizes.image_size
    rng = np.random.default_rng(0)
    pairs = rng.integers(0, 256, (3, 2, h, w, 3), dtype=np.uint8)
    rows = [{"a": a, "b": b, "class": label} for (a, b), label in zip(pairs, "aba", strict=True)]
    model, batch, lines = taken(published, rows, fields=("a", "b"))
    assert lines[1] == "taken: a and b, from pair"
    assert [field.columns for field in model.schema.inputs] == [("a", "b")]
    frames = torch.cat([flow.prepare(*pair) for pair in pairs])
    expected = thought(published, published.inputs(flow.neighbourhoods(frames)))
    torch.testing.assert_close(encoded(model, batch), expected, atol=2e-5, rtol=1e-4)
    smaller, batch, lines = taken(published, rows, fields=("a", "b"), resize=8)
    assert lines[1].startswith("fitted: a and b: pictures of ")
    assert smaller.read(batch)[0].shape[1] == np.prod(smaller.schema.inputs[0].options["size"])


def test_one_picture_is_no_pair():
    _, _, lines = taken(original("optical_flow"), photos()[1])
    assert lines[1] == "made new: photo: it has no such input"


def test_pairs_in_files_are_learned_from(tmp_path):
    cells = np.random.default_rng(0).integers(0, 256, (40, 9, 12, 3), dtype=np.uint8)
    for i, cell in enumerate(cells):
        Image.fromarray(cell).save(tmp_path / f"{i}.png")
    names = [f"{i}.png" for i in range(40)]
    table = pl.DataFrame({"a": names, "b": names[::-1], "class": ["yes", "no"] * 20})
    table.write_csv(tmp_path / "pairs.csv")
    data = tmp_path / "pairs.csv"
    run = train(data, out=tmp_path / "run", targets=["class"], config=TUNED, start="deepmind/optical-flow-perceiver")
    table.head(1).write_csv(tmp_path / "one.csv")
    (explanation,) = pv.load(run).explain(tmp_path / "one.csv")
    assert explanation.fields[0].shaded().weights.shape == (64, 192)


def test_clips_of_arrays_are_learned_from(tmp_path):
    cells = np.random.default_rng(0).integers(0, 256, (20, 5, 8, 8, 3), dtype=np.uint8)
    rows = [{"clip": cell, "class": label} for cell, label in zip(cells, "ab" * 10, strict=True)]
    schema = Schema((Field("clip", "video", "input", ("clip",)), CLASS))
    start = "deepmind/multimodal-perceiver"
    run = train(rows, out=tmp_path / "run", schema=schema, config=TUNED, start=start)
    assert pv.load(run).schema["clip"].modality == "deepmind_clip"


def test_frames_of_two_sizes_are_no_pair():
    kind = MODALITIES["deepmind_pair"]
    field = Field("pair", "deepmind_pair", "input", ("a", "b"), {**kind.options, "size": [5, 7]})
    assert kind.read(field, (np.zeros((3, 4)), np.ones((3, 4)))).shape == (2, 5, 7, 3)
    assert kind.read(field, (np.zeros((3, 4)), None)) is None
    with pytest.raises(Unreadable, match="the frames differ in size"):
        kind.read(field, (np.zeros((3, 4)), np.zeros((4, 4))))
    with pytest.raises(BadInput, match="reads two columns"):
        kind.check(replace(field, columns=("a",)))


@pytest.mark.parametrize(
    "published", [hub("PerceiverForMultimodalAutoencoding"), original("video_autoencoding")], ids=["hub", "original"]
)
def test_clips_are_read_as_the_autoencoder_reads_them(published):
    sizes = published.sizes
    rng = np.random.default_rng(0)
    clips_ = rng.integers(0, 256, (2, sizes.num_frames, *sizes.frame_size, 3), dtype=np.uint8)
    rows = [{"clip": clip, "class": label} for clip, label in zip(clips_, "ab", strict=True)]
    model, batch, lines = taken(published, rows, fields=("clip",), kind="video")
    assert lines[1] == "taken: clip"
    sound = torch.randn(2, sizes.audio_samples)
    batch["clip"]["sound"] = sound
    video = torch.cat([clips.prepare(clip, sizes.frame_size) for clip in clips_])
    expected = thought(published, published.inputs(video, sound))
    torch.testing.assert_close(encoded(model, batch), expected, atol=2e-5, rtol=1e-4)


def test_a_clip_brings_its_own_sound():
    start = origins.of_published(original("video_autoencoding"), "it")
    fields = (
        Field("clip", "video", "input", ("path",)),
        Field("clip.audio", "audio", "input", ("path",)),
        Field("other", "audio", "input", ("other",)),
        CLASS,
    )
    assert [(f.name, f.modality) for f in start.adapted(Schema(fields)).inputs] == [
        ("clip", "deepmind_clip"),
        ("other", "audio"),
    ]


# Trained ------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def language_run(tmp_path_factory):
    """A model of few sentences that started from a language model in the Hub's format, and what was said."""
    place = tmp_path_factory.mktemp("origins")
    folder = export_hub(hub("PerceiverForMaskedLM"), place / "hub")
    frame = pl.DataFrame({"text": [f"number {i} is {'odd' if i % 2 else 'even'}" for i in range(40)]})
    frame = frame.with_columns(label=pl.Series(["a", "b"] * 20))
    return frame, folder, train(frame, out=place / "run", targets=["label"], config=TUNED, start=folder)


def test_a_run_starts_from_a_published_model_and_answers(language_run):
    frame, _, run = language_run
    model = pv.load(run)
    assert [field.modality for field in model.reads] == ["deepmind_text"]
    found = model.predict(frame.head(3))
    assert found["label_probability"].is_between(0.5, 1).all()
    (explanation,) = model.explain(frame.head(1))
    drawn = explanation.fields[0].shaded()
    assert drawn.text == frame["text"][0]
    assert drawn.weights.max() == 1
    assert (run / "report.html").stat().st_size > 10_000


def test_a_run_that_started_from_a_published_model_is_a_start(language_run, tmp_path, capsys):
    frame, _, run = language_run
    config = replace(TUNED, training=replace(TUNED.training, freeze="stack"))
    second = train(frame.reverse(), out=tmp_path / "run", targets=["label"], config=config, start=run)
    assert "taken: text\n" in capsys.readouterr().err
    old, new = load_model(run).state_dict(), load_model(second).state_dict()
    taken = [name for name in new if not name.startswith(("targets", "perceiver.decoder"))]
    assert len(taken) > 30
    assert all(torch.equal(old[name], new[name]) for name in taken)


def test_pictures_are_learned_from_a_picture_model(tmp_path):
    rng = np.random.default_rng(0)
    for kind in "ab":
        (tmp_path / "data" / kind).mkdir(parents=True)
        for i in range(8):
            picture = rng.integers(0, 128, (150, 150, 3), dtype=np.uint8) + (100 if kind == "a" else 0)
            Image.fromarray(picture.astype(np.uint8)).save(tmp_path / "data" / kind / f"{i}.png")
    folder = export_hub(hub("PerceiverForImageClassificationLearned"), tmp_path / "hub")
    run = train(tmp_path / "data", out=tmp_path / "run", config=TUNED, start=folder)
    assert pv.load(run).schema["path"].options["side"] == hub("PerceiverForImageClassificationLearned").sizes.side
    (explanation,) = pv.load(run).explain([str(tmp_path / "data" / "a" / "0.png")])
    drawn = explanation.fields[0].shaded()
    assert drawn.pixels.shape == (150, 150, 3)
    assert drawn.weights.max() == 1


def test_a_step_takes_the_rows_that_half_of_the_memory_holds(monkeypatch, language_run):
    published = original("imagenet_fourier")
    row = 52 * (24 * 24 * 29 + 10 * 32) + 28 * 2 * 3 * 10 * 32
    weights = 30 * sum(weight.numel() for weight in published.parameters())
    for rows, expected in ((0, 1), (1, 1), (5, 5), (16, 16), (40, 16)):
        monkeypatch.setattr(origins, "_memory", lambda rows=rows: 2 * (weights + (rows + 0.5) * row))
        chosen = origins.of_published(published, "it").chosen(Training())
        assert (chosen["batch_size"], chosen["checkpointing"]) == (expected, "light" if rows else "full")
    chosen = origins.read(language_run[2]).chosen(Training())
    assert (chosen["batch_size"], chosen["lr"]) == (16, 5e-4)


def test_checkpointing_is_full_where_a_step_needs_it_and_then_more_rows_fit(monkeypatch):
    published = original("imagenet_fourier")
    latents, inputs = 10 * 32, 24 * 24 * 29
    light, full = (52 * (inputs + latents) + kept * 2 * 3 * latents for kept in (28, 4))
    off = 52 * (inputs + 2 * 3 * latents)
    weights = 30 * sum(weight.numel() for weight in published.parameters())
    monkeypatch.setattr(origins, "_memory", lambda: 2 * (weights + 15.5 * light))
    choose = origins.of_published(published, "it").chosen
    assert choose(Training())["checkpointing"] == choose(Training(batch_size=15))["checkpointing"] == "light"
    assert choose(Training(batch_size=16))["checkpointing"] == "full"
    assert choose(Training(batch_size=16, checkpointing="off"))["checkpointing"] == "off"
    assert choose(Training(checkpointing="full"))["batch_size"] == int(15.5 * light / full) == 16
    assert choose(Training(checkpointing="off"))["batch_size"] == int(15.5 * light / off) == 15


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("deepmind/vision-percever-conv", "its name, folder or file; did you mean 'deepmind/vision-perceiver-conv'"),
        ("runs/few", "its name, folder or file; there are deepmind/language-perceiver, "),
        ("x.txt", "not one of the original's files"),
    ],
)
def test_what_is_no_start_is_one_line(tmp_path, monkeypatch, place, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.txt").write_text("words", encoding="utf-8")
    with pytest.raises(BadInput, match=message):
        train(tiny.FRAME, out=tmp_path / "run", targets=["answer"], config=TUNED, start=place)
    assert not (tmp_path / "run").exists()


def test_a_published_kind_without_its_model_is_one_line(tmp_path):
    schema = Schema((Field("text", "deepmind_text", "input", ("text",)), CLASS))
    frame = pl.DataFrame({"text": [f"row {i}" for i in range(40)], "class": ["a", "b"] * 20})
    with pytest.raises(BadInput, match="start from the published model that reads so"):
        train(frame, out=tmp_path / "run", schema=schema, config=TUNED)
