"""URLs that must start nothing, and remotes that advertise too much (security-cases.md 10 and 11)."""

import pytest

from hyprstream_core.config import Limits
from hyprstream_core.errors import RemoteError


def test_case_010_a_remote_with_too_many_references_is_refused(refused, hostile, new_store, git_server):
    hostile.write("a", "x")
    head = hostile.commit()
    hostile.run(
        "update-ref", "--stdin", stdin=b"".join(b"create refs/tags/t%d %s\n" % (n, head.encode()) for n in range(50))
    )
    few = new_store(limits=Limits(repo_refs=20))
    refused(hostile.path, "remote.limit", RemoteError, using=few)
    refused(f"{git_server.url}/hostile/.git", "remote.limit", RemoteError, using=few)


@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c touch% ran", "fd::3", "fd::3,4/x", "-oProxyCommand=touch ran", "--upload-pack=touch ran",
        "ssh://-oProxyCommand=x/x", "ftp://host/x", "C:/x", "c:x", "git@h:-x", "ssh://h/~/-x", "ssh://-oX=y@host/x",
        "-oX=y@host:x", "git@-oX=y:x", "git://-h/x", "git+ssh://host/x", "::x", "a::b:c",
        "rsync://host/x", "javascript://x", "-://x",
    ],
)  # fmt: skip
def test_case_011_schemes_that_nobody_serves_and_option_like_hosts_start_nothing(
    refused, url, tmp_path, monkeypatch, processes
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models/.staging").mkdir(parents=True)
    processes.clear()
    refused(url, "url.scheme", RemoteError)
    assert processes == []
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://",
        "http://\n",
        "http://[::1",
        "file://elsewhere/x",
        "http://h:99999/x",
        "x" * 5000,
        "ssh://host",
        "ssh://host/",
        "ssh://u:pass@host/x",
        "ssh://ho$(id)st/x",
        "ssh://u`id`@host/x",
        "a;id@host:x",
        "ssh://host/a%0ab",
        "ssh://host:99999/x",
        "ssh://h\u00f6st/x",
        "git://host",
        "git://user@host/x",
        "git://host/%00",
    ],
)
def test_case_011_malformed_urls_are_refused(refused, url, tmp_path):
    (tmp_path / "models/.staging").mkdir(parents=True)
    refused(url, "url.invalid", RemoteError)
