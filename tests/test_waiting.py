"""The benchmark of waiting: every generated kind is read as what it is, and decoded anew where that is asked."""

import pytest

from benchmarks import waiting

MODALITIES = {
    "off": "points",
    "stl": "points",
    "xyz": "points",
    "ply": "points",
    "volumes": "array",
    "csv": "events",
    "events": "events",
}


@pytest.mark.parametrize("kind", MODALITIES)
def test_kinds_are_read_as_what_they_are_and_forgotten(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(waiting, "FILES", 16)
    make, _ = waiting.KINDS[kind]
    make(tmp_path, waiting.ENDINGS.get(kind, kind), tmp_path)
    data = waiting.prepared(tmp_path)
    (field,) = data.schema.inputs
    assert field.modality == MODALITIES[kind]
    assert not data.rows.failed
    column = data.rows.columns[field.name]
    row = int(data.parts["train"][0])
    assert column[row] is column[row]
    waiting.forget(data)
    assert column[row] is not column[row]


def test_the_page_says_what_was_measured_and_what_was_not():
    one = {"step": 0.25, "waiting": 0.031}
    found = {"read": 0.002, "kept": one, "anew": {**one, "waiting": 0.12}, "steps": 8, "cores": 1}
    lines = waiting.page({"flac": found}).splitlines()
    row = "| flac | sound, 8 to 16 kHz | 256 ms | 1 | 250 ms | **3.1%** | 250 ms | **12.0%** |"
    assert row in lines
    assert "| mp3 | sound, 8 to 16 kHz | not run |" in lines
