"""What holds for every modality: its options, its contract, and the way from cells to a model and back."""

import subprocess
import sys
from datetime import date

import numpy as np
import pytest
import torch

from perceivers.core.perceiver import PerceiverIOConfig
from perceivers.data.schema import Field, Schema
from perceivers.errors import BadInput
from perceivers.modalities import MODALITIES, modality
from perceivers.model import Model

RNG = np.random.default_rng(0)
CELLS = {
    "text": ["some words", "", None, "more of them, and ünicode"],
    "image": [RNG.random((7, 5)), RNG.integers(0, 256, (3, 11, 3), np.uint8), None, np.ones((2, 2), bool)],
    "audio": [RNG.uniform(-1, 1, 1_700), RNG.uniform(-1, 1, (300, 1)), None, [0.1, 0.2, -0.3]],
    "video": [RNG.random((3, 4, 5)), RNG.integers(0, 256, (5, 3, 8, 3), np.uint8), None, np.ones((1, 2, 2), bool)],
    "points": [RNG.normal(size=(40, 3)), RNG.normal(size=(7, 3)).tolist(), None, [[1.0, 2.0, 3.0]]],
    "events": [[[0.1, "a", 2.0], [0.1, "b", None], [3.5, "a", 4.5]], [], None, [[2.0, "b", 1.0], [0.5, "a", -3.0]]],
    "array": [RNG.normal(size=(5, 7, 3, 2)), np.ones((1, 2, 3, 2)), None, [[[[1.0, None]]]]],
    "given": [RNG.normal(size=(9, 3)), RNG.normal(size=(6, 3)).tolist(), None, [[1.0, 2.0, 3.0]]],
    "number": [1, None, "2.5", date(2026, 11, 23)],
    "category": ["a", None, True, 3.0],
    "asked": [[0.5, 2.0], [1], None, [4.0, 3.0, 9.0]],
    "masked": ["some words", "", None, "more of them, and <mask>"],
    "series": [[0.5, None, 2.0], [1.0], None, RNG.normal(size=90).tolist()],
    "deepmind_text": ["some words", "", None, "more of them, and ünicode"],
    "deepmind_image": [RNG.random((7, 5)), RNG.integers(0, 256, (3, 11, 3), np.uint8), None, np.ones((2, 2), bool)],
    "deepmind_clip": [
        RNG.random((2, 4, 5)),
        RNG.integers(0, 256, (1, 3, 8, 3), np.uint8),
        None,
        np.ones((2, 2, 2), bool),
    ],
}
TARGETS_ALONE = {"point_class", "point_value"}  # see test_given.py
PAIRED = {"deepmind_pair"}  # of two columns: see test_origins.py
CHANNELS = 16


GIVEN = {  # what cannot be read off the cells
    "audio": {"rate": 8_000},
    "deepmind_text": {"width": CHANNELS, "length": 40},
    "deepmind_image": {"kind": "learned", "width": CHANNELS // 2, "side": 6},
    "deepmind_clip": {
        "num_frames": 2,
        "frame_size": [3, 3],
        "patch_size": 1,
        "image_bands": 1,
        "audio_samples": 8,
        "samples_per_patch": 4,
        "audio_bands": 1,
        "num_classes": 5,
        "width": CHANNELS,
    },
}
STILL = {"audio": {"pitch": 0.0}}  # another pitch is another length


def fitted(kind, role="input", **options):
    options = {**GIVEN.get(kind, {}), **options}
    field = Field(f"a_{kind}", kind, role, (f"a_{kind}",), options)
    field = field.with_options(**{**modality(field).options, **options})
    return field.with_options(**modality(field).fit(field, CELLS[kind]))


def part(field):
    kind = modality(field)
    return kind.collate(field, [kind.read(field, cell) for cell in CELLS[field.modality]])


def uniform(purpose, count):
    return torch.rand(4, count, generator=torch.Generator().manual_seed(len(purpose)))


def test_every_modality_is_known_by_its_name():
    assert {"text", "image", "number", "category"} <= MODALITIES.keys()
    assert all(kind.name == name for name, kind in MODALITIES.items())
    assert CELLS.keys() | TARGETS_ALONE | PAIRED == MODALITIES.keys()  # what follows tests all that can be inputs


@pytest.mark.parametrize(
    ("kind", "option", "value"),
    [
        ("audio", "rate", "high"),
        ("audio", "level", [0.5]),
        ("points", "rotation", "sideways"),
        ("points", "centre", [0.0, 0.0]),
        ("points", "feature_std", ["a"]),
        ("image", "mean", ["a"]),
        ("events", "unit", True),
        ("events", "units", ["a", 3]),
        ("events", "std", [[1.0], ["x"], [1.0]]),
        ("events", "counts", [[0.0, 1.0]]),
    ],
)
def test_an_option_of_a_saved_model_that_cannot_be_is_refused(kind, option, value):
    with pytest.raises(BadInput, match=option):
        MODALITIES[kind].check(fitted(kind).with_options(**{option: value}))


def test_unknown_modalities_and_options_name_the_nearest():
    with pytest.raises(BadInput, match="photo: unknown modality 'imgae': did you mean 'image'"):
        modality(Field("photo", "imgae", "input", ("photo",)))
    with pytest.raises(BadInput, match=r"photo \(image\): unknown option 'chanels': did you mean 'channels'"):
        modality(Field("photo", "image", "input", ("photo",), {"chanels": 3}))
    with pytest.raises(BadInput, match="unknown modality None: known: "):
        modality(Field("photo", None, "ignore", ("photo",)))


@pytest.mark.parametrize("name", CELLS)
def test_fit_fills_options_that_survive_a_schema_file(name, tmp_path):
    field = fitted(name)
    assert field.options.keys() == MODALITIES[name].options.keys()
    path = tmp_path / "schema.yaml"
    path.write_text(Schema((field,)).to_yaml(), encoding="utf-8")
    assert Schema.read(path)["a_" + name] == field
    assert MODALITIES[name].fit(field, CELLS[name][:1]).items() <= field.options.items()  # what is known is kept


@pytest.mark.parametrize("name", CELLS)
def test_parts_are_tensors_batch_first(name):
    field = fitted(name)
    found = part(field)
    changed = MODALITIES[name].augment(field.with_options(**STILL.get(name, {})), found, uniform)
    dropped = MODALITIES[name].drop(field, found, torch.tensor([True, False, True, False]))
    for other in (changed, dropped):
        assert {k: (v.shape, v.dtype) for k, v in other.items()} == {k: (v.shape, v.dtype) for k, v in found.items()}
    assert all(len(tensor) == 4 for tensor in found.values())
    again = MODALITIES[name].augment(field.with_options(**STILL.get(name, {})), part(field), uniform)
    assert all(torch.equal(changed[key], again[key]) for key in changed)
    for key, tensor in found.items():
        assert torch.equal(dropped[key][1], tensor[1])
        assert torch.equal(tensor, part(field)[key])  # neither changed the part itself


@pytest.mark.parametrize("name", CELLS)
def test_a_dropped_field_is_a_missing_one(name):
    field = fitted(name)
    torch.manual_seed(0)
    module = MODALITIES[name].inputs([field], CHANNELS).eval()
    found = part(field)
    dropped = MODALITIES[name].drop(field, found, torch.ones(4, dtype=torch.bool))
    array, mask = module({field.name: dropped})
    missing, missing_mask = module({field.name: MODALITIES[name].collate(field, [None])})
    assert (mask.sum(1) == missing_mask.sum()).all()
    if missing_mask.any():
        torch.testing.assert_close(array[mask], missing[missing_mask].repeat(4, 1))


@pytest.mark.parametrize("name", CELLS)
def test_gradients_reach_every_parameter_of_an_input(name):
    field = fitted(name)
    module = MODALITIES[name].inputs([field], CHANNELS)
    array, mask = module({field.name: part(field)})
    assert array.shape[2] == CHANNELS
    assert array.shape[:2] == mask.shape
    assert mask.dtype == torch.bool
    array[mask].square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", CELLS)
def test_cells_are_drawn_and_measured(name):
    field = fitted(name)
    for cell in CELLS[name]:
        assert isinstance(MODALITIES[name].draw(field, cell), str)
        assert MODALITIES[name].size(field, cell) >= 0


@pytest.mark.parametrize("name", CELLS)
def test_baselines_take_examples(name):
    field = fitted(name)
    examples = [MODALITIES[name].read(field, cell) for cell in CELLS[name]]
    assert MODALITIES[name].baseline(field).fit_transform(examples).shape[0] == 4


def test_all_together_in_one_model():
    inputs = [fitted(name) for name in CELLS]
    targets = [
        Field("label", "category", "target", ("label",), {**fitted("category").options, "categories": ["x", "y", "z"]}),
        Field("value", "number", "target", ("value",), fitted("number").options),
    ]
    torch.manual_seed(0)
    config = PerceiverIOConfig(CHANNELS, CHANNELS, num_latents=5, latent_channels=CHANNELS, self_attends_per_block=2)
    model = Model(Schema((*inputs, *targets)), config)
    batch = {field.name: part(field) for field in inputs}
    batch["label"] = modality(targets[0]).collate(targets[0], [0, 2, None, 1])
    batch["value"] = modality(targets[1]).collate(targets[1], [np.array([1.0]), None, np.array([2.0]), None])
    losses = model.losses(batch)
    assert (losses["label"] > 0).tolist() == [True, True, False, True]
    assert (losses["value"] > 0).tolist() == [True, False, True, False]
    (losses["label"].sum() + losses["value"].sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
    answers = model.eval().answers(batch)
    torch.testing.assert_close(answers["label"].sum(1), torch.ones(4))
    assert answers["value"].shape == (4, 1)


def test_only_torch_is_loaded():
    heavy = "('sklearn', 'PIL', 'pandas', 'polars')"
    code = f"import sys, perceivers.modalities; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
