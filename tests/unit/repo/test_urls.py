import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hyprstream_core.errors import RemoteError
from hyprstream_core.repo.urls import parse_url


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
