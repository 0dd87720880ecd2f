import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hyprstream_core.errors import RemoteError
from hyprstream_core.repo.remotes.urls import parse_url, stream_parts


@given(st.text(max_size=100))
@example("~0")
@example("a" * 5000)
def test_any_text_is_a_url_or_refused(text):
    try:
        url = parse_url(text)
    except RemoteError:
        return
    assert url.text.startswith(f"{url.scheme}://")


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("https://user:pass@host:8080/x.git", "https://host:8080/x.git"),
        ("https://token@host/x", "https://host/x"),
        ("https://a@b@host/x", "https://host/x"),
        ("HTTPS://host/X", "https://host/X"),
        ("demo://chat", "demo://chat"),
        ("https://[::1]:80/x", "https://[::1]:80/x"),
        ("ssh://git@host/x", "ssh://git@host/x"),
        ("git@host:org/x", "git@host:org/x"),
    ],
)
def test_credentials_are_taken_out_of_what_is_recorded(text, clean):
    assert parse_url(text).clean == clean


def test_a_folder_becomes_a_file_url(tmp_path, monkeypatch):
    (tmp_path / "with space%").mkdir()
    monkeypatch.chdir(tmp_path)
    expected = f"file://{tmp_path}/with%20space%25"
    assert parse_url("with space%").text == expected
    assert parse_url(str(tmp_path / "with space%")).text == expected
    assert parse_url("./with space%/").text == expected


def test_what_is_neither_url_nor_folder_says_what_is_expected():
    with pytest.raises(RemoteError) as caught:
        parse_url("qwen3")
    assert caught.value.error_code == "remote.not_found"
    assert "https://" in caught.value.remedy


def test_the_name_of_a_model_on_the_hub_is_not_guessed_but_its_url_is_said():
    with pytest.raises(RemoteError) as caught:
        parse_url("Qwen/Qwen3-0.6B")
    assert caught.value.error_code == "remote.not_found"
    assert caught.value.remedy.endswith("https://huggingface.co/Qwen/Qwen3-0.6B")


@pytest.mark.parametrize(
    ("text", "url", "parts"),
    [
        ("git@host:org/x.git", "ssh://git@host/~/org/x.git", ("git", "host", None, "org/x.git")),
        ("host:/srv/x", "ssh://host/srv/x", ("", "host", None, "/srv/x")),
        ("host:~bob/x", "ssh://host/~bob/x", ("", "host", None, "~bob/x")),
        ("host:~/x", "ssh://host/~/x", ("", "host", None, "x")),
        ("host:a b%", "ssh://host/~/a%20b%25", ("", "host", None, "a b%")),
        ("u@[::1]:x", "ssh://u@[::1]/~/x", ("u", "[::1]", None, "x")),
        ("ssh://host:22/x?y#z", "ssh://host:22/x?y#z", ("", "host", 22, "/x?y#z")),
        ("ssh://u@[::1]:22/x", "ssh://u@[::1]:22/x", ("u", "[::1]", 22, "/x")),
        ("ssh://host:/x", "ssh://host:/x", ("", "host", None, "/x")),
        ("SSH://host/~bob/x", "ssh://host/~bob/x", ("", "host", None, "~bob/x")),
        ("git://host:9418/a", "git://host:9418/a", ("", "host", 9418, "/a")),
        ("me@example.com@host.org:x", None, None),
    ],
)
def test_ssh_urls_and_their_short_form_say_user_host_port_and_path(text, url, parts):
    if url is None:
        with pytest.raises(RemoteError):
            parse_url(text)
        return
    assert parse_url(text).text == url
    assert stream_parts(url) == parts
    assert parse_url(parse_url(text).clean).text == url


@given(st.text(max_size=60))
@example("a@b:c")
def test_no_text_makes_ssh_see_an_option_or_a_shell(text):
    for url in (f"ssh://{text}", f"{text}:x", f"git@{text}"):
        try:
            address = parse_url(url)
        except RemoteError:
            continue
        if address.scheme == "ssh":
            user, host, _, path = stream_parts(address.text)
            assert not [part for part in (user, host, path) if part.startswith("-")]
            assert not set("$`;|&<>()'\"\\ \n") & set(user + host)
            assert path.isprintable()
