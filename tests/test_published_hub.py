"""The six models of the hub source against `transformers`, with the same random weights, there and back."""

import json
import math
import shutil
from dataclasses import replace

import pytest
import torch
from naive import relative
from reduced import GOLDENS, REDUCED
from safetensors.torch import load_file, save_file

from perceivers.core.attention import record_attention
from perceivers.core.inputs import join
from perceivers.errors import BadInput
from perceivers.published import export_hub, load, load_original
from perceivers.published.config import understood
from perceivers.published.flow import neighbourhoods
from perceivers.published.models import make
from perceivers.published.sources import ORIGINAL

SMALL = {
    "num_latents": 7,
    "d_latents": 32,
    "num_self_attends_per_block": 2,
    "num_self_attention_heads": 4,
    "num_cross_attention_heads": 1,
}
CONFIGS = {
    "PerceiverForMaskedLM": {
        **SMALL,
        "num_cross_attention_heads": 4,
        "d_model": 24,
        "qk_channels": 16,
        "v_channels": 32,
        "max_position_embeddings": 37,
    },
    "PerceiverForImageClassificationFourier": {**SMALL, "num_blocks": 3, "num_labels": 11, "d_model": 261},
    "PerceiverForImageClassificationLearned": {
        **SMALL,
        "num_blocks": 3,
        "num_labels": 11,
        "image_size": 13,
        "d_model": 512,
    },
    "PerceiverForImageClassificationConvProcessing": {**SMALL, "num_blocks": 3, "num_labels": 11, "d_model": 322},
    "PerceiverForOpticalFlow": {**SMALL, "train_size": [11, 13], "d_model": 322},
    "PerceiverForMultimodalAutoencoding": {
        **SMALL,
        "num_labels": 5,
        "image_size": 3,
        "num_frames": 2,
        "audio_samples_per_frame": 48,
        "output_shape": [1, 2, 12, 12],
        "output_num_channels": 17,
        "_label_trainable_num_channels": 19,
        "d_model": 405,
    },
}
LANGUAGE = "PerceiverForMaskedLM"


@pytest.fixture(scope="module", params=CONFIGS)
def architecture(request):
    return request.param


@torch.no_grad()
def randomise(model):
    """Every tensor random, batch-norm state too, at a scale that keeps activations about 1."""
    for name, tensor in model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            tensor.fill_(7)
        elif name.endswith("running_var"):
            tensor.copy_(torch.rand_like(tensor) + 0.5)
        elif tensor.ndim > 1 and name.endswith("weight") and "embedding" not in name:
            tensor.normal_(std=tensor[0].numel() ** -0.5)
        else:
            tensor.add_(0.2 * torch.randn_like(tensor))


def theirs(architecture, **changes):
    """A model of `transformers` with random weights."""
    import transformers

    torch.manual_seed(23)
    config = transformers.PerceiverConfig(**{**CONFIGS[architecture], **changes}, attn_implementation="eager")
    model = getattr(transformers, architecture)(config).eval()
    randomise(model)
    return model


@pytest.fixture(scope="module")
def folder(architecture, tmp_path_factory):
    place = tmp_path_factory.mktemp("hub") / "model"
    theirs(architecture).save_pretrained(place)
    return place


def arguments(architecture):
    """The same arguments for ours and for theirs."""
    torch.manual_seed(29)
    if architecture == "PerceiverForMaskedLM":
        ids, mask = torch.randint(262, (4, 37)), torch.rand(4, 37) < 0.6
        mask[0], mask[1] = True, False  # everything seen, and nothing
        return (ids, mask), {"inputs": ids, "attention_mask": mask.long()}
    if architecture == "PerceiverForOpticalFlow":
        patches = neighbourhoods(torch.rand(2, 2, 3, 11, 13) * 2 - 1)
        return (patches,), {"inputs": patches}
    if architecture == "PerceiverForMultimodalAutoencoding":
        video, audio = torch.rand(2, 2, 3, 12, 12), torch.randn(2, 96)
        inputs = {"image": video, "audio": audio[..., None], "label": torch.zeros(2, 5)}
        points = {"image": torch.arange(2 * 12 * 12), "audio": torch.arange(6)}
        return (video, audio), {"inputs": inputs, "subsampled_output_points": points}
    size = 13 if architecture.endswith("Learned") else 29
    images = torch.randn(2, 3, size, size)
    return (images,), {"inputs": images}


def flattened(output):
    """Ours or theirs as a dict of arrays, the video as a list of pixels."""
    if not isinstance(output, dict):
        return {"logits": output}
    output = dict(output)
    if "video" in output:
        output["image"] = output.pop("video").permute(0, 1, 3, 4, 2).flatten(1, 3)
    return output


@torch.no_grad()
def test_outputs_and_arrays_on_the_way(architecture, folder):
    ours, their = load(folder), theirs(architecture)
    mine, others = arguments(architecture)
    expected = their(**others, output_hidden_states=True)
    for name, value in flattened(ours(*mine)).items():
        answer = expected.logits if name == "logits" else expected.logits[name]
        assert relative(value, answer) < 1e-5, name
    array = ours.inputs(mine[0]) if architecture != "PerceiverForMultimodalAutoencoding" else ours.inputs(*mine)
    their_array = their.perceiver.input_preprocessor(others["inputs"])[0]
    assert relative(join(array), their_array) < 1e-5
    mask = mine[1] if architecture == "PerceiverForMaskedLM" else None
    latents = ours.perceiver.encode(array, mask)
    assert relative(latents, expected.hidden_states[0]) < 1e-5
    assert relative(ours.perceiver.process(latents), expected.hidden_states[-1]) < 1e-5


@torch.no_grad()
def test_attention_that_is_recorded_is_theirs(architecture, folder):
    ours, their = load(folder), theirs(architecture)
    mine, others = arguments(architecture)
    expected = their(**others, output_attentions=True)
    if architecture == "PerceiverForMultimodalAutoencoding":
        with record_attention(ours) as weights:
            ours.encode(*mine)
    else:
        with record_attention(ours) as weights:
            ours(*mine)
        assert relative(weights["perceiver.decoder.attention"][0], expected.cross_attentions[-1]) < 1e-5
    assert relative(weights["perceiver.encoder.attention"][0], expected.cross_attentions[0]) < 1e-5
    assert relative(weights["perceiver.block.0.attention"][0], expected.attentions[0]) < 1e-5


@torch.no_grad()
def test_written_for_the_hub_it_is_the_same_model(architecture, folder, tmp_path):
    import transformers

    ours = load(folder)
    written = export_hub(ours, tmp_path / "written")
    again, info = getattr(transformers, architecture).from_pretrained(
        written, attn_implementation="eager", output_loading_info=True
    )
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    before, after = load_file(folder / "model.safetensors"), load_file(written / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    mine, others = arguments(architecture)
    expected = again.eval()(**others).logits
    for name, value in flattened(ours(*mine)).items():
        assert relative(value, expected if name == "logits" else expected[name]) < 1e-5, name


@torch.no_grad()
@pytest.mark.parametrize("architecture", [name for name in CONFIGS if not name.endswith(("Learned", "ConvProcessing"))])
def test_of_the_original_s_models_four_can_be_written_for_the_hub(architecture, tmp_path):
    """Equal, with the port's frequencies; the original's `linspace` rounds their last bits differently.

    At full size those move outputs by less than 1e-5 (docs/parity.md); in sizes as small as these, by up to 4e-5.
    """
    import transformers

    config = transformers.PerceiverConfig(**CONFIGS[architecture], architectures=[architecture]).to_dict()
    model = make(understood(config, "here")[0], ORIGINAL)
    torch.manual_seed(23)
    randomise(model)
    same_frequencies = make(model.sizes, replace(ORIGINAL, linspace=torch.linspace))
    same_frequencies.load_state_dict(model.state_dict())
    export_hub(model, tmp_path / "out")
    assert json.loads((tmp_path / "out/config.json").read_text())["hidden_act"] == "gelu_pytorch_tanh"
    port = getattr(transformers, architecture).from_pretrained(tmp_path / "out", attn_implementation="eager")
    mine, others = arguments(architecture)
    expected = port.eval()(**others).logits
    answers = expected if isinstance(expected, dict) else {"logits": expected}
    for ours, tolerance in ((same_frequencies, 1e-5), (model, 4e-5)):
        for name, value in flattened(ours(*mine)).items():
            text = (
                mine[1] if architecture == LANGUAGE else ...
            )  # where there is none, the original's queries see nothing
            assert relative(value[text], answers[name][text]) < tolerance, name


def test_the_activation_is_what_the_config_says(tmp_path):
    architecture = "PerceiverForImageClassificationFourier"
    (mine,), others = arguments(architecture)
    for activation in ("gelu", "gelu_pytorch_tanh", "gelu_new"):
        model = theirs(architecture, hidden_act=activation)
        model.save_pretrained(tmp_path / activation)
        with torch.no_grad():
            assert relative(load(tmp_path / activation)(mine), model(**others).logits) < 2e-6, activation


@pytest.mark.parametrize("name", ["imagenet_learned", "imagenet_conv"])
def test_what_the_port_cannot_say_is_refused(name, tmp_path):
    model = load_original(GOLDENS / f"{name}.pickle", REDUCED[name])
    with pytest.raises(BadInput, match="the port"):
        export_hub(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_models_are_refused(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.json").write_text(json.dumps({"format": 1, "perceiver": {}, "schema": {}}))
    with pytest.raises(BadInput, match=r"run: a model trained here.*cannot be written for the Hub"):
        load(tmp_path / "run")
    with pytest.raises(BadInput, match="a Linear has no counterpart in transformers"):
        export_hub(torch.nn.Linear(2, 3), tmp_path / "out")


def test_sizes_that_the_port_cannot_be_told_are_refused(tmp_path):
    model = load_original(GOLDENS / "imagenet_fourier.pickle", REDUCED["imagenet_fourier"])
    with pytest.raises(BadInput, match=r"cannot be told these sizes: .*num_bands 6 \(it has 64\)"):
        export_hub(model, tmp_path / "out")


def test_a_folder_that_is_there_is_left_alone(folder, tmp_path):
    (tmp_path / "mine").write_text("x")
    with pytest.raises(BadInput, match="is there already"):
        export_hub(load(folder), tmp_path)
    assert (tmp_path / "mine").read_text() == "x"


# What can be wrong with a folder. -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    place = tmp_path_factory.mktemp("whole") / "model"
    theirs(LANGUAGE).save_pretrained(place)
    return place


@pytest.fixture
def broken(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "broken")


def rewritten(folder, change):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def test_a_missing_renamed_and_misshapen_tensor_are_named(broken):
    def change(tensors):
        del tensors["perceiver.embeddings.latents"]
        tensors["embedding_decoder.bais"] = tensors.pop("embedding_decoder.bias")
        tensors["perceiver.encoder.cross_attention.layernorm.bias"] = torch.zeros(31)

    rewritten(broken, change)
    with pytest.raises(BadInput) as error:
        load(broken)
    message = str(error.value)
    assert "\n" not in message
    assert "2 missing: embedding_decoder.bias, perceiver.embeddings.latents" in message
    assert "1 unexpected: embedding_decoder.bais" in message
    assert "perceiver.encoder.cross_attention.layernorm.bias (31,) instead of (32,)" in message


@pytest.mark.parametrize("kept", [0, 5, 100, 20_000])
def test_a_cut_file_is_refused(broken, kept):
    path = broken / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(BadInput, match="not a whole safetensors file"):
        load(broken)


def test_a_tampered_header_is_refused(broken):
    path = broken / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:8] + data[8:].replace(b'"data_offsets":[', b'"data_offsets":[9', 1))
    with pytest.raises(BadInput, match="not a whole safetensors file"):
        load(broken)


def test_a_doubled_tensor_is_refused(broken):
    path = broken / "model.safetensors"
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length].decode().rstrip()
    entry = json.dumps(json.loads(header)["embedding_decoder.bias"])
    header = header[:-1] + f',"embedding_decoder.bias":{entry}}}'
    path.write_bytes(len(header.encode()).to_bytes(8, "little") + header.encode() + data[8 + length :])
    with pytest.raises(BadInput, match=r"embedding_decoder\.bias stands twice"):
        load(broken)


def test_shards(broken, whole):
    tensors = load_file(broken / "model.safetensors")
    (broken / "model.safetensors").unlink()
    half = len(tensors) // 2
    shards = {
        "model-1.safetensors": dict(list(tensors.items())[:half]),
        "model-2.safetensors": dict(list(tensors.items())[half:]),
    }
    index = {"weight_map": {name: shard for shard, part in shards.items() for name in part}}
    for shard, part in shards.items():
        save_file(part, broken / shard)
    place = broken / "model.safetensors.index.json"
    place.write_text(json.dumps(index))
    expected = load(whole).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in load(broken).state_dict().items())

    save_file(
        shards["model-2.safetensors"] | {"embedding_decoder.bias": torch.zeros(262)}, broken / "model-1.safetensors"
    )
    with pytest.raises(BadInput, match="which the index does not place there"):
        load(broken)
    place.write_text(json.dumps({"weight_map": {"a": "../../elsewhere.safetensors"}}))
    with pytest.raises(BadInput, match="not a file beside it"):
        load(broken)
    place.write_text("{}")
    with pytest.raises(BadInput, match="not an index of shards"):
        load(broken)


def test_bin_files(broken, whole):
    tensors = load_file(broken / "model.safetensors")
    (broken / "model.safetensors").unlink()
    torch.save(tensors, broken / "pytorch_model.bin")
    expected = load(whole).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in load(broken).state_dict().items())


class Touch:
    """Its pickle makes a file when it is read by an ordinary unpickler."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_bin_file_with_code_is_refused_and_nothing_runs(broken, tmp_path):
    (broken / "model.safetensors").unlink()
    torch.save({"embedding_decoder.bias": Touch(tmp_path / "ran")}, broken / "pytorch_model.bin")
    with pytest.raises(BadInput, match="refused as a file of weights") as error:
        load(broken)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists()


def test_a_bin_file_of_something_else_is_refused(broken):
    (broken / "model.safetensors").unlink()
    torch.save([torch.zeros(3)], broken / "pytorch_model.bin")
    with pytest.raises(BadInput, match="is not tensors by name"):
        load(broken)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "bert"}, "a folder of another model"),
        (
            {"architectures": ["PerceiverForSequenceClassification"]},
            "architecture PerceiverForSequenceClassification is none",
        ),
        ({"hidden_act": "relu"}, "hidden_act 'relu' is none of"),
        ({"cross_attention_shape_for_attention": "q"}, "the published models have 'kv'"),
        ({"num_latents": 8}, r"1 misshapen: perceiver\.embeddings\.latents \(7, 32\) instead of \(8, 32\)"),
        ({"num_self_attends_per_block": 1}, "16 unexpected"),
        ({"num_self_attention_heads": 5}, "cannot be divided among 5 heads"),
        ({"d_model": "wide"}, "sizes"),
        ({"num_latents": -1}, "no model can be made of its sizes"),
        ({"architectures": ["PerceiverForOpticalFlow"], "train_size": [3]}, "its sizes cannot be read"),
    ],
)
def test_a_config_of_another_model_or_against_its_weights(change, message, broken):
    path = broken / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BadInput, match=message) as error:
        load(broken)
    assert "\n" not in str(error.value)


def test_an_empty_folder_a_stray_file_and_an_unknown_name(tmp_path):
    with pytest.raises(BadInput, match=r"config\.json: cannot be read"):
        load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "perceiver", "architectures": [LANGUAGE]}))
    with pytest.raises(BadInput, match="no weights there"):
        load(tmp_path)
    with pytest.raises(BadInput, match="not one of the original's files"):
        load(tmp_path / "config.json")
    with pytest.raises(BadInput, match="no published model"):
        load("deepmind/language")
    with pytest.raises(BadInput, match="no published model; did you mean 'deepmind/language-perceiver'"):
        load("language-percever")


def test_names_of_classes_are_kept(tmp_path):
    architecture = "PerceiverForImageClassificationFourier"
    model = theirs(architecture)
    model.config.id2label = {i: f"class {i}" for i in range(11)}
    model.save_pretrained(tmp_path / "a")
    ours = load(tmp_path / "a")
    assert ours.labels[10] == "class 10"
    assert load(export_hub(ours, tmp_path / "b")).labels == ours.labels


def test_names_of_classes_that_leave_one_out_are_refused(tmp_path):
    theirs("PerceiverForImageClassificationFourier").save_pretrained(tmp_path / "a")
    path = tmp_path / "a/config.json"
    names = {str(i): "x" for i in range(10)} | {"12": "y"}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"id2label": names}))
    with pytest.raises(BadInput, match="id2label must name every class from 0 to 10"):
        load(tmp_path / "a")


def test_half_precision_files_become_float32(broken):
    rewritten(broken, lambda tensors: tensors.update({name: tensor.half() for name, tensor in tensors.items()}))
    assert {tensor.dtype for tensor in load(broken).state_dict().values()} == {torch.float32}


def test_integers_are_no_weights(broken):
    rewritten(broken, lambda tensors: tensors.update({"embedding_decoder.bias": torch.zeros(262, dtype=torch.int8)}))
    with pytest.raises(
        BadInput, match=r"1 of another kind: embedding_decoder\.bias torch\.int8 instead of torch\.float32"
    ):
        load(broken)


def test_the_loaded_model_can_be_trained(whole):
    model = load(whole)
    ids, mask = arguments(LANGUAGE)[0]
    model.train()(ids, mask).square().mean().backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert all(gradient is not None and math.isfinite(gradient.abs().sum()) for gradient in gradients.values())


def test_changing_the_loaded_model_leaves_its_file(whole):
    path = whole / "model.safetensors"
    before = path.read_bytes()
    model = load(whole)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.add_(1)
    assert path.read_bytes() == before
    assert torch.allclose(model.bias - 1, load(whole).bias, atol=1e-6)
