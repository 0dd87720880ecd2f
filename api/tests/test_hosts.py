"""Who may ask: a page that a browser shows reaches the loopback interface too, and must get nothing by that."""

import json

import pytest

from hyprstream_api.hosts import Hosts, names_of
from hyprstream_core.config import ServerSettings
from hyprstream_core.errors import ConfigError

CHAT = {"model": "org/demo:main", "messages": [{"role": "user", "content": "hello"}]}


def ask(served, headers, method="GET", path="/v1/models"):
    head, body = served.exchange(f"{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n".encode())
    return int(head.split()[1]), json.loads(body)


def post(served, headers):
    """A chat request with ``headers``, which name the host as well."""
    body = json.dumps(CHAT).encode()
    fixed = f"Connection: close\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    head, answer = served.exchange(f"POST /v1/chat/completions HTTP/1.1\r\n{headers}{fixed}\r\n".encode() + body)
    return int(head.split()[1]), json.loads(answer)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST.", "localhost:50051", "127.0.0.1", "127.0.0.1:1", "127.8.9.1", "[::1]", "[::1]:80"]
)
def test_every_name_of_the_loopback_interface_is_answered(served, host):
    assert ask(served, f"Host: {host}\r\n")[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:50051",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example@localhost",
        "localhost, evil.example",
        "192.0.2.1",
        "[2001:db8::1]",
        "0.0.0.0",
        "",
    ],
)
@pytest.mark.parametrize("path", ["/v1/models", "/readyz", "/nothing"])
def test_a_request_for_another_host_is_misdirected_whatever_it_resolves_to(served, host, path):
    code, document = ask(served, f"Host: {host}\r\n", path=path)
    assert (code, document["error"]["code"]) == (421, "unknown_host")
    assert set(document["error"]) == {"message", "type", "param", "code"}
    assert "localhost" in document["error"]["message"]


def test_a_request_for_no_host_is_misdirected(served):
    head, body = served.exchange(b"GET /v1/models HTTP/1.0\r\n\r\n")
    assert (int(head.split()[1]), json.loads(body)["error"]["code"]) == (421, "unknown_host")


def test_nothing_is_computed_for_another_host(served):
    before = len(served.engine.requests)
    assert post(served, "Host: evil.example\r\n")[0] == 421
    assert len(served.engine.requests) == before


@pytest.mark.parametrize("origin", ["http://localhost", "http://127.0.0.1:3000", "https://[::1]:8443"])
def test_a_page_of_this_machine_may_ask(served, origin):
    assert post(served, f"Host: localhost\r\nOrigin: {origin}\r\n")[0] == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "https://evil.example:50051", "null", "", "ftp://localhost"])
def test_a_page_of_another_site_makes_nothing_happen(served, origin):
    before = len(served.engine.requests)
    code, document = post(served, f"Host: localhost\r\nOrigin: {origin}\r\n")
    assert (code, document["error"]["code"], document["error"]["type"]) == (403, "foreign_origin", "permission_error")
    assert len(served.engine.requests) == before


def test_a_question_with_an_origin_is_answered_to_nobodys_page(served):
    head, _ = served.exchange(
        b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\nConnection: close\r\n\r\n"
    )
    assert int(head.split()[1]) == 200
    assert b"access-control-allow-origin" not in head.lower()


def test_configured_names_are_answered_and_may_have_pages(own_server):
    names = names_of(ServerSettings(host="my-alias", allowed_hosts=("Models.Example.org", "2001:DB8:0::1", "10.0.0.7")))
    with own_server(hosts=names) as served:
        for host in ("my-alias", "models.example.org.:443", "[2001:db8::1]:80", "10.0.0.7", "localhost"):
            assert ask(served, f"Host: {host}\r\n")[0] == 200, host
        assert post(served, "Host: localhost\r\nOrigin: https://models.example.org\r\n")[0] == 200
        assert ask(served, "Host: example.org\r\n")[0] == 421


@pytest.mark.parametrize(
    "name", ["http://models.example.org", "models.example.org:443", "*", "", "a b", "münchen.example"]
)
def test_a_configured_name_that_no_request_could_have_is_refused(name):
    with pytest.raises(ConfigError, match=r"server\.allowed_hosts: got .*, expected a host name") as caught:
        names_of(ServerSettings(allowed_hosts=("fine.example", name)))
    assert caught.value.param == "server.allowed_hosts"


def test_a_scheme_and_a_port_tell_nothing_about_whose_page_it_is():
    hosts = Hosts(["models.example.org"])
    assert hosts._is_ours("https://models.example.org:8443")
    assert not hosts._is_ours("models.example.org")
    assert not hosts._is_ours("https://models.example.org/path")
