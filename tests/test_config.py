import math
from dataclasses import replace

import pytest

from perceivers.errors import BadInput
from perceivers.training import defaults
from perceivers.training.config import Architecture, Config, Training, read_config
from perceivers.training.folder import RunFolder
from perceivers.training.train import train

BAD = {
    "minutes = 0": {"minutes": 0},
    "minutes = -1": {"minutes": -1},
    "minutes = nan": {"minutes": math.nan},
    "minutes = inf": {"minutes": math.inf},
    "steps = 0": {"steps": 0},
    "steps = 2.5": {"steps": 2.5},
    "size = 'huge'": {"size": "huge"},
    "training.lr = -1": {"training": Training(lr=-1)},
    "training.batch_size = 0": {"training": Training(batch_size=0)},
    "training.average = 1": {"training": Training(average=1)},
    "training.drop_path = 1": {"training": Training(drop_path=1)},
    "training.clip = 0": {"training": Training(clip=0)},
    "training.workers = -1": {"training": Training(workers=-1)},
    "training.small = 1": {"training": Training(small=1)},
    "training.precision = 'float16'": {"training": Training(precision="float16")},
    "architecture.num_latents = 0": {"architecture": Architecture(num_latents=0)},
    "architecture.self_heads = True": {"architecture": Architecture(self_heads=True)},
}


@pytest.mark.parametrize("words", BAD)
def test_a_bad_value_is_named(words):
    with pytest.raises(BadInput, match=f"^{words}.*: expected"):
        Config(**BAD[words])


def test_heads_must_divide_a_latent_at_a_size_that_the_data_may_choose():
    for architecture in (Architecture(self_heads=7), Architecture(cross_heads=3), Architecture(latent_channels=30)):
        with pytest.raises(BadInput, match=r"architecture\.(self|cross)_heads = \d: latent_channels = "):
            defaults.check(Config(architecture=architecture))
    defaults.check(Config(architecture=Architecture(self_heads=7, latent_channels=21)))
    wide = Architecture(self_heads=128)  # small has so many channels, tiny has not
    defaults.check(Config(architecture=wide))
    with pytest.raises(BadInput, match="latent_channels = 64"):
        defaults.check(Config(size="tiny", architecture=wide))


def test_a_bad_value_is_met_before_another_run(tmp_path):
    with RunFolder(tmp_path / "run", {"fingerprint": "", "steps": 5}, 0.0) as folder:
        folder.write_config({}, {})
    with pytest.raises(BadInput, match="self_heads = 7"):
        train("sample:wine", out=tmp_path / "run", config=Config(architecture=Architecture(self_heads=7)))
    with pytest.raises(BadInput, match="steps: 5, now 6"):
        train("sample:wine", out=tmp_path / "run", config=Config(steps=6))


def test_yaml_is_read_as_a_person_means_it(tmp_path):
    file = tmp_path / "options.yaml"
    file.write_text("training: {lr: 1e-3}\nminutes: 2\n")
    assert read_config(file) == replace(Config(minutes=2), training=Training(lr=0.001))
    for text, words in (
        ("steps: many", "steps = 'many': expected a whole number"),
        ("size: [tiny]", "expected tiny or"),
    ):
        file.write_text(text)
        with pytest.raises(BadInput, match=words) as error:
            read_config(file)
        assert str(error.value).startswith(f"{file}: ")
