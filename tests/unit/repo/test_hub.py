import pytest

from hyprstream_core.config import HubSettings
from hyprstream_core.errors import RemoteError
from hyprstream_core.repo.remotes.hub import place

MIRROR = HubSettings(endpoint="https://mirror.org/hf/")


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("https://huggingface.co/Qwen/Qwen3-0.6B", "https://mirror.org/hf/Qwen/Qwen3-0.6B"),
        ("https://hf.co/a/b.git?x=1", "https://mirror.org/hf/a/b.git?x=1"),
        ("https://HF.co:443/a/b", "https://mirror.org/hf/a/b"),
        ("https://u:p@huggingface.co/a/b", "https://mirror.org/hf/a/b"),
        ("http://huggingface.co/a/b", "http://huggingface.co/a/b"),
        ("https://huggingface.co.evil.org/a", "https://huggingface.co.evil.org/a"),
        ("https://other.org/a", "https://other.org/a"),
        ("ssh://git@hf.co/~/a/b", "ssh://git@hf.co/~/a/b"),
    ],
)
def test_urls_of_the_hub_are_asked_at_the_endpoint(url, asked):
    assert place(url, MIRROR) == asked


def test_without_an_endpoint_the_hub_is_itself():
    assert place("https://u:p@huggingface.co/a/b", HubSettings()) == "https://u:p@huggingface.co/a/b"
    assert place("https://hf.co/a/b", HubSettings()) == "https://huggingface.co/a/b"


@pytest.mark.parametrize(
    "url", ["https://huggingface.co/a", "https://hf.co/a", "ssh://git@hf.co/~/a", "https://mirror.org/hf/a"]
)
def test_nothing_of_the_hub_is_asked_when_it_is_switched_off(url):
    with pytest.raises(RemoteError) as caught:
        place(url, HubSettings(endpoint=MIRROR.endpoint, offline=True))
    assert caught.value.error_code == "remote.offline"


def test_others_are_asked_also_when_the_hub_is_switched_off():
    assert place("https://other.org/a", HubSettings(offline=True)) == "https://other.org/a"
