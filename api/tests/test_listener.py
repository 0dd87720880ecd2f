"""The server's address: taken, or refused with a reason."""

import pytest

from hyprstream_api.listener import bind, url_of
from hyprstream_core.errors import ConfigError


@pytest.mark.parametrize("host", ["a..b", ".", "a" * 64 + ".example", "a\0b", "\ud800", "no such host", "127.0.0.1:80"])
def test_what_is_no_address_is_a_bad_setting(host):
    with pytest.raises(ConfigError, match="which is no address") as caught:
        bind(host, 0)
    assert caught.value.param == "server.host"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_loopback_address_is_bound_and_can_be_written_as_a_url(host):
    with bind(host, 0) as listener:
        address, port = listener.getsockname()[:2]
        assert url_of(listener) in (f"http://{address}:{port}", f"http://[{address}]:{port}")
