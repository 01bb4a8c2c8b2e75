"""Names of published models, against a stand-in for the Hub on this machine."""

import hashlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import torch
from huggingface_hub import constants
from test_jobs import LANGUAGE, hub_model

from perceivers.errors import BadInput
from perceivers.published import export_hub, load

NAME, COMMIT = "deepmind/language-perceiver", "c" * 40


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """(what the Hub serves by name, the requests it got); `HF_HOME` is empty."""
    files, asked = {}, []

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer(body=False)

        def do_GET(self):
            self.answer(body=True)

        def answer(self, body):
            asked.append(f"{self.command} {self.path}")
            content = files.get(self.path.rsplit("/", 1)[1])
            self.send_response(404 if content is None else 200)
            self.send_header("X-Repo-Commit", COMMIT)
            if content is None:
                self.send_header("X-Error-Code", "EntryNotFound")
            else:
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            if body and content is not None:
                self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    yield files, asked
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("kind", ["model.safetensors", "pytorch_model.bin"])
def test_a_name_is_fetched_from_the_hub_and_then_found_in_the_cache(hub, tmp_path, kind):
    files, asked = hub
    folder = export_hub(hub_model(LANGUAGE), tmp_path / "folder")
    expected = load(folder)
    if kind == "pytorch_model.bin":
        from safetensors.torch import load_file

        torch.save(load_file(folder / "model.safetensors"), folder / kind)
    files |= {name: (folder / name).read_bytes() for name in ("config.json", kind)}
    for _ in range(2):
        found = load(NAME).state_dict()
        assert all(torch.equal(tensor, found[name]) for name, tensor in expected.state_dict().items())
    assert asked.count(f"GET /{NAME}/resolve/{COMMIT}/{kind}") + asked.count(f"GET /{NAME}/resolve/main/{kind}") == 1
    files.clear()
    before = len(asked)
    load(NAME)
    assert len(asked) == before


def test_a_name_that_is_nowhere_says_what_to_download(hub, monkeypatch):
    message = (
        r"not in the Hub's cache, .*, and the Hub cannot be reached \(.*\): download config.json and model.safetensors "
        r"or pytorch_model.bin \(804 MB\) from https://huggingface.co/deepmind/language-perceiver/tree/main"
    )
    with pytest.raises(BadInput, match=message):
        load(NAME)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(BadInput, match=message):
        load(NAME)
