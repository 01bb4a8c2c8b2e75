"""The six models at full size, without their weights: numbers, operations, and what is said of them."""

import subprocess
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from perceivers import published
from perceivers.published import PRESETS
from perceivers.published.config import configured, understood
from perceivers.published.models import make
from perceivers.published.names import names
from perceivers.published.sources import SOURCES

BOTH = [(preset, source) for preset in PRESETS.values() for source in SOURCES.values()]
IDS = [f"{preset.name}-{source.name}" for preset, source in BOTH]


def on_meta(preset, source):
    with torch.device("meta"):
        return make(preset.sizes(source.name), source)


def arguments(preset):
    """One example on the meta device."""
    with torch.device("meta"):
        if "language" in preset.name:
            return (torch.zeros(1, 2048, dtype=torch.long),)
        if "flow" in preset.name:
            return (torch.zeros(1, 2, 27, 368, 496),)
        if "multimodal" in preset.name:
            return torch.zeros(1, 16, 3, 224, 224), torch.zeros(1, 30720)
        return (torch.zeros(1, 3, 224, 224),)


@pytest.mark.parametrize(("preset", "source"), BOTH, ids=IDS)
def test_parameters_are_the_published_number(preset, source):
    model = on_meta(preset, source)
    assert sum(parameter.numel() for parameter in model.parameters()) == preset.parameters
    assert {name.ours for name in names(model.sizes)} == model.state_dict().keys()


@pytest.mark.parametrize(("preset", "source"), BOTH, ids=IDS)
def test_operations_are_the_published_number(preset, source):
    model = on_meta(preset, source)
    with FlopCounterMode(display=False) as counter:
        if "multimodal" in preset.name:  # one of 128 chunks
            everything = model.queries.everything()
            points = {name: indices.tensor_split(128)[0] for name, indices in everything.items()}
            model.decode(model.encode(*arguments(preset)), points)
        else:
            model(*arguments(preset))
    hub_stem = source.name == "hub" and "conv" in preset.name  # 3,025 inputs in place of 3,136
    assert counter.get_total_flops() / 1e9 == pytest.approx(preset.gflop, rel=0.02 if hub_stem else 0.005)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_the_port_s_configuration_says_the_same(preset):
    model = on_meta(preset, SOURCES["hub"])
    config = configured(model)
    assert config["architectures"] == [preset.architecture]
    assert understood(config, "here")[0] == preset.sizes("hub")


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_transformers_makes_the_same_model_of_it(preset):
    import transformers

    config = transformers.PerceiverConfig.from_dict(configured(on_meta(preset, SOURCES["hub"])))
    with torch.device("meta"):
        theirs = getattr(transformers, preset.architecture)(config)
    ours = {name.hub for name in names(preset.sizes("hub"))}
    assert theirs.state_dict().keys() == ours


def test_models_are_listed():
    rows = published.models()
    assert [row["name"] for row in rows] == list(PRESETS)
    assert all(list(row) == ["name", "parameters", "inputs", "outputs", "licence", "bytes"] for row in rows)
    assert rows[0]["parameters"] == 201_108_230
    assert rows[0]["bytes"] == 4 * 201_108_230


def test_the_two_stems_differ():
    image = torch.zeros(1, 3, 224, 224)
    shapes = {name: SOURCES[name].stem(2)(image).shape[-2:] for name in SOURCES}
    assert shapes == {"original": (56, 56), "hub": (55, 55)}


def test_nothing_of_transformers_is_needed():
    code = "import sys; import perceivers.published; assert not {'transformers', 'huggingface_hub'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
