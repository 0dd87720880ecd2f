"""Our own plugins keep the promises that we ask of everybody's."""

from hyprstream_core.testing.suites.plugin import PluginSuite


class TestQwen(PluginSuite):
    plugin = "qwen"


class TestDemo(PluginSuite):
    plugin = "demo"


class TestApi(PluginSuite):
    plugin = "api"
