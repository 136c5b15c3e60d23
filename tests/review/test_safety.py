"""Attacks on a review's server: refused, or inert."""

from __future__ import annotations

import http.client
import http.cookiejar
import json
import shutil
import socket
import threading
import urllib.request
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

import pytest

from lvlm_va.critique.model_options import ModelOptions
from lvlm_va.report import read_run
from lvlm_va.review.connection import MOST_WAITING
from lvlm_va.review.guard import MOST_BYTES
from lvlm_va.review.reviewed import ReviewedRun
from tests.review.conftest import SCRIPT, serving

VERDICT = json.dumps({"image": "x", "segment": 1, "verdict": "spurious", "revision": 0}).encode()


@pytest.fixture(scope="module")
def client(fitted, tmp_path_factory):
    """One server for all attacks: they change nothing."""
    folder = shutil.copytree(fitted, tmp_path_factory.mktemp("attacked") / "run")
    with serving(folder) as client:
        yield client
        assert client.get("/api/state")["revision"] == 0


def port_of(client):
    return urlsplit(client.base).port


def test_it_listens_on_loopback_only(client):
    others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for address in others - {"127.0.0.1"}:
        with socket.socket() as outside:
            outside.settimeout(2)
            assert outside.connect_ex((address, port_of(client))) != 0


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "127.0.0.1:1", "localhost", "127.0.0.1.evil.example:{port}", ""],
)
def test_a_foreign_host_is_refused(client, host):
    for path in ("/", client.url.removeprefix(client.base), "/api/state"):
        assert client.send("GET", path, Host=host.format(port=port_of(client))).status in (400, 403)


@pytest.mark.parametrize(
    "cookie",
    [None, "", "lvlm_va_review=1", "lvlm_va_review_{port}=", "lvlm_va_review_{port}=AAAA", "\x01=;;"],
)
@pytest.mark.parametrize(
    "path", ["/", "/?token=", "/?token=AAAA", "/api/state", "/static/main.js", "/pictures/0/thumb.png"]
)
def test_without_the_token_nothing_is_shown(client, cookie, path):
    cookie = cookie and cookie.format(port=port_of(client))
    answer = client.send("GET", path, cookie=cookie)
    assert answer.status == 401
    assert "set-cookie" not in answer.headers
    assert b"lvlm-va review" in answer.body


def test_the_token_opens_the_page_alone_and_becomes_a_strict_cookie(client):
    token = client.url.partition("?")[2]
    assert client.send("GET", f"/api/state?{token}", cookie=None).status == 401
    assert client.send("POST", f"/?{token}", b"{}", cookie=None).status == 401
    answer = client.send("GET", f"/?{token}", cookie=None)
    name, *attributes = (part.strip() for part in answer.headers["set-cookie"].split(";"))
    place = urlsplit(client.url).path
    assert {"HttpOnly", "SameSite=Strict", f"Path={place}"} == set(attributes)
    assert token.partition("=")[2] not in name
    assert place.strip("/") not in name
    assert client.send("GET", "/").status == 200


def test_other_ports_get_no_cookie_that_opens_anything(client):
    """Browsers keep cookies apart by path, not by port; and without the secret path a cookie is of no use."""
    with ExitStack() as stack:
        thief = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        browser = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        )
        browser.open(client.url).close()
        browser.open(f"{client.base}/api/state").close()  # here it is sent
        thief.settimeout(10)
        visit = threading.Thread(
            target=lambda: browser.open(f"http://127.0.0.1:{thief.getsockname()[1]}/").close()
        )
        visit.start()
        connection = stack.enter_context(thief.accept()[0])
        assert b"cookie" not in connection.recv(65536).lower()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        visit.join()
    for path in ("/", "/api/state", "/static/main.js", f"{urlsplit(client.base).path[:-1]}/api/state"):
        status, body = ask(client, path)
        assert (status, b"lvlm-va review" in body) == (401, True)


def ask(client, path):
    """Get exactly this path, with the cookie; urllib would tidy it."""
    connection = http.client.HTTPConnection("127.0.0.1", port_of(client))
    connection.request("GET", path, headers={"Cookie": client.cookie})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def test_slow_clients_shut_nobody_out(client):
    with ExitStack() as stack:
        slow = []
        for number in range(2 * MOST_WAITING):
            slow.append(
                stack.enter_context(socket.create_connection(("127.0.0.1", port_of(client)), timeout=10))
            )
            slow[-1].sendall(b"GET / HTTP/1.1\r\nHost: " if number % 2 else b"")
        assert client.get("/api/state")["revision"] == 0
        for each in slow[:MOST_WAITING]:  # ended by the server
            with suppress(ConnectionResetError):
                assert each.recv(1) == b""
        slow[-1].sendall(f"127.0.0.1:{port_of(client)}\r\n\r\n".encode())
        assert slow[-1].recv(12) == b"HTTP/1.1 401"


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "null",
        "http://evil.example",
        "https://127.0.0.1:{port}",
        "http://127.0.0.1",
        "http://127.0.0.1:1",
        "http://localhost:{port}",
    ],
)
def test_a_foreign_origin_changes_nothing(client, origin):
    origin = origin and origin.format(port=port_of(client))
    for path in ("verdict", "undo", "import", "realign", "ask", "cancel"):
        assert client.send("POST", f"/api/{path}", VERDICT, Origin=origin).status == 403
    assert client.get("/api/state")["revision"] == 0


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_other_sites_and_ports_cannot_even_read(client, site):
    assert client.send("GET", "/api/state", Sec_Fetch_Site=site).status == 403
    assert client.send("GET", "/pictures/0/thumb.png", Sec_Fetch_Site=site).status == 403


def test_a_form_cannot_post(client):
    for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data", None):
        assert client.send("POST", "/api/undo", VERDICT, Content_Type=kind).status == 415


def test_get_changes_nothing(client):
    for path in (
        "verdict",
        "description",
        "promote",
        "example",
        "import",
        "undo",
        "redo",
        "estimate",
        "ask",
        "realign",
        "cancel",
    ):
        assert client.send("GET", f"/api/{path}").status == 405
    for method in ("PUT", "DELETE", "OPTIONS", "PATCH"):
        assert client.send(method, "/api/undo", b"{}").status == 405


@pytest.mark.parametrize(
    "path",
    [
        "/static/../journal.py",
        "/static/..%2f..%2fcli.py",
        "/static//etc/passwd",
        "/static/%2e%2e/app.py",
        "/../run.json",
        "/pictures/0/../../run.json",
        "/pictures/0/..%2f..%2frun.json.png",
        "/pictures/-1/thumb.png",
        "/pictures/0/segment-0.png",
        "/pictures/0/segment-99.png",
        "/pictures/99/thumb.png",
        "/pictures/0/segment-%C2%B2.png",
        "/api/images/99",
    ],
)
def test_paths_lead_nowhere_else(client, path):
    status, body = ask(client, urlsplit(client.base).path + path)
    assert status == 404
    assert b"root:" not in body


@pytest.mark.parametrize("name", ["../elsewhere.jsonl", "/etc/passwd", "link.jsonl"])
def test_a_run_cannot_have_files_elsewhere_read(run_folder, name):
    (run_folder.parent / "elsewhere.jsonl").write_text("{}")
    (run_folder / "link.jsonl").symlink_to("/etc/passwd")
    latest = json.loads((run_folder / "latest.json").read_text())
    latest["files"]["critiques"] = [name]
    (run_folder / "latest.json").write_text(json.dumps(latest))
    with pytest.raises(ValueError, match="of its own folder"):
        read_run(run_folder)


@pytest.mark.parametrize("name", ["verdicts.journal.jsonl", ".review.lock", "verdicts.json", "run.json"])
def test_links_in_a_run_are_not_followed(run_folder, name):
    elsewhere = run_folder.parent / "elsewhere"
    elsewhere.write_text("a line\nwithout an end")
    (run_folder / name).unlink(missing_ok=True)
    (run_folder / name).symlink_to(elsewhere)
    before = {path: path.lstat().st_mtime_ns for path in run_folder.iterdir()}
    with pytest.raises(ValueError, match=f"{name} must be no link"):
        ReviewedRun(run_folder, by="ada")
    assert elsewhere.read_text() == "a line\nwithout an end"
    assert {path: path.lstat().st_mtime_ns for path in run_folder.iterdir()} == before


def test_a_body_without_end_is_refused(client):
    assert client.send("POST", "/api/undo", b"", Content_Length=str(MOST_BYTES + 1)).status == 413
    assert client.send("POST", "/api/undo", b"", Content_Length="-1").status in (400, 413)
    connection = http.client.HTTPConnection("127.0.0.1", port_of(client))
    headers = {"Cookie": client.cookie, "Origin": client.origin, "Content-Type": "application/json"}
    block = b" " * 2**20
    connection.request(
        "POST",
        f"{urlsplit(client.base).path}/api/undo",
        iter([block] * (MOST_BYTES // len(block) + 1)),
        headers,
        encode_chunked=True,
    )
    assert connection.getresponse().status == 413
    connection.close()
    assert client.get("/api/state")["revision"] == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"null",
        b"\xff",
        b'{"revision": 0}',
        b'{"image": 1, "segment": 1, "verdict": "spurious", "revision": 0}',
        VERDICT.replace(b": 0", b": true"),
        VERDICT.replace(b"spurious", b"maybe"),
        VERDICT.replace(b'"x"', b'"' + b"x" * 30_000 + b'"'),
        b"[" * 100_000,
    ],
)
def test_what_is_no_edit_is_refused(client, body):
    answer = client.send("POST", "/api/verdict", body)
    assert answer.status == 422
    assert json.loads(answer.body)["error"]
    assert client.get("/api/state")["revision"] == 0


def test_nothing_is_html_but_the_page_and_scripts_are_its_own(client):
    page = client.send("GET", "/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert b"onerror" not in page.body
    assert page.body.count(b"<script") == 1
    assert b"style=" not in page.body
    for path in ("/api/state", "/api/images/0", "/api/journal", "/api/export"):
        answer = client.send("GET", path)
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert SCRIPT in client.get("/api/images/0")["text"]  # shown as text: see test_browser.py


def test_a_script_in_the_folder_s_name_is_inert(serve, run_folder):
    evil = run_folder.rename(run_folder.parent / "<script>alert(1)<")
    assert b"<script>alert" not in serve(evil).send("GET", "/").body


def test_a_command_in_the_folder_runs_nothing_else(serve, run_folder):
    command = {"arguments": ["lvlm-va", "experiment", "main", "--out", "x"], "folder": str(run_folder)}
    (run_folder / "command.json").write_text(json.dumps(command))
    client = serve(run_folder)
    assert "align" in client.get("/api/state")["command"]["reason"]
    status, answer = client.post("realign")
    assert (status, answer["error"][:3]) == (422, "The")


def test_without_a_critic_nobody_is_asked(client):
    name = client.get("/api/state")["images"][0]["id"]
    for path in ("estimate", "ask"):
        status, answer = client.post(path, images=[name])
        assert status == 422
        assert "--critic" in answer["error"]


def test_a_remote_critic_needs_permission(serve, run_folder):
    client = serve(run_folder, models=ModelOptions("http://198.51.100.1/v1#m"))
    status, answer = client.post("estimate", images=[client.get("/api/state")["images"][0]["id"]])
    assert status == 422
    assert "allow_remote" in answer["error"]
