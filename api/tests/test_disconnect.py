"""A client that leaves, a worker that must leave, services that are gone."""

import json
import signal
import time

import pytest

CHAT = {"model": "org/demo:main", "messages": [{"role": "user", "content": "hello"}]}


def chat(text, **fields):
    return {**CHAT, "messages": [{"role": "user", "content": text}], **fields}


@pytest.mark.parametrize("text", ["<endless>", "<silent>"])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", ["chat/completions", "completions"])
def test_a_client_that_leaves_cancels_its_request(served, wait_for, text, stream, path):
    requests, closed = len(served.engine.requests), len(served.engine.closed)
    body = chat(text, stream=stream) if "chat" in path else {"model": CHAT["model"], "prompt": text, "stream": stream}
    body |= {"max_tokens": 4000}
    with served.connect() as connection:
        connection.sendall(served.request(f"/v1/{path}", body))
        wait_for(lambda: len(served.engine.requests) > requests)
        if stream and text == "<endless>":
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
        assert len(served.engine.closed) == closed
    assert wait_for(lambda: len(served.engine.closed) > closed) < 3


def test_of_many_streams_those_that_leave_are_cancelled_and_the_others_are_right(served, wait_for):
    closed = len(served.engine.closed)
    leaving = [served.connect() for _ in range(8)]
    for connection in leaving:
        connection.sendall(served.request("/v1/chat/completions", chat("<endless>", stream=True, max_tokens=4000)))
    staying = [served.connect() for _ in range(8)]
    for connection in staying:
        connection.sendall(served.request("/v1/chat/completions", chat("hello", stream=True)))
    for connection in leaving:
        connection.recv(100)
        connection.close()
    for connection in staying:
        with connection:
            answer = b"".join(iter(lambda c=connection: c.recv(65536), b""))
        assert b"data: [DONE]" in answer
    wait_for(lambda: len(served.engine.closed) >= closed + 8)


def test_a_silent_stream_says_nothing_wrong_and_the_first_error_is_a_status(served):
    head, _ = served.post("/v1/chat/completions", chat("<full>", stream=True))
    assert head.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 1" in head.lower()


def test_a_worker_told_to_stop_lets_its_answers_finish(own_server, wait_for):
    with own_server() as served, served.connect() as connection:
        request = chat("<endless>", stream=True, max_tokens=60)
        connection.sendall(served.request("/v1/chat/completions", request))
        assert connection.recv(100)
        began = time.monotonic()
        served.process.send_signal(signal.SIGTERM)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
        assert b"data: [DONE]" in answer
        assert served.process.wait(10) == 0
        assert time.monotonic() - began < 10
        with pytest.raises(OSError):
            served.connect().close()


def test_a_worker_told_to_stop_ends_answers_that_take_too_long_with_an_error(own_server):
    with own_server(drain_seconds=1) as served, served.connect() as streaming, served.connect() as waiting:
        for connection, stream in ((streaming, True), (waiting, False)):
            request = chat("<endless>", stream=stream, max_tokens=4000)
            connection.sendall(served.request("/v1/chat/completions", request))
        assert streaming.recv(100)
        served.process.send_signal(signal.SIGTERM)
        streamed, waited = [b"".join(iter(lambda c=c: c.recv(65536), b"")) for c in (streaming, waiting)]
        assert streamed.endswith(b"0\r\n\r\n")
        assert b'data: {"error"' in streamed
        assert b"[DONE]" not in streamed
        for answer in (streamed, waited):
            assert b'"message":"the server is stopping' in answer
        assert waited.startswith(b"HTTP/1.1 503")
        assert served.process.wait(10) == 0


def test_a_worker_told_to_stop_at_once_ends_answers_with_an_error_all_the_same(own_server):
    with own_server() as served, served.connect() as connection:
        connection.sendall(served.request("/v1/chat/completions", chat("<endless>", stream=True, max_tokens=4000)))
        assert connection.recv(100)
        served.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        began = time.monotonic()
        served.process.send_signal(signal.SIGQUIT)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
        assert b'"message":"the server is stopping' in answer
        assert answer.endswith(b"0\r\n\r\n")
        assert served.process.wait(10) == 0
        assert time.monotonic() - began < 10


def test_without_an_engine_requests_fail_and_readiness_says_so(own_server, tmp_path):
    with own_server(inference=f"ipc://{tmp_path}/nobody.sock") as served:
        absent = {
            "message": "the inference service is not available at the moment",
            "type": "server_error",
            "param": None,
            "code": "engine_unavailable",
        }
        assert served.get("/readyz") == (503, {"error": absent})
        head, body = served.post("/v1/chat/completions", CHAT, "X-Request-Id: mine\r\n")
        assert head.startswith(b"HTTP/1.1 503")
        assert b"retry-after" in head.lower()
        assert json.loads(body) == {"error": absent}
        assert served.get("/v1/models")[0] == 200
        assert served.get("/livez")[0] == 200
        served.process.send_signal(signal.SIGTERM)
        served.process.wait(10)
        log = [json.loads(line) for line in served.process.stderr.read().splitlines()]
    (line,) = [line for line in log if line["event"] == "request refused"]
    assert line["request_id"] == "mine"
    assert f"{tmp_path}/nobody.sock" in line["error"]


def test_without_a_registry_requests_fail_and_readiness_says_so(own_server, tmp_path):
    with own_server(registry=f"ipc://{tmp_path}/nobody.sock") as served:
        for path in ("/readyz", "/v1/models"):
            code, document = served.get(path)
            assert (code, document["error"]["code"]) == (503, "registry_unavailable")
            assert "/" not in document["error"]["message"]
