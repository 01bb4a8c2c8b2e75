"""What stands in a model's folder: whole, cut, changed, newer, or forged. Each is one line, and nothing is run."""

import hashlib
import json
import pickle
import struct
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file

import perceivers as pv
from perceivers.core.perceiver import PerceiverIOConfig
from perceivers.data.schema import Field, Schema
from perceivers.errors import BadInput
from perceivers.model import Model, load_model, save_model

CONFIG, WEIGHTS = "config.json", "model.safetensors"
SIZES = {"input_channels": 8, "query_channels": 8, "num_latents": 3, "latent_channels": 8, "self_attends_per_block": 1}


def example_model():
    options = {"mean": [1.5], "std": [0.5], "quantiles": [[0.25 * i for i in range(17)]], "unit": None, "date": False}
    fields = (
        Field("x", "number", "input", ("x",), options),
        Field("c", "category", "input", ("c",), {"categories": ["u", "v"], "labels": "one", "class_weights": None}),
        Field("t", "text", "input", ("t",), {"max_bytes": 32, "files": False}),
        Field("y", "category", "target", ("y",), {"categories": ["a", "b"], "labels": "one", "class_weights": None}),
    )
    torch.manual_seed(0)
    return Model(Schema(fields), PerceiverIOConfig(**SIZES))


@pytest.fixture
def folder(tmp_path):
    save_model(example_model(), tmp_path / "model")
    return tmp_path / "model"


def refused(folder):
    with pytest.raises(BadInput) as caught:
        load_model(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


def forge(folder, change):
    """A changed configuration with checksums that fit it, as only somebody who means harm would write it."""
    content = json.loads((folder / CONFIG).read_text())
    sums = content.pop("sha256")
    change(content)
    sums[CONFIG] = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    (folder / CONFIG).write_text(json.dumps({**content, "sha256": sums}))


def test_it_comes_back_bit_for_bit(folder):
    one, two = example_model().state_dict(), load_model(folder).state_dict()
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_missing_an_empty_and_a_cut_file(folder, name):
    content = (folder / name).read_bytes()
    for part in (b"", content[:7], content[: len(content) // 2], content[:-3]):
        (folder / name).write_bytes(part)
        assert name in refused(folder)
    (folder / name).unlink()
    assert f"no {name} in it" in refused(folder)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_single_changed_byte_is_found(folder, name):
    content = (folder / name).read_bytes()
    for place in (40, len(content) // 2, len(content) - 30):
        changed = bytearray(content)
        changed[place] ^= 1
        (folder / name).write_bytes(changed)
        assert name in refused(folder)


def test_weights_of_another_model_are_found(folder):
    tensors = {name: tensor + 1 for name, tensor in load_file(folder / WEIGHTS).items()}
    save_file(tensors, folder / WEIGHTS)
    assert "not the file that" in refused(folder)


def test_only_known_formats_are_read(folder):
    text = (folder / CONFIG).read_text()
    for version, words in (("5", "format 5.*update perceivers"), ('"4"', "names no `format`"), ("0", "format 0")):
        (folder / CONFIG).write_text(text.replace('"format": 4', f'"format": {version}', 1))
        with pytest.raises(BadInput, match=words):
            load_model(folder)


def test_a_stored_model_of_format_1_answers_as_it_did():
    """Dates were seconds there. `answers.json` was written by the perceivers that wrote the model."""
    stored = Path(__file__).parent / "goldens/format_1"
    assert json.loads((stored / CONFIG).read_text())["format"] == 1
    expected = json.loads((stored / "answers.json").read_text())
    frame = pl.DataFrame(expected["rows"]).with_columns(pl.col("bought").str.to_date())
    found = pv.load(stored).predict(frame)
    for answer, before in zip(found["sold"], expected["sold"], strict=True):
        assert abs(answer - datetime.fromisoformat(before)) < timedelta(hours=1)
    np.testing.assert_allclose(found["price"], expected["price"], rtol=1e-5)


def test_the_activation_is_kept_and_was_the_exact_one_before_it_was_named(folder, tmp_path):
    old = example_model()
    forge(folder, lambda c: (c.update(format=2), c.pop("activation"), c.pop("wide")))
    assert load_model(folder).activation == "gelu"
    tanh = Model(old.schema, old.config, "gelu_tanh")
    tanh.load_state_dict(old.state_dict())
    save_model(tanh, tmp_path / "tanh")
    latents = 3 * torch.randn(1, 3, 8)
    by_tanh, kept, exact = (
        model.perceiver.process(latents) for model in (tanh.eval(), load_model(tmp_path / "tanh"), load_model(folder))
    )
    assert torch.equal(kept, by_tanh)
    assert torch.equal(exact, old.eval().perceiver.process(latents))
    assert not torch.equal(exact, by_tanh)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.pop("activation"), "config.json: damaged: it holds no `activation`: copy the folder anew"),
        (lambda c: c.update(activation="relu"), "the activation 'relu' is none of gelu, gelu_tanh: update perceivers"),
        (lambda c: c.update(activation=["gelu"]), "the activation ['gelu'] is none of"),
        (lambda c: c.update(norm="rms"), "'norm' in it is not known here: update perceivers"),
        (lambda c: c["perceiver"].update(rotary=True), "'rotary' in it is not known here: update perceivers"),
    ],
)
def test_what_is_missing_or_not_known_is_named(folder, change, words):
    forge(folder, change)
    assert words in refused(folder)


def test_json_that_is_no_configuration(folder):
    for text in ("[]", "null", "1", "{}", '{"format": 1}', "[" * 100_000, '{"format": 1, "sha256": {}}'):
        (folder / CONFIG).write_text(text)
        assert CONFIG in refused(folder)


FORGED = {
    "gigantic": lambda c: c["perceiver"].update(num_latents=10**12),
    "endless": lambda c: c["perceiver"].update(self_attends_per_block=2**62),
    "endless blocks": lambda c: c["perceiver"].update(num_blocks=2**62),
    "negative": lambda c: c["perceiver"].update(num_latents=-1),
    "no number": lambda c: c["perceiver"].update(num_latents="3"),
    "no heads": lambda c: c["perceiver"].update(self_heads=0),
    "unknown part": lambda c: c["perceiver"].update(code="import os"),
    "no perceiver": lambda c: c.pop("perceiver"),
    "no fields": lambda c: c["schema"].update(fields=[]),
    "unknown modality": lambda c: c["schema"]["fields"][0].update(modality=["number"]),
    "mean of words": lambda c: c["schema"]["fields"][0].update(mean=["x"]),
    "std of 0": lambda c: c["schema"]["fields"][0].update(std=[0]),
    "quantiles": lambda c: c["schema"]["fields"][0].update(quantiles=[[]]),
    "infinite mean": lambda c: c["schema"]["fields"][0].update(mean=[float("inf")]),
    "categories": lambda c: c["schema"]["fields"][1].update(categories="uv"),
    "labels": lambda c: c["schema"]["fields"][1].update(labels="x"),
    "max_bytes": lambda c: c["schema"]["fields"][2].update(max_bytes=-5),
    "option": lambda c: c["schema"]["fields"][2].update(code="import os"),
    "columns": lambda c: c["schema"]["fields"][2].update(columns=[]),
    "weights": lambda c: c["schema"]["fields"][3].update(class_weights=["x", "y"]),
    "split": lambda c: c["schema"].update(split={"column": 3}),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_configuration_is_refused_before_it_costs_memory(folder, name):
    forge(folder, FORGED[name])
    refused(folder)


def test_a_header_that_promises_too_much(folder):
    for content in (struct.pack("<Q", 2**62) + b"{}", struct.pack("<Q", 10**6) + b" " * 10**6):
        (folder / WEIGHTS).write_bytes(content)
        assert "damaged" in refused(folder)
    header = json.dumps({"x": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(header)) + header)
    assert "damaged" in refused(folder)


class Harm:
    """Unpickled, it would make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_pickles_in_a_model_folder_are_never_opened(folder, tmp_path):
    harm = pickle.dumps(Harm(tmp_path / "harmed"))
    (folder / "checkpoints").mkdir()
    for place in ("pytorch_model.bin", "checkpoints/last.ckpt", "model.pickle"):
        (folder / place).write_bytes(harm)
    load_model(folder)
    for name in (CONFIG, WEIGHTS):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(harm)
        refused(folder)
        (folder / name).write_bytes(content)
    assert not (tmp_path / "harmed").exists()
    pickle.loads(harm).close()  # it would have
    assert (tmp_path / "harmed").exists()


def test_a_damaged_run_configuration_is_one_line(folder):
    table = pl.DataFrame({"x": [1.0, 2.0], "c": ["u", "v"], "t": ["p", "q"], "y": ["a", "b"]})
    for text in ("", "[", "asked: 3", "asked: {fingerprint: 3}", "a: !!python/object/apply:os.system ['true']"):
        (folder / "config.yaml").write_text(text)
        with pytest.raises(BadInput, match=r"config\.yaml"):
            pv.load(folder).evaluate(table)
