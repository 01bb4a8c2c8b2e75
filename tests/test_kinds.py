"""Sounds, clouds and arrays as a user meets them: a folder is trained on, damage is named, answers are explained."""

import numpy as np
import pytest
import soundfile

import perceivers as pv
from perceivers.data.shapes import SURFACES

RNG = np.random.default_rng(0)


def tone(path, kind):
    time = np.arange(RNG.integers(1_000, 3_000)) / 8_000
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * {"a": 200, "b": 1_500}[kind] * time), 8_000)


def cloud(path, kind):
    np.savetxt(path, SURFACES[{"a": "cube", "b": "spring"}[kind]](int(RNG.integers(30, 90)), RNG))


def volume(path, kind):
    space = RNG.normal(size=(int(RNG.integers(5, 9)), 7, 6))
    np.save(path, space + (2 if kind == "a" else -2) * (np.arange(6) < 3))


def damage(path):
    path.write_bytes(path.read_bytes()[:30] if path.suffix == ".wav" else b"")


@pytest.mark.parametrize(
    ("modality", "ending", "write"), [("audio", "wav", tone), ("points", "xyz", cloud), ("array", "npy", volume)]
)
def test_a_folder_of_files(tmp_path, monkeypatch, modality, ending, write):
    monkeypatch.chdir(tmp_path)
    paths = {kind: [tmp_path / "data" / kind / f"{i}.{ending}" for i in range(12)] for kind in "ab"}
    for kind, names in paths.items():
        names[0].parent.mkdir(parents=True)
        for path in names:
            write(path, kind)
    damage(paths["a"][3])
    model = pv.fit("data", steps=3, size="tiny", out=tmp_path / "run")
    assert model.schema["path"].modality == modality
    assert model.report.read_text(encoding="utf-8").count("<svg") >= 4  # examples, drawn
    again = pv.load(tmp_path / "run")
    whole = [str(paths["b"][5]), str(paths["a"][5])]
    found = again.predict(whole)
    np.testing.assert_array_equal(found["class_probability"], model.predict(whole)["class_probability"])
    frame = again.predict([whole[0], str(paths["a"][3])])
    assert frame["class"].to_list()[1] is None
    assert f"3.{ending}: " in frame["error"][1]
    (explanation,) = again.explain(whole[:1])
    (field,) = explanation.fields
    assert field.weights.sum() == pytest.approx(1, abs=1e-4)
    assert field.shaded().html().startswith("<svg")


def test_a_sound_a_cloud_and_a_number_in_one_row(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = ["heard,scan,weight,kind"]
    for number in range(24):
        kind = "ab"[number % 2]
        tone(tmp_path / f"{number}.wav", kind)
        cloud(tmp_path / f"{number}.xyz", kind)
        lines.append(f"{number}.wav,{number}.xyz,{RNG.normal():.2f},{kind}")
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    model = pv.fit("rows.csv", target="kind", steps=3, size="tiny", out=tmp_path / "run")
    assert {f.name: f.modality for f in model.schema.inputs} == {"heard": "audio", "scan": "points", "weight": "number"}
    row = {"heard": "3.wav", "scan": "3.xyz", "weight": 0.5}
    missing = {**row, "scan": None}
    found = pv.load(tmp_path / "run").predict([row, missing, {**row, "heard": "gone.wav"}])
    assert found["kind"].is_null().to_list() == [False, False, True]
    assert "gone.wav: no such file" in found["error"][2]
    assert found["kind_probability"][0] != found["kind_probability"][1]
    (explanation,) = model.explain([row])
    assert sum(field.share for field in explanation.fields) == pytest.approx(1)
