"""Backends by name: ours, those of other packages, and what is said of names that are neither."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lvlm_va.backends import (
    AnthropicBackend,
    Capabilities,
    HFBackend,
    OpenAIBackend,
    ScriptedBackend,
    load_backend,
)
from tests.backends.inner import ask, texts
from tests.serving import FaultServer


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a package with these entry points, name to the body of its loader."""

    def install(**bodies: str) -> None:
        info = tmp_path / "shiny-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shiny\nVersion: 1.0\n")
        lines = [f"{name} = shiny_backends:{name}" for name in bodies]
        (info / "entry_points.txt").write_text("\n".join(["[lvlm_va.backends]", *lines]))
        code = ["from lvlm_va.backends import *"]
        code += [
            f"def {name}(rest, *, allow_remote, **options):\n    {body}" for name, body in bodies.items()
        ]
        (tmp_path / "shiny_backends.py").write_text("\n".join(code))
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "shiny_backends", raising=False)

    return install


def test_a_folder_in_this_process(tiny_folder):
    backend = load_backend(f"hf:{tiny_folder('llava')}", batch_size=3)
    assert isinstance(backend, HFBackend)
    assert backend.capabilities.batch_size == 3


def test_a_server_by_its_address():
    with FaultServer() as server:
        backend = load_backend(f"{server.url}#some/model:7b", timeout=5.0)
        assert isinstance(backend, OpenAIBackend)
        assert texts(backend.complete([ask("Hello.")])) == ["Hello."]
        assert server.asked[0].body["model"] == "some/model:7b"
        other = load_backend("openai:gpt-x", base_url=server.url)
        assert texts(other.complete([ask("Hello.")])) == ["Hello."]


def test_hosted_models_need_leave():
    for spec in ("openai:gpt-x", "anthropic:claude-x", "https://example.org/v1#m", "http://192.0.2.1/v1#m"):
        with pytest.raises(ValueError, match="'allow_remote' argument must be True"):
            load_backend(spec, api_key="k")
    assert isinstance(load_backend("openai:gpt-x", api_key="k", allow_remote=True), OpenAIBackend)
    assert isinstance(load_backend("anthropic:claude-x", api_key="k", allow_remote=True), AnthropicBackend)


def test_another_package_adds_names(installed):
    installed(shiny="return ScriptedBackend([rest, str(options)])", hf="raise AssertionError('not ours')")
    backend = load_backend("shiny:a:b#c", depth=3)
    assert isinstance(backend, ScriptedBackend)
    assert texts(backend.complete([ask(), ask()])) == ["a:b#c", "{'depth': 3}"]
    with pytest.raises(FileNotFoundError):
        load_backend("hf:/no/such/folder")


def test_what_another_package_offers_is_checked(installed):
    installed(
        thing="return rest",
        far="return ScriptedBackend([rest], capabilities=Capabilities(local=False))",
    )
    with pytest.raises(TypeError, match="'shiny_backends:thing' must return a backend.* Got str instead"):
        load_backend("thing:x")
    with pytest.raises(ValueError, match="'allow_remote' argument must be True for 'far', which sends"):
        load_backend("far:x")
    assert load_backend("far:x", allow_remote=True).capabilities == Capabilities(local=False)


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        (
            "opnai:gpt-x",
            ValueError,
            "must be one of .*'openai'.* Got 'opnai' instead. Did you mean 'openai'?",
        ),
        (
            "./folder",
            ValueError,
            "must name a kind of backend and a model, such as 'hf:PATH'.* Got './folder'",
        ),
        ("hf:", ValueError, "must say which model, as in 'hf:MODEL'. Got 'hf:'"),
        (
            "http://127.0.0.1:8000/v1",
            ValueError,
            "an address and a model, as in 'http://127.0.0.1:8000/v1#MODEL'",
        ),
        ("https:example.org#m", ValueError, "an address and a model, as in 'https://"),
        (5, TypeError, "'spec' argument must be text, such as 'hf:PATH'. Got 5"),
    ],
)
def test_specs_are_checked(spec, error, message):
    with pytest.raises(error, match=message):
        load_backend(spec)


def test_nothing_heavy_is_imported_before_it_is_needed():
    code = (
        "import sys, lvlm_va.backends as b; b.ScriptedBackend(['x']);"
        "assert not {'transformers', 'openai', 'anthropic'} & set(sys.modules), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
