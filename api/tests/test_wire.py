"""The bytes on the wire: events, headers, error envelopes, bodies, addresses."""

import asyncio
import json
import re
import signal
import time
from pathlib import Path

import pytest

from hyprstream_core.config import Limits, LogSettings

CHAT = {"model": "org/demo:main", "messages": [{"role": "user", "content": "hello"}]}


def status(head: bytes) -> int:
    return int(head.split()[1])


def headers(head: bytes) -> dict[str, str]:
    lines = head.decode().split("\r\n")[1:]
    return {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}


def error(body: bytes) -> dict:
    document = json.loads(body)
    assert set(document) == {"error"}
    assert set(document["error"]) == {"message", "type", "param", "code"}
    return document["error"]


@pytest.mark.parametrize("prefix", ["/oai/v1", "/v1"])
def test_the_bytes_of_a_chat_stream(served, prefix):
    head, body = served.post(f"{prefix}/chat/completions", {**CHAT, "stream": True})
    assert status(head) == 200
    found = headers(head)
    assert found["content-type"] == "text/event-stream; charset=utf-8"
    assert (found["cache-control"], found["x-accel-buffering"]) == ("no-cache", "no")
    assert re.fullmatch(r"[0-9a-f]{40}", found["x-hyprstream-commit"])
    assert body.endswith(b"\n\ndata: [DONE]\n\n")
    lines = body.decode().split("\n\n")[:-2]
    assert all(line.startswith("data: {") and "\n" not in line for line in lines)
    choices = [json.loads(line.removeprefix("data: "))["choices"][0] for line in lines]
    assert choices[0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(choice["delta"].get("content", "") for choice in choices) == "Hello."
    assert (choices[-1]["delta"], choices[-1]["finish_reason"]) == ({}, "stop")
    assert [choice["finish_reason"] for choice in choices[:-1]] == [None] * (len(choices) - 1)


def test_a_stream_that_breaks_ends_with_an_error_event_and_no_done(served):
    request = {**CHAT, "stream": True, "messages": [{"role": "user", "content": "<breaks>"}]}
    head, body = served.post("/v1/chat/completions", request)
    assert status(head) == 200
    assert b"[DONE]" not in body
    last = body.decode().rstrip("\n").split("\n\n")[-1]
    assert error(last.removeprefix("data: ").encode()) == {
        "message": "the inference service is not available at the moment",
        "type": "server_error",
        "param": None,
        "code": "engine_unavailable",
    }


@pytest.mark.parametrize("name", ["my-request.1:2_3", "a" * 128])
def test_a_request_id_is_echoed(served, name):
    head, _ = served.post("/v1/chat/completions", CHAT, f"X-Request-Id: {name}\r\n")
    assert headers(head)["x-request-id"] == name


@pytest.mark.parametrize("name", ["", "a b", "a" * 129, 'a"b', "ä"])
def test_a_request_id_that_is_none_is_replaced(served, name):
    head, _ = served.post("/v1/chat/completions", {}, f"X-Request-Id: {name}\r\n")
    assert re.fullmatch(r"req_[0-9a-f]{32}", headers(head)["x-request-id"])


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/", 404),
        ("GET", "/v1", 404),
        ("GET", "/v1/nothing", 404),
        ("GET", "//v1/models", 404),
        ("GET", "/v1//models", 404),
        ("GET", "/v1/models//x", 404),
        ("GET", "/oai//v1/models", 404),
        ("GET", "/v1/models/", 404),
        ("GET", "/V1/models", 404),
        ("GET", "/v1/../v1/models", 404),
        ("POST", "/v1/models", 405),
        ("GET", "/v1/chat/completions", 405),
        ("DELETE", "/v1/models/org/demo:main", 405),
    ],
)
def test_an_address_has_one_spelling(served, method, path, expected):
    request = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode()
    head, body = served.exchange(request)
    assert status(head) == expected
    found = error(body)
    assert found["type"] == "invalid_request_error"
    assert found["code"] == "unknown_url"
    assert headers(head)["x-request-id"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/v1/models", "GET, HEAD, OPTIONS"),
        ("HEAD", "/v1/completions", "OPTIONS, POST"),
        ("GET", "/v1/chat/completions", "OPTIONS, POST"),
    ],
)
def test_another_method_is_answered_with_those_that_there_are(served, method, path, allowed):
    request = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode()
    head, body = served.exchange(request)
    assert (status(head), headers(head)["allow"]) == (405, allowed)
    if method != "HEAD":
        assert error(body)["message"].endswith(f"only {allowed.replace(', ', ' and ')}")


@pytest.mark.parametrize(
    "path", ["/livez", "/readyz", "/version", "/v1/models", "/v1/models/org/demo:main", "/v1/nothing"]
)
def test_head_is_get_without_the_body(served, path, monkeypatch):
    status_now = asyncio.run(served.engine.status())

    async def steady():  # an answer that another test gave up may still be counted
        return status_now

    monkeypatch.setattr(served.engine, "status", steady)

    def ask(method):
        return served.exchange(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())

    (head, body), (whole_head, whole) = ask("HEAD"), ask("GET")
    assert (status(head), body) == (status(whole_head), b"")
    assert headers(head)["content-length"] == headers(whole_head)["content-length"] == str(len(whole))
    assert headers(head)["content-type"] == headers(whole_head)["content-type"]


@pytest.mark.parametrize(
    ("body", "extra", "expected", "code"),
    [
        pytest.param(b"", "", 400, "invalid_json", id="empty"),
        pytest.param(b"[]", "", 400, "invalid_json", id="array"),
        pytest.param(b'{"a":', "", 400, "invalid_json", id="cut"),
        pytest.param(b'{"a":1,"a":2}', "", 400, "invalid_json", id="twice"),
        pytest.param(b'{"\\ud800":1,"\\ud800":2}', "", 400, "invalid_json", id="surrogates twice"),
        pytest.param(b"[" * 100_000, "", 400, "invalid_json", id="deep"),
        pytest.param(b'{"temperature":NaN}', "", 400, "invalid_json", id="NaN"),
        pytest.param("{}".encode("utf-16"), "", 400, "invalid_json", id="UTF-16"),
        pytest.param(b"{}", "Content-Type: text/plain\r\n", 415, "unsupported_media_type", id="text"),
        pytest.param(b"{}", "Content-Encoding: gzip\r\n", 415, "unsupported_media_type", id="gzip"),
        pytest.param(b"x", "Content-Type: Application/JSON; charset=utf-8\r\n", 400, "invalid_json", id="charset"),
    ],
)  # fmt: skip
def test_case_035_039_bad_bodies_are_refused(served, body, extra, expected, code):
    head, answer = served.post("/v1/chat/completions", body, extra)
    assert (status(head), error(answer)["code"]) == (expected, code)


def test_case_034_a_body_said_to_be_too_large_is_refused_unread(served):
    began = time.monotonic()
    with served.connect() as connection:
        connection.sendall(served.request("/v1/completions", b"{", f"Content-Length: {200 * 10**6}\r\n"))
        answer = connection.recv(65536)
    assert (status(answer), time.monotonic() - began < 2) == (413, True)
    assert b"body_too_large" in answer


def test_case_034_a_chunked_body_that_is_too_large_is_given_up(own_server):
    with own_server(limits=Limits(body_bytes=10_000)) as served, served.connect() as connection:
        connection.sendall(served.request("/v1/completions", b"", "Transfer-Encoding: chunked\r\n"))
        for _ in range(11):
            connection.sendall(b"3e8\r\n" + b"x" * 1000 + b"\r\n")
        answer = connection.recv(65536)
        assert status(answer) == 413


def test_case_034_a_chunked_body_within_the_limit_is_read(served):
    data = json.dumps(CHAT).encode()
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (data[:10], data[10:])) + b"0\r\n\r\n"
    head, body = served.exchange(served.request("/v1/chat/completions", b"", "Transfer-Encoding: chunked\r\n") + chunks)
    assert status(head) == 200
    assert json.loads(body)["choices"][0]["message"]["content"] == "Hello."


def test_a_defect_is_answered_without_details(served, monkeypatch):
    async def fail(_):
        raise KeyError("a secret")

    monkeypatch.setattr(served.registry, "model", fail)
    head, body = served.exchange(b"GET /v1/models/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert status(head) == 500
    assert headers(head)["x-should-retry"] == "false"
    found = error(body)
    assert (found["type"], found["code"], found["param"]) == ("server_error", "internal_error", None)
    assert b"secret" not in body


def test_health_and_version(served, monkeypatch):
    assert served.get("/livez") == (200, {"status": "ok"})
    code, document = served.get("/readyz")
    assert (code, document["status"], document["device"]) == (200, "ready", "scripted")
    assert re.fullmatch(r"\d+\.\d+\.\d+", served.get("/version")[1]["version"])
    monkeypatch.setattr(served.engine, "ready", False)
    code, document = served.get("/readyz")
    assert (code, document["error"]["code"]) == (503, "model_loading")
    assert "loading" in document["error"]["message"]


def test_the_log_has_the_request_id_and_the_answers_id_and_no_words_of_the_prompt(own_server):
    with own_server(log=LogSettings(level="debug", format="json")) as served:
        request = {**CHAT, "messages": [{"role": "user", "content": "confidential"}]}
        head, body = served.post("/v1/chat/completions", request, "X-Request-Id: mine\r\n")
        assert status(head) == 200
        served.process.send_signal(signal.SIGTERM)
        served.process.wait(10)
        log = served.process.stderr.read().decode()
    lines = [json.loads(line) for line in log.splitlines()]
    assert all("request_id" in line for line in lines)
    (line,) = [line for line in lines if line["event"] == "request" and line["request_id"] == "mine"]
    assert (line["method"], line["path"], line["status"]) == ("POST", "/v1/chat/completions", 200)
    assert json.loads(body)["id"] == f"chatcmpl-{line['answer']}"
    assert "confidential" not in log


def test_a_client_that_leaves_before_its_answer_is_499_in_the_log(own_server, wait_for):
    with own_server(log=LogSettings(level="info", format="json")) as served:
        with served.connect() as connection:
            connection.sendall(served.request("/v1/completions", {"model": CHAT["model"], "prompt": "<silent>"}))
            wait_for(lambda: served.engine.requests)
        wait_for(lambda: served.engine.closed)
        served.get("/v1/models")
        served.process.send_signal(signal.SIGTERM)
        served.process.wait(10)
        lines = [json.loads(line) for line in served.process.stderr.read().splitlines()]
    requests = {line["path"]: line for line in lines if line["event"] == "request"}
    assert requests["/v1/completions"]["status"] == 499
    assert requests["/v1/completions"]["answer"] == served.engine.closed[0]
    assert "answer" not in requests["/v1/models"]


def test_no_worker_has_torch(served):
    pids = [served.process.pid, *map(int, children(served.process.pid))]
    assert len(pids) >= 2
    for pid in pids:
        assert "libtorch" not in Path(f"/proc/{pid}/maps").read_text()


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
