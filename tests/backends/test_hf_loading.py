"""Checkpoints from folders and objects, what tells them apart, and what is wrong with some."""

from __future__ import annotations

import json
import shutil
import socket

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, LlamaConfig, LlamaForCausalLM

from lvlm_va.backends import ChatRequest, HFBackend, Turn, load_backend
from tests.backends.inner import texts
from tests.backends.tiny_folders import build

REQUEST = ChatRequest((Turn("user", ("What is it?",)),), max_tokens=8)


def pair(folder):
    return AutoModelForImageTextToText.from_pretrained(folder), AutoProcessor.from_pretrained(folder)


def test_objects_and_their_folder_give_the_same_replies(any_folder):
    model, processor = pair(any_folder)
    processor.tokenizer.padding_side = "right"
    backend = HFBackend(model, processor=processor)
    requests = [REQUEST, ChatRequest((Turn("user", ("What is it, if it is something?",)),), max_tokens=8)]
    assert texts(backend.complete(requests)) == texts(HFBackend(any_folder).complete(requests))
    assert processor.tokenizer.padding_side == "right"
    assert backend.fingerprint() == HFBackend(any_folder).fingerprint()


def test_a_name_signs_the_replies(tiny_folder):
    folder = tiny_folder("llava")
    assert HFBackend(folder).name == f"hf:{folder.name}"
    backend = load_backend(f"hf:{folder}", name="mine")
    assert (backend.name, repr(backend), backend.complete([REQUEST])[0].model) == (
        "hf:mine",
        "HFBackend('mine')",
        "mine",
    )


def test_the_fingerprint_is_of_the_content(tiny_folder, tmp_path):
    folder = tiny_folder("llava")
    first = HFBackend(folder)
    before = first.fingerprint()
    first.complete([REQUEST])
    copied = shutil.copytree(folder, tmp_path / "elsewhere")
    assert before == first.fingerprint() == HFBackend(copied, batch_size=2, name="other").fingerprint()
    others = [HFBackend(folder, dtype="bfloat16"), HFBackend(build("llava", tmp_path / "seed", seed=1))]
    model, processor = pair(folder)
    processor.chat_template = processor.chat_template.replace("<|end|>", "<|end|>\n")
    others.append(HFBackend(model, processor=processor))
    model, processor = pair(folder)
    with torch.no_grad():
        model.get_output_embeddings().weight[0, 0] += 1e-3
    others.append(HFBackend(model, processor=processor))
    model, processor = pair(folder)
    processor.image_processor.image_mean = [0.5, 0.5, 0.5]
    others.append(HFBackend(model, processor=processor))
    model, processor = pair(folder)
    model.generation_config.repetition_penalty = 1.5
    others.append(HFBackend(model, processor=processor))
    assert len({before, *(other.fingerprint() for other in others)}) == 7


def test_lower_precision_runs(any_folder):
    backend = HFBackend(any_folder, dtype=torch.bfloat16, device="cpu")
    assert backend._model.dtype == torch.bfloat16
    assert backend.complete([REQUEST])[0].usage.output_tokens == 8


def test_nothing_is_downloaded_unasked(monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name in ("nobody/nothing", str(tmp_path / "missing")):
        with pytest.raises(
            FileNotFoundError,
            match="'model' argument must be a folder with a checkpoint.*local_files_only=False",
        ):
            HFBackend(name)


def test_a_name_stands_for_the_cached_folder_and_nothing_is_looked_up(tiny_folder, tmp_path, monkeypatch):
    repo = tmp_path / "models--someone--some-model"
    shutil.copytree(tiny_folder("llava"), repo / "snapshots" / "abc")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    looked_up = []

    def lookup(host, *_, **__):
        looked_up.append(host)
        raise socket.gaierror("no network here")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    backend = load_backend("hf:someone/some-model")
    assert backend.name == "hf:some-model"
    assert texts(backend.complete([REQUEST])) == texts(HFBackend(tiny_folder("llava")).complete([REQUEST]))
    for name in ("someone/another-model", "someone/some-model/x", "some model"):
        with pytest.raises(FileNotFoundError, match="or a model in the local cache"):
            load_backend(f"hf:{name}")
    assert looked_up == []


@pytest.mark.parametrize("part", ["processor", "model"])
def test_code_of_a_checkpoint_is_not_run_and_nobody_is_asked(part, tiny_folder, tmp_path, monkeypatch):
    folder = shutil.copytree(tiny_folder("llava"), tmp_path / "own")
    (folder / "own_code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass Own: pass\n")
    names = ("processor_config.json", "tokenizer_config.json") if part == "processor" else ("config.json",)
    kinds = ("AutoProcessor", "AutoConfig", "AutoModelForImageTextToText")
    for name in names:
        content = json.loads((folder / name).read_text()) | {"model_type": "own", "processor_class": "Own"}
        content["auto_map"] = dict.fromkeys(kinds, "own_code.Own")
        (folder / name).write_text(json.dumps(content))

    def ask(question=""):
        raise AssertionError(f"asked {question!r}")

    monkeypatch.setattr("builtins.input", ask)
    with pytest.raises(
        (ValueError, TypeError), match="'model' argument must be|'processor' argument must be"
    ):
        HFBackend(folder)
    assert not (tmp_path / "ran").exists()


def test_a_bare_tokenizer_is_refused(tiny_folder, tmp_path):
    """An unknown processor class makes transformers return the tokenizer alone, without a word."""
    folder = shutil.copytree(tiny_folder("llava"), tmp_path / "bare")
    for name in ("processor_config.json", "tokenizer_config.json"):
        content = json.loads((folder / name).read_text())
        content.pop("image_processor", None)
        (folder / name).write_text(json.dumps({**content, "processor_class": "ShinyProcessor"}))
    with pytest.raises((TypeError, ValueError), match="processor"):
        HFBackend(folder)
    model, processor = pair(tiny_folder("llava"))
    with pytest.raises(TypeError, match="must be a processor for text and images. Got .*Tokenizer"):
        HFBackend(model, processor=processor.tokenizer)


def test_a_processor_that_needs_torchvision_says_so(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder("llava"), tmp_path / "qwen")
    for name in ("processor_config.json", "tokenizer_config.json"):
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**content, "processor_class": "Qwen2_5_VLProcessor"}))
    with pytest.raises(ImportError, match="The processor of .*qwen' needs torchvision. Install the build"):
        HFBackend(folder)


def test_weights_that_run_code_are_refused(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder("llava"), tmp_path / "old")
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(
        ValueError, match="must be a checkpoint .* with its processor and its weights as safetensors"
    ):
        HFBackend(folder)


def test_a_text_model_is_refused(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder("llava"), tmp_path / "text")
    config = LlamaConfig(
        hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=9
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    with pytest.raises(ValueError, match="must be a checkpoint of a vision-language model"):
        HFBackend(folder)


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        (lambda m, p: m.train(), {}, ValueError, "must be in evaluation mode.*model.eval()"),
        (lambda m, p: setattr(p, "chat_template", None), {}, ValueError, "must have a chat template"),
        (None, {"device": "cpu"}, ValueError, "must be 'auto' with a model.*Got 'cpu' and 'auto'"),
        (None, {"processor": None}, TypeError, "'processor' argument must be given with a model"),
        (None, {"batch_size": 0}, ValueError, "'batch_size' argument must be at least 1. Got 0"),
        (None, {"batch_size": 2.0}, TypeError, "'batch_size' argument must be an integer. Got 2.0"),
    ],
)
def test_arguments_are_checked(tiny_folder, change, options, error, message):
    model, processor = pair(tiny_folder("llava"))
    if change is not None:
        change(model, processor)
    with pytest.raises(error, match=message):
        HFBackend(model, **{"processor": processor, **options})


def test_names_and_types_are_checked(tiny_folder):
    with pytest.raises(ValueError, match="'dtype' argument must be one of .* Did you mean 'float32'"):
        HFBackend(tiny_folder("llava"), dtype="float")
    with pytest.raises(TypeError, match="'model' argument must be a folder, a name, or a model.* Got Linear"):
        HFBackend(torch.nn.Linear(2, 2))
