"""From a chat prompt to the variables of a chat template, and what to do with the rendered text."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from hyprstream_core.config import Limits
from hyprstream_core.errors import InvalidRequest
from hyprstream_core.front.records import ChatPrompt
from hyprstream_core.text.quoting import Quotes
from hyprstream_core.text.tokenizer import SPECIAL_TOKENS

RESERVED = frozenset(
    {
        *SPECIAL_TOKENS,
        "add_generation_prompt",
        "chat_template",
        "continue_final_message",
        "conversation",
        "max_length",
        "messages",
        "padding",
        "return_assistant_tokens_mask",
        "return_dict",
        "return_tensors",
        "tokenize",
        "tokenizer_kwargs",
        "tools",
        "truncation",
    }
)
"""Names that a client cannot set: the front's own variables, and arguments of transformers' function."""


@dataclass(frozen=True)
class Conversation:
    """A checked chat prompt. ``variables`` are the template's; ``tools`` the names that may be called."""

    variables: Mapping[str, Any]
    tools: tuple[str, ...]
    mark: str = ""
    """Stands at the end of the message that is to be continued."""

    def cut(self, rendered: str) -> str:
        """The prompt: ``rendered`` up to the end of the message that is to be continued.

        Raises:
            InvalidRequest: the template leaves that message out.
        """
        if not self.mark:
            return rendered
        end = rendered.rfind(self.mark)
        if end < 0:
            raise InvalidRequest(
                "continue_final_message: the chat template leaves out the end of the final message",
                param="continue_final_message",
            )
        # The mark had a space after it: where that is gone, the template trims messages.
        kept = rendered[end + len(self.mark) :].startswith(" ")
        return rendered[:end] if kept else rendered[:end].rstrip()


def conversation(
    prompt: ChatPrompt, template: str, special_tokens: Mapping[str, str], quotes: Quotes, limits: Limits
) -> Conversation:
    """Check ``prompt`` and prepare it for ``template``, with ``quotes`` around special tokens of its own.

    Raises:
        InvalidRequest: ``param`` names the field.
    """
    _check_counts(prompt, limits)
    _check_variables(prompt, template)
    messages = [_message(message, index) for index, message in enumerate(prompt.messages)]
    tools = [] if prompt.tool_choice == "none" else [dict(tool) for tool in prompt.tools]
    names = tuple(_tool_name(tool, index) for index, tool in enumerate(tools))
    mark = _mark_end(messages, prompt) if prompt.continue_final_message else ""
    variables = {
        **special_tokens,
        "documents": None,
        **_thinking(prompt, template),
        **quotes.quote(prompt.template_kwargs),
        "messages": quotes.quote(messages),
        "tools": quotes.quote(tools) or None,
        "add_generation_prompt": prompt.add_generation_prompt,
    }
    return Conversation(variables, names, mark)


def _check_counts(prompt: ChatPrompt, limits: Limits) -> None:
    if not 1 <= len(prompt.messages) <= limits.messages:
        raise InvalidRequest(f"messages: got {len(prompt.messages)}, expected 1 to {limits.messages}", param="messages")
    if len(prompt.tools) > limits.tools:
        raise InvalidRequest(f"tools: got {len(prompt.tools)}, expected at most {limits.tools}", param="tools")
    if prompt.tool_choice not in ("auto", "none"):
        raise InvalidRequest(f"tool_choice: got {prompt.tool_choice!r}, expected 'auto' or 'none'", param="tool_choice")
    if prompt.continue_final_message and prompt.add_generation_prompt:
        raise InvalidRequest(
            "continue_final_message and add_generation_prompt exclude each other", param="continue_final_message"
        )


def _check_variables(prompt: ChatPrompt, template: str) -> None:
    """Refuse variables that are not the client's to set, and those that the template does not know: they would
    change nothing, and nobody would hear of the slip of the pen."""
    for name in prompt.template_kwargs:
        param = f"chat_template_kwargs.{name:.60}"
        if name in RESERVED or not name.isidentifier():
            raise InvalidRequest(f"chat_template_kwargs: {name!r:.60} cannot be set", param=param)
        if not _mentions(template, name):
            raise InvalidRequest(
                f"chat_template_kwargs: the model's chat template has no variable {name!r:.60}", param=param
            )


def _mentions(template: str, name: str) -> bool:
    """Whether ``name`` is a word of ``template``."""
    return re.search(rf"\b{re.escape(name)}\b", template) is not None


def _thinking(prompt: ChatPrompt, template: str) -> dict[str, Any]:
    """The variables for ``reasoning_effort``. A model that never thinks can only be asked not to."""
    if prompt.reasoning_effort is None:
        return {}
    thinks = prompt.reasoning_effort not in ("none", "minimal")
    if prompt.template_kwargs.get("enable_thinking", thinks) is not thinks:
        raise InvalidRequest(
            f"reasoning_effort {prompt.reasoning_effort!r} contradicts chat_template_kwargs.enable_thinking",
            param="reasoning_effort",
        )
    if thinks and not any(_mentions(template, name) for name in ("enable_thinking", "reasoning_effort")):
        raise InvalidRequest(
            f"reasoning_effort: got {prompt.reasoning_effort!r}, but the model's chat template cannot switch "
            "thinking on",
            remedy="leave it out, or send 'none'",
            code="unsupported_parameter",
            param="reasoning_effort",
        )
    return {"enable_thinking": thinks, "reasoning_effort": prompt.reasoning_effort}


def _message(message: Mapping[str, Any], index: int) -> dict[str, Any]:
    """A copy in which the arguments of tool calls are objects, as templates expect them."""
    if not isinstance(message.get("role"), str):
        raise InvalidRequest(f"messages[{index}].role: expected a string", param=f"messages[{index}].role")
    result = dict(message)
    calls = result.get("tool_calls")
    if calls:
        result["tool_calls"] = [_call(call, f"messages[{index}].tool_calls[{i}]") for i, call in enumerate(calls)]
    return result


def _call(call: Mapping[str, Any], path: str) -> dict[str, Any]:
    function = call.get("function")
    arguments = function.get("arguments") if isinstance(function, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(arguments, str):
        return dict(call)
    return {**call, "function": {**function, "arguments": _arguments(arguments, f"{path}.function.arguments")}}


def _arguments(text: str, path: str) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}", parse_constant=_refuse)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidRequest(f"{path}: got {text!r:.60}, expected the JSON text of an object", param=path)
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _tool_name(tool: Mapping[str, Any], index: int) -> str:
    function = tool.get("function")
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str) or not name:
        raise InvalidRequest(f"tools[{index}].function.name: expected a name", param=f"tools[{index}].function.name")
    return name


def _mark_end(messages: list[dict[str, Any]], prompt: ChatPrompt) -> str:
    """Put a mark that no text can hold at the end of the last message (transformers does the same)."""
    content = messages[-1].get("content")
    if not isinstance(content, str) or not content:
        raise InvalidRequest(
            f"messages[{len(messages) - 1}].content: got {content!r:.40}, expected text that can be continued",
            param=f"messages[{len(prompt.messages) - 1}].content",
        )
    mark = f"\ue000{secrets.randbits(128)}\ue001"
    messages[-1]["content"] = f"{content}{mark} "
    return mark
