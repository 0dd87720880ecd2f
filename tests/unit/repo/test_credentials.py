"""Who is told what: by place, in order, and never elsewhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyprstream_core.config import CloneSettings, HubSettings
from hyprstream_core.errors import ConfigError
from hyprstream_core.repo.remotes.credentials import Credentials


@pytest.fixture
def netrc(tmp_path):
    """netrc(text) → a private netrc file."""

    def write(text, mode=0o600):
        file = tmp_path / "netrc"
        file.write_text(text)
        file.chmod(mode)
        return file

    return write


def ask(url, given="", *, hub=None, **clone):
    found = Credentials(CloneSettings(**clone), hub or HubSettings())(url, given)
    return (found.user, found.secret) if found else None


def test_the_url_comes_before_the_hub_before_the_table_before_netrc(netrc):
    url, file = "https://git.org/x", netrc("machine git.org login n password n\n")
    table, hub = {"git.org": "t"}, HubSettings(endpoint="https://git.org", token="h")
    named = "https://u:p%40@git.org/x"
    assert ask(url, named, netrc=file, tokens=table, hub=hub) == ("u", "p@")
    assert ask(url, url, netrc=file, tokens=table, hub=hub) == ("", "h")
    assert ask(url, url, netrc=file, tokens=table) == ("", "t")
    assert ask(url, url, netrc=file) == ("n", "n")
    assert ask(url, url) is None


@pytest.mark.parametrize(
    "other",
    ["http://git.org/x", "https://git.org:8443/x", "https://sub.git.org/x", "https://org/x", "https://git.org.evil/"],
)
def test_case_013_nothing_is_told_to_another_scheme_port_or_host(netrc, other):
    given, file = "https://u:p@git.org/x", netrc("machine git.org login n password n\ndefault login d password d\n")
    hub = HubSettings(endpoint="https://git.org", token="h")
    assert ask(other, given, netrc=file, tokens={"git.org": "t"}, hub=hub) is None


def test_case_013_a_netrc_entry_is_told_to_a_host_reached_by_link_only_where_nobody_can_listen(netrc):
    file = netrc("machine cdn.org login n password n\n")
    assert ask("https://cdn.org/x", "https://git.org/x", netrc=file) == ("n", "n")
    assert ask("https://cdn.org:443/x", "https://git.org/x", netrc=file) == ("n", "n")
    assert ask("http://cdn.org/x", "https://git.org/x", netrc=file) is None
    assert ask("https://cdn.org:8443/x", "https://git.org/x", netrc=file) is None
    assert ask("http://cdn.org/x", "http://cdn.org/x", netrc=file) == ("n", "n")


def test_case_013_the_default_of_netrc_is_for_hosts_that_the_user_names(netrc):
    file = netrc("default login d password d\n")
    assert ask("https://git.org/x", "https://git.org/x", netrc=file) == ("d", "d")
    assert ask("https://cdn.org/x", "https://git.org/x", netrc=file) is None
    assert ask("https://git.org/x", netrc=file) is None


@pytest.mark.parametrize(
    ("key", "url", "is_meant"),
    [
        ("git.org", "https://git.org/x", True),
        ("git.org", "https://GIT.org:443/x", True),
        ("git.org", "http://git.org/x", False),
        ("git.org:8443", "https://git.org:8443/x", True),
        ("git.org:8443", "https://git.org/x", False),
        ("http://localhost:3000", "http://localhost:3000/x", True),
        ("http://localhost:3000/", "https://localhost:3000/x", False),
        ("git.org", "ssh://git.org/x", False),
        ("git.org", "https://git.org@evil.org/x", False),
        ("git.org", "https://evil.org/https://git.org", False),
        ("git.org", "https://[bad/x", False),
        ("git.org", "https://git.org:99999/x", False),
        ("git.org", "https://evil.org\\@git.org/x", False),
        ("git.org", "https://evil.org#@git.org/x", False),
        ("git.org", "https://evil.org?@git.org/x", False),
        ("git.org", "https://git.org\\.evil.org/x", True),
    ],
)
def test_a_token_is_for_exactly_its_place(key, url, is_meant):
    assert ask(url, tokens={key: "t"}) == (("", "t") if is_meant else None)


@given(st.text(max_size=60))
def test_no_text_gets_a_token_that_is_not_for_it(text):
    assert ask(text, text, tokens={"git.org": "t"}) is None or "git.org" in text.lower()


@pytest.mark.parametrize(
    "key", ["", "https://", "git.org/path", "ftp://git.org", "user@git.org", "git.org:99999", "a?b"]
)
def test_a_key_of_the_table_that_is_no_host_is_refused(key):
    with pytest.raises(ConfigError) as caught:
        ask("https://git.org", tokens={key: "canary"})
    assert caught.value.param == "clone.tokens"
    assert "canary" not in str(caught.value)


def test_the_token_that_hf_auth_login_has_written_is_the_hubs(tmp_path):
    file = tmp_path / "token"
    hub = HubSettings(token_file=file)
    assert ask("https://huggingface.co/x", hub=hub) is None
    file.write_text("hf_abc\n")
    assert ask("https://huggingface.co/x", hub=hub) == ("", "hf_abc")
    assert ask("https://cdn-lfs.huggingface.co/x", "https://huggingface.co/x", hub=hub) is None
    file.write_text("x" * 5000)
    with pytest.raises(ConfigError, match="more than 4,096 bytes"):
        ask("https://huggingface.co/x", hub=hub)
    with pytest.raises(ConfigError, match="it is a folder"):
        ask("https://huggingface.co/x", hub=HubSettings(token_file=tmp_path))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_netrc_that_others_can_read_is_refused_for_its_hosts_alone(netrc, mode):
    file = netrc("machine git.org login n password canary\n", mode)
    with pytest.raises(ConfigError) as caught:
        ask("https://git.org/x", "https://git.org/x", netrc=file)
    assert caught.value.error_code == "config.not_private"
    assert "chmod 600" in caught.value.remedy
    assert "canary" not in str(caught.value)
    assert ask("https://other.org/x", "https://other.org/x", netrc=file) is None


@pytest.mark.parametrize("text", ["canary", "machine git.org login n passwort canary\n", "machine\n", "\udcff"])
def test_a_malformed_netrc_is_named_without_its_secrets(tmp_path, text):
    file = tmp_path / "netrc"
    file.write_text(text, errors="surrogateescape")
    file.chmod(0o600)
    with pytest.raises(ConfigError) as caught:
        ask("https://git.org/x", "https://git.org/x", netrc=file)
    assert str(file) in caught.value.message
    assert "canary" not in str(caught.value)


def test_secrets_are_in_no_repr():
    settings = CloneSettings(tokens={"git.org": "canary"})
    hub = HubSettings(token="canary", endpoint="https://git.org")
    assert "canary" not in f"{settings!r} {hub!r} {Credentials(settings, hub)('https://git.org')!r}"
