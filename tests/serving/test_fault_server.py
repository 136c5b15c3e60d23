"""The fault server does as it is told, and counts rightly."""

import http.client
import json
import threading

import pytest

from tests.serving import FAULTS, Answer, FaultServer


def post(server, content, path="/v1/chat/completions"):
    connection = http.client.HTTPConnection("127.0.0.1", int(server.root.rpartition(":")[2]), timeout=60)
    try:
        body = {"model": "m", "messages": [{"role": "user", "content": content}]}
        connection.request("POST", path, json.dumps(body))
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def said(body):
    return json.loads(body)["choices"][0]["message"]["content"]


def test_it_echoes_and_counts():
    with FaultServer() as server:
        for text in ("a", "b", "a"):
            status, body = post(server, text)
            assert (status, said(body)) == (200, text)
        parts = [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]
        assert said(post(server, parts)[1]) == "x\ny"
    assert [(asked.text, asked.number, asked.before) for asked in server.asked] == [
        ("a", 0, 0), ("b", 1, 0), ("a", 2, 1), ("x\ny", 3, 0),
    ]  # fmt: skip
    assert server.answered == {"a": 2, "b": 1, "x\ny": 1}


def test_answers_in_turn_and_then_echoes():
    with FaultServer([FAULTS["server error"], Answer("fine")]) as server:
        assert [post(server, "a")[0] for _ in range(3)] == [500, 200, 200]
        assert server.answered == {"a": 2}


def test_it_speaks_anthropics_messages():
    with FaultServer([Answer("fine"), Answer("no", status=400, code="invalid_request_error")]) as server:
        reply, error = (json.loads(post(server, "a", "/v1/messages")[1]) for _ in range(2))
    assert reply["content"] == [{"type": "text", "text": "fine"}]
    assert error == {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}
    assert {asked.language for asked in server.asked} == {"anthropic"}


def test_other_paths_are_not_found():
    with FaultServer() as server:
        assert post(server, "a", "/v1/embeddings")[0] == 404
        assert server.asked == []


def test_a_cut_connection_is_cut_and_not_billed():
    with FaultServer([FAULTS["no answer"], FAULTS["cut"]]) as server:
        with pytest.raises(http.client.RemoteDisconnected):
            post(server, "a")
        with pytest.raises(http.client.IncompleteRead):
            post(server, "a")
        assert (len(server.asked), server.answered.total()) == (2, 0)


def test_peak_counts_what_is_under_way_at_once():
    together = threading.Barrier(3)

    def script(asked):
        together.wait(60)
        return Answer()

    with FaultServer(script) as server:
        threads = [threading.Thread(target=post, args=(server, str(i))) for i in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert server.peak == 3


def test_a_mistake_in_the_script_is_raised_at_the_end():
    def script(asked):
        raise KeyError("mistake")

    with pytest.raises(KeyError, match="mistake"), FaultServer(script) as server:
        assert post(server, "a")[0] == 500


def test_leaving_does_not_wait_for_slow_answers():
    with FaultServer(lambda asked: Answer(delay=1000)) as server:
        thread = threading.Thread(target=post, args=(server, "a"))
        thread.start()
        while not server.asked:
            threading.Event().wait(0.01)
    thread.join(60)
    assert not thread.is_alive()
