"""Nothing leaves this machine unless that is allowed, and of an image only its pixels go anywhere."""

import io
import socket
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lvlm_va.backends import AnthropicBackend, ImagePart, OpenAIBackend
from lvlm_va.backends.privacy import check_endpoint
from tests.backends.inner import ask, texts
from tests.serving import Answer, FaultServer

LOCAL = ["localhost", "LocalHost", "127.0.0.1", "127.8.9.10", "[::1]"]
REMOTE = [
    "192.0.2.1", "10.0.0.5", "0.0.0.0", "127.1", "0x7f.0.0.1", "2130706433", "127.0.0.1.example.org",
    "localhost.example.org", "localhost.", "my-localhost", "api.openai.com", "[2001:db8::1]", "[::]",
]  # fmt: skip
CLOUD = ["gpt-oss:120b-cloud", "glm-4.6:cloud", "some-model-CLOUD", "x:cloud "]
STRANGE = [
    "http://user:pass@127.0.0.1/v1", "http://127.0.0.1@192.0.2.1/v1", "http://192.0.2.1#@127.0.0.1/v1",
    "http://127.0.0.1\\@192.0.2.1/v1", "http://127.0.0.1/v1?key=3", "http://127.0.0.1/v1#x", "ftp://127.0.0.1/v1",
    "127.0.0.1:8000", "http://", "http://127.0.0.1:port/v1", "http://127.0.0.1:99999/v1", " http://127.0.0.1",
    "http://127.0.0.1/\nv1", "http://ä.example.org", "http://[::1", "//127.0.0.1/v1", "",
]  # fmt: skip


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*arguments, **_):
        raise AssertionError(f"a socket or a look-up: {arguments}")

    for name in ("socket", "getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)


@pytest.mark.parametrize("host", REMOTE)
def test_another_machine_is_refused_before_any_socket(host, no_network):
    for make in (OpenAIBackend, AnthropicBackend):
        with pytest.raises(
            ValueError, match="'allow_remote' argument must be True before .*Got False instead"
        ):
            make("tiny", base_url=f"http://{host}:8000/v1")


@pytest.mark.parametrize("make", [OpenAIBackend, AnthropicBackend])
def test_the_providers_own_hosts_are_refused_first(make, no_network, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")  # changes nothing
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:1")
    with pytest.raises(ValueError, match="the host 'api.(openai|anthropic).com', which is not this machine"):
        make("large", api_key="sk-0123456789abcdef")
    backend = make("large", api_key="sk-0123456789abcdef", allow_remote=True)
    assert not backend.capabilities.local
    assert "allow_remote=True" in repr(backend)


@pytest.mark.parametrize("model", CLOUD)
def test_models_in_ollamas_cloud_are_on_another_machine(model, no_network):
    with pytest.raises(
        ValueError, match="the servers of Ollama, where models whose names end in 'cloud' run"
    ):
        OpenAIBackend(model, base_url="http://127.0.0.1:11434/v1")
    assert not OpenAIBackend(
        model, base_url="http://127.0.0.1:11434/v1", allow_remote=True
    ).capabilities.local


@pytest.mark.parametrize("host", LOCAL)
def test_this_machine_is_allowed(host, no_network):
    backend = OpenAIBackend("cloudy:7b", base_url=f"http://{host}:8000/v1/")
    assert backend.capabilities.local
    assert backend.base_url.lower() == f"http://{host}:8000/v1".lower()


@pytest.mark.parametrize("url", STRANGE)
def test_addresses_that_could_be_read_in_two_ways_are_refused_and_not_repeated(url):
    with pytest.raises(ValueError, match="'base_url' argument must be an address such as") as caught:
        OpenAIBackend("tiny", base_url=url, allow_remote=True)
    assert not [part for part in ("user:pass", "192.0.2.1", "key=3") if part in str(caught.value)]


@given(st.text(alphabet="localhost127.0:[]/@#?\\%x-", max_size=30))
def test_what_passes_as_this_machine_is_this_machine_to_the_client_too(rest):
    import httpx2

    try:
        endpoint = check_endpoint(f"http://{rest}", "tiny", False)
    except ValueError:
        return
    host = httpx2.URL(endpoint.url).host
    assert host == "localhost" or host == "::1" or host.startswith("127.")
    assert host == endpoint.host


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_allowing_takes_a_plain_true(value):
    with pytest.raises(TypeError, match="'allow_remote' argument must be True or False. Got"):
        OpenAIBackend("tiny", base_url="http://192.0.2.1/v1", allow_remote=value)


def test_no_proxy_of_the_environment_is_asked_about_this_machine(monkeypatch):
    with FaultServer() as proxy, FaultServer() as server:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.root)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        for backend in (
            OpenAIBackend("tiny", base_url=server.url),
            AnthropicBackend("tiny", base_url=server.root),
        ):
            assert texts(backend.complete([ask("hello")])) == ["hello"]
        assert (len(proxy.asked), len(server.asked)) == (0, 2)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirections_are_not_followed(status):
    with FaultServer() as elsewhere:
        to = Answer("", status=status, headers={"Location": f"{elsewhere.url}/chat/completions"})
        with FaultServer(lambda asked: to) as server:
            (outcome,) = OpenAIBackend("tiny", base_url=server.url).complete([ask("secret findings")])
        assert outcome.kind == "not_found"
        assert "another address, which is not followed" in outcome.message
        assert elsewhere.asked == []


def test_headers_that_the_environment_sets_stay_here(monkeypatch):
    monkeypatch.setenv("OPENAI_ORG_ID", "org-hospital")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "project-hospital")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-hospital-0123456789")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-of-the-hospital-0123456789")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Gateway: hospital")
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "X-Gateway: hospital")
    with FaultServer() as server:
        OpenAIBackend("tiny", base_url=server.url).complete([ask()])
        AnthropicBackend("tiny", base_url=server.root).complete([ask()])
        for asked in server.asked:
            assert "hospital" not in str(asked.headers)
            assert not [
                name for name in asked.headers if "gateway" in name or "-os" in name or "-arch" in name
            ]


def chunks(png):
    """Return the kinds of chunk in a PNG file."""
    kinds, position = [], 8
    while position < len(png):
        (length,) = struct.unpack(">I", png[position : position + 4])
        kinds.append(png[position + 4 : position + 8].decode())
        position += length + 12
    return kinds


def test_of_an_image_only_its_pixels_are_sent():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 7, 3), np.uint8))
    exif = Image.Exif()
    exif[0x010E] = "patient Jane Doe"
    file = io.BytesIO()
    picture.save(file, "PNG", exif=exif, icc_profile=b"profile of Jane Doe", comment="Jane Doe")
    assert b"Jane Doe" in file.getvalue()
    pixels = np.asarray(Image.open(file))
    with FaultServer() as server:
        for backend in (
            OpenAIBackend("tiny", base_url=server.url),
            AnthropicBackend("tiny", base_url=server.root),
        ):
            backend.complete([ask("Look.", pixels)])
        for asked in server.asked:
            (sent,) = asked.images
            assert set(chunks(sent)) == {"IHDR", "IDAT", "IEND"}
            assert np.array_equal(np.asarray(Image.open(io.BytesIO(sent))), pixels)


def test_images_need_not_lie_in_order():
    pixels = np.random.default_rng(0).integers(0, 255, (5, 6, 3), np.uint8)
    with FaultServer() as server:
        backend = OpenAIBackend("tiny", base_url=server.url)
        backend.complete([ask("Look.", pixels[::-1, ::2])])
        sent = np.asarray(Image.open(io.BytesIO(server.asked[0].images[0])))
    assert np.array_equal(sent, ImagePart(pixels[::-1, ::2]).array)
