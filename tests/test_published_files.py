"""The original's files: what is read, and what is refused without running anything."""

import codecs
import pickle
import sys
import types
from collections import OrderedDict

import numpy as np
import pytest
import torch
from numpy._core import numeric
from reduced import GOLDENS, REDUCED

from perceivers.errors import BadInput
from perceivers.published import load, load_original, unpickle
from perceivers.published.names import names
from perceivers.published.unpickle import read_haiku

FLOW = GOLDENS / "optical_flow.pickle"


@pytest.fixture
def parameters():
    with FLOW.open("rb") as file:
        return pickle.load(file)


def write(path, content, protocol=4):
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_of_pickle(protocol, parameters, tmp_path):
    expected = read_haiku(FLOW)
    found = read_haiku(write(tmp_path / "a.pickle", parameters, protocol))
    assert found.keys() == expected.keys()
    assert all(np.array_equal(array, expected[name]) for name, array in found.items())


def test_haiku_s_flat_mapping_is_read_as_a_dict(parameters, tmp_path, monkeypatch):
    module = types.ModuleType("haiku._src.data_structures")

    class FlatMapping(dict):
        def __reduce__(self):
            return FlatMapping, (dict(self),)

    FlatMapping.__module__, FlatMapping.__qualname__ = module.__name__, "FlatMapping"
    module.FlatMapping = FlatMapping
    for name in ("haiku", "haiku._src", module.__name__):
        monkeypatch.setitem(sys.modules, name, module)
    mapping = FlatMapping({name: FlatMapping(part) for name, part in parameters.items()})
    path = write(tmp_path / "a.pystate", mapping)
    monkeypatch.delitem(sys.modules, module.__name__)
    model, expected = load_original(path, REDUCED["optical_flow"]), load_original(FLOW, REDUCED["optical_flow"])
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), expected.parameters(), strict=True))


class Runs:
    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.mark.parametrize(
    "attack",
    [
        lambda path: Runs(open, str(path), "w"),
        lambda path: Runs(eval, f"open({str(path)!r}, 'w')"),
        lambda path: Runs(exec, f"open({str(path)!r}, 'w')"),
        lambda path: Runs(__import__("os").system, f"touch {path}"),
        lambda path: Runs(getattr, "text", "upper"),
        lambda path: Runs(np.save, str(path), 1),
        lambda path: {"a": {"b": Runs(open, str(path), "w")}},
        lambda path: {"a": {"b": np.array([Runs(open, str(path), "w")], dtype=object)}},
        lambda path: OrderedDict(a=1),
        lambda path: torch.zeros(2),
    ],
)
def test_code_and_other_classes_are_refused_and_nothing_runs(attack, tmp_path):
    path = write(tmp_path / "a.pickle", attack(tmp_path / "ran"))
    with pytest.raises(BadInput, match="refused as a file of parameters: it names") as error:
        load(path)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "arguments", [("text", "rot13"), ("text", "utf-7"), (b"text", "latin1"), ("text",), ("東", "latin1")]
)
def test_nothing_but_bytes_goes_through_the_codec(arguments, tmp_path):
    with pytest.raises(BadInput, match="refused as a file of parameters"):
        read_haiku(write(tmp_path / "a.pickle", {"a": {"b": Runs(codecs.encode, *arguments)}}))


def test_a_name_that_comes_twice_is_refused(tmp_path):
    path = write(tmp_path / "a.pickle", {"a": {"b/w": np.zeros(3)}, "a/b": {"w": np.ones(3)}})
    with pytest.raises(BadInput, match="a/b/w stands there twice"):
        read_haiku(path)


@pytest.mark.parametrize(
    "name", ["_codecs\nencode", "numpy._core.numeric\n_frombuffer", "haiku.data_structures\nFlatMapping"]
)
def test_a_pickle_changes_nothing_of_what_reads_it(name, tmp_path):
    """Its BUILD step would set an attribute of a function or class that the next file is read with."""
    path = tmp_path / "a.pickle"
    state = pickle.NONE + pickle.EMPTY_DICT + b"\x8c\x07__doc__" + b"\x8c\x07changed" + pickle.SETITEM + pickle.TUPLE2
    path.write_bytes(b"\x80\x04" + pickle.GLOBAL + name.encode() + b"\n" + state + pickle.BUILD + pickle.STOP)
    with pytest.raises(BadInput, match="refused as a file of parameters"):
        read_haiku(path)
    assert "changed" not in {unpickle._latin1.__doc__, numeric._frombuffer.__doc__, dict.__doc__}


def test_a_name_that_reaches_through_a_module_is_refused(tmp_path):
    path = tmp_path / "a.pickle"
    path.write_bytes(b"\x80\x04\x8c\x05numpy\x8c\x0fndarray.__base__\x93.")
    with pytest.raises(BadInput, match="refused"):
        read_haiku(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list, expected a dict"),
        ({"a": 1}, "holds a int where"),
        ({"a": {"b": np.array(["text"])}}, "a/b holds <U4, expected numbers"),
        ({"a": {"b": np.array([None, 1], dtype=object)}}, "a/b holds object, expected numbers"),
        ({"a": {"b": np.zeros(3)}}, "missing"),
    ],
)
def test_what_is_not_a_file_of_parameters(content, message, tmp_path):
    with pytest.raises(BadInput, match=message):
        load(write(tmp_path / "a.pickle", content))


@pytest.mark.parametrize("kept", [0, 1, 100, 50_000])
def test_a_cut_file(kept, tmp_path):
    path = tmp_path / "a.pystate"
    path.write_bytes(FLOW.read_bytes()[:kept])
    with pytest.raises(BadInput, match="refused as a file of parameters"):
        load(path)


def test_missing_unexpected_and_misshapen_parameters_are_named(parameters, tmp_path):
    del parameters["flow_decoder/~/basic_decoder/output"]["b"]
    parameters["else"] = {"w": np.zeros(3)}
    parameters["image_preprocessor/patches_linear"]["w"] = np.zeros((16, 54), np.float32)
    path = write(tmp_path / "a.pickle", parameters)
    with pytest.raises(BadInput) as error:
        load_original(path, REDUCED["optical_flow"])
    message = str(error.value)
    assert "1 missing: flow_decoder/~/basic_decoder/output/b" in message
    assert "1 unexpected: else/w" in message
    assert "1 misshapen: image_preprocessor/patches_linear/w (54, 16) instead of (16, 54)" in message
    assert "in PyTorch's layout" in message


@pytest.mark.parametrize("name", REDUCED)
def test_which_of_the_six_it_is_stands_in_its_names(name):
    """At reduced sizes no published model fits, but the error compares with the right one."""
    expected = {one.original for one in names(REDUCED[name])}
    with pytest.raises(BadInput, match="misshapen") as error:
        load(GOLDENS / f"{name}.pickle")
    assert "unexpected" not in str(error.value)
    assert any(one in str(error.value) for one in expected)
