"""Starting from a trained model: what is taken, fitted and made new, against the weights of both."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import tiny
import torch
from safetensors.torch import load_file

from perceivers.data.schema import Field, Schema
from perceivers.errors import BadInput
from perceivers.modalities import modality
from perceivers.modalities.image import Image
from perceivers.model import Model, load_model
from perceivers.training import origins
from perceivers.training.config import Architecture, Config, Training
from perceivers.training.start import rates, stage
from perceivers.training.train import train

TUNED = Config(steps=6, training=replace(tiny.CONFIG.training, average=0.0, validations=2))
OTHER = tiny.FRAME.with_columns(
    kind=pl.Series([f"kind {i}" for i in np.random.default_rng(1).integers(1, 5, 90)]),
    score=pl.Series(np.random.default_rng(2).normal(size=90)),
).drop("answer")


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return tiny.run(tmp_path_factory.mktemp("start") / "first")


@pytest.fixture
def start(first):
    return origins.read(first)


def tuned(first, out, **training):
    config = replace(TUNED, training=replace(TUNED.training, **training))
    return train(OTHER, out=out, targets=["score"], config=config, start=first)


def test_latents_encoder_and_stack_are_taken_and_answers_are_new(first, start):
    old = load_model(first)
    torch.manual_seed(1)
    model = Model(old.schema, start.numbers)
    lines = start.take(model)
    assert lines[0].endswith("first: 3 latents of 10 channels, encoder, 1 self-attends")
    assert lines[-1] == "made new: queries, decoder and heads of answer"
    old = old.state_dict()
    for name, weight in model.named_parameters():
        same = torch.equal(weight, old[name])
        assert same == (name in model.taken) or weight.abs().max() == 0, name  # new biases are 0, too
        assert (name in model.taken) == (stage(name) != ""), name


def test_columns_and_categories_are_taken_by_their_names(first, tmp_path, capsys):
    folder = tuned(first, tmp_path / "run", freeze="stack")
    said = capsys.readouterr().err
    assert "taken: number\n" in said
    assert "taken: kind (2 of 7 weights made new)" in said  # kinds 3 and 4
    old, new = load_model(first), load_model(folder)
    rows = {name: [*new.schema["kind"].options["categories"], "unseen", "missing"] for name in ("kind",)}["kind"]
    before = [*old.schema["kind"].options["categories"], "unseen", "missing"]
    ours, theirs = (model.inputs["category"].embeddings for model in (new, old))
    for i, category in enumerate(rows):
        if category in before:
            assert torch.equal(ours[i], theirs[before.index(category)]), category
    assert len(rows) == 6


def test_frozen_stages_do_not_learn_and_others_do(first, tmp_path):
    folder = tuned(first, tmp_path / "run", freeze="encoder", new_first=0.0)
    old, new = load_file(first / "model.safetensors"), load_file(folder / "model.safetensors")
    for name in old.keys() & new.keys():
        if stage(name) == "encoder":
            assert torch.equal(old[name], new[name]), name
    assert not torch.equal(old["perceiver.block.0.mlp.0.weight"], new["perceiver.block.0.mlp.0.weight"])


def test_new_weights_learn_first(first, tmp_path):
    late = tuned(first, tmp_path / "late", new_first=0.99)  # of 6 steps all but none
    old, new = load_file(first / "model.safetensors"), load_file(late / "model.safetensors")
    assert torch.equal(old["perceiver.block.0.mlp.0.weight"], new["perceiver.block.0.mlp.0.weight"])
    assert not torch.equal(old["perceiver.decoder.mlp.0.weight"], new["perceiver.decoder.mlp.0.weight"])


def test_the_deeper_the_slower(first, start):
    model = Model(load_model(first).schema, replace(start.numbers, self_attends_per_block=3))
    model.taken = frozenset(name for name, _ in model.named_parameters() if stage(name))
    found = rates(model, 0.5)
    assert found["perceiver.decoder.mlp.0.weight"] == found["targets.0.head.weight"] == 1
    assert [found[f"perceiver.block.{i}.norm.weight"] for i in range(3)] == [0.125, 0.25, 0.5]
    assert found["perceiver.latents.array"] == found["perceiver.encoder.kv_norm.weight"] == 0.0625
    assert found["inputs.category.field"] == 0.03125
    model.taken = frozenset()
    assert set(rates(model, 0.5).values()) == {1.0}


def picture(channels, patch, blocks=0):
    options = {"channels": channels, "patch": patch, "blocks": blocks}
    options |= {"mean": [0.5] * channels, "std": [0.25] * channels}
    return Field("photo", "image", "input", ("path",), {**Image.options, **options})


@pytest.mark.parametrize(("blocks", "name"), [(0, "tokens.elements.weight"), (2, "tokens.neighbours.elements.weight")])
def test_a_model_of_colours_reads_grey_as_it_read_grey_in_colours(blocks, name):
    old, new = picture(3, 4, blocks), picture(1, 4, blocks)
    theirs = modality(old).inputs([old], 8).weights({"photo": old})["photo"][1][name]
    ours = modality(new).fitted(name, theirs, old, new)
    grey = torch.rand(4, 4, 1)
    assert torch.allclose(ours @ grey.flatten(), theirs @ grey.expand(4, 4, 3).flatten(), atol=1e-5)


def test_larger_patches_answer_to_a_flat_patch_as_before():
    old, new = picture(3, 2), picture(3, 4)
    theirs = torch.randn(8, 2 * 2 * 3)
    ours = modality(new).fitted("tokens.elements.weight", theirs, old, new)
    flat = torch.rand(3)
    assert torch.allclose(ours @ flat.repeat(16), theirs @ flat.repeat(4), atol=1e-5)


@pytest.mark.parametrize("blocks", [0, 1])
def test_pictures_are_read_as_by_the_start_unless_the_schema_says_otherwise(blocks, tmp_path, capsys):
    random = np.random.default_rng(0)
    photos = random.integers(0, 255, (60, 8, 8), dtype=np.uint8).tolist()
    rows = pl.DataFrame({"photo": photos, "kind": [*"ab"] * 30})
    photo = Field("photo", "image", "input", ("photo",))
    silent = Schema((photo, Field("kind", "category", "target", ("kind",))))
    schema = silent.replace(photo.with_options(blocks=blocks))
    first = train(rows, out=tmp_path / "first", schema=schema, config=replace(tiny.CONFIG, steps=2))
    capsys.readouterr()
    taken = train(rows, out=tmp_path / "second", schema=silent, config=TUNED, start=first)
    assert "taken: photo\n" in capsys.readouterr().err
    assert load_model(taken).schema["photo"].options["blocks"] == blocks
    other = schema.replace(photo.with_options(blocks=3))
    changed = train(rows, out=tmp_path / "third", schema=other, config=TUNED, start=first)
    assert "weights made new" in capsys.readouterr().err
    assert load_model(changed).schema["photo"].options["blocks"] == 3


def test_masked_bytes_are_a_start_for_classes_of_texts(tmp_path, capsys):
    texts = pl.DataFrame({"text": [f"row {i} says {'yes' if i % 2 else 'no'} again" for i in range(60)]})
    config = replace(tiny.CONFIG, steps=2, training=replace(tiny.CONFIG.training, validations=1))
    first = train(texts, out=tmp_path / "first", targets=["text"], config=config)
    labelled = texts.with_columns(label=pl.Series(["a", "b"] * 30))
    folder = train(labelled, out=tmp_path / "second", targets=["label"], config=TUNED, start=first)
    assert "taken: text, from text.masked" in capsys.readouterr().err
    assert load_model(folder).schema.targets[0].name == "label"


def test_the_same_command_goes_on_and_another_start_is_another_run(first, tmp_path):
    out = tuned(first, tmp_path / "run")
    weights = (out / "model.safetensors").read_bytes()
    tuned(first, out)
    assert (out / "model.safetensors").read_bytes() == weights
    other = tiny.run(tmp_path / "other", seed=5)
    with pytest.raises(BadInput, match="from"):
        tuned(other, out)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Config(size="tiny"), "the sizes are those of --from"),
        (Config(architecture=Architecture(num_latents=4)), "the sizes are those of --from"),
    ],
)
def test_sizes_come_with_the_start(start, config, message):
    with pytest.raises(BadInput, match=message):
        start.sized(config)


def test_what_is_no_start_is_refused(tmp_path):
    with pytest.raises(BadInput, match="no such folder or file: give a run folder"):
        train(OTHER, out=tmp_path / "run", targets=["score"], config=TUNED, start=tmp_path / "none")
    with pytest.raises(BadInput, match="not a model"):
        train(OTHER, out=tmp_path / "run", targets=["score"], config=TUNED, start=tmp_path)
    config = replace(TUNED, training=Training(freeze="stack"))
    with pytest.raises(BadInput, match="give --from MODEL"):
        train(OTHER, out=tmp_path / "run", targets=["score"], config=config)
    assert not (tmp_path / "run").exists()
