"""The Qwen families: what this plugin provides, named lazily."""

from __future__ import annotations

from collections.abc import Iterator

from hyprstream_core import hookimpl
from hyprstream_core.interfaces.model import Architecture
from hyprstream_core.interfaces.response import ResponseFormat

api_version = "1.0"


@hookimpl
def hyprstream_architectures() -> Iterator[Architecture]:
    """Qwen3 dense."""
    yield Architecture(
        name="qwen3",
        hf_architectures=("Qwen3ForCausalLM",),
        model_types=("qwen3",),
        load="hyprstream_qwen.qwen3:Qwen3",
    )


@hookimpl
def hyprstream_response_formats() -> Iterator[ResponseFormat]:
    """Tool calls and thinking as Qwen2.5 and Qwen3 write them."""
    yield ResponseFormat("hermes", detect=("<tool_call>",), load="hyprstream_qwen.hermes:HermesParser")
    yield ResponseFormat("think", detect=("</think>",), load="hyprstream_qwen.hermes:HermesParser")
