"""The request of ``chat/completions``: its fields, and the prompt and options that they ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, to_builtins

from hyprstream_api.fields import (
    CommonFields,
    TokenCount,
    check_at_most,
    options_of,
    read,
    unsupported,
)
from hyprstream_core.config import Limits
from hyprstream_core.errors import InvalidRequest
from hyprstream_core.front import ChatPrompt, Options

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]
Name = Annotated[str, Meta(max_length=128)]
FunctionName = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="1 to 64 letters, digits, '_', '.' or '-'")
]


class TextPart(Struct, frozen=True, tag_field="type", tag="text", forbid_unknown_fields=True):
    """A piece of text."""

    text: str


Content = str | list[TextPart]


class SystemMessage(Struct, frozen=True, tag_field="role", tag="system", forbid_unknown_fields=True):
    """Instructions."""

    content: Content
    name: Name | None = None


class DeveloperMessage(Struct, frozen=True, tag_field="role", tag="developer", forbid_unknown_fields=True):
    """Instructions, by OpenAI's newer name; the template sees a system message."""

    content: Content
    name: Name | None = None


class UserMessage(Struct, frozen=True, tag_field="role", tag="user", forbid_unknown_fields=True):
    """What the user says."""

    content: Content
    name: Name | None = None


class ToolMessage(Struct, frozen=True, tag_field="role", tag="tool", forbid_unknown_fields=True):
    """What a tool returned, and to which call."""

    content: Content
    tool_call_id: Annotated[str, Meta(min_length=1)]
    name: Name | None = None


class CalledFunction(Struct, frozen=True, forbid_unknown_fields=True):
    """The function of a call; ``arguments`` is JSON text."""

    name: FunctionName
    arguments: str = "{}"


class ToolCall(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A call that the assistant made."""

    function: CalledFunction
    id: str = ""
    type: Literal["function"] = "function"
    index: int | None = None


class AssistantMessage(Struct, frozen=True, tag_field="role", tag="assistant", forbid_unknown_fields=True):
    """What the assistant said. The fields after ``tool_calls`` come back from clients that replay an answer as
    they got it; with anything in them they are refused."""

    content: Content | None = None
    name: Name | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] | None = None
    annotations: Annotated[list[Any], Meta(max_length=0)] | None = None
    audio: None = None
    function_call: None = None
    refusal: None = None


Message = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage


class FunctionDefinition(Struct, frozen=True, forbid_unknown_fields=True):
    """A function that may be called; ``parameters`` is a JSON schema."""

    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tool that may be called."""

    function: FunctionDefinition
    type: Literal["function"] = "function"


class ChatFields(CommonFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields that work."""

    messages: Annotated[list[Message], Meta(min_length=1)]
    max_completion_tokens: TokenCount | None = None
    tools: list[Tool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    reasoning_effort: Effort | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None


def read_chat(raw: dict[str, Any], limits: Limits) -> tuple[ChatFields, ChatPrompt, Options]:
    """The request, checked, and what it asks of the front.

    Raises:
        InvalidRequest: names the field.
    """
    for name, limit in (("messages", limits.messages), ("tools", limits.tools)):
        if isinstance(given := raw.get(name), list):
            check_at_most(name, len(given), limit)
    fields = read(raw, ChatFields, limits)
    return fields, _prompt(fields), options_of(fields, _max_tokens(fields))


def _prompt(fields: ChatFields) -> ChatPrompt:
    continues = bool(fields.continue_final_message)
    generation = not continues if fields.add_generation_prompt is None else fields.add_generation_prompt
    if continues and generation:
        raise InvalidRequest(
            "continue_final_message and add_generation_prompt exclude each other", param="continue_final_message"
        )
    return ChatPrompt(
        model=fields.model,
        messages=[_message(m) for m in fields.messages],
        tools=_tools(fields.tools or ()),
        tool_choice=_tool_choice(fields),
        template_kwargs=fields.chat_template_kwargs or {},
        reasoning_effort=fields.reasoning_effort,
        add_generation_prompt=generation,
        continue_final_message=continues,
    )


def _message(message: Message) -> dict[str, Any]:
    """The message as a template sees it: text as one string, nothing that is unset."""
    plain = {k: v for k, v in to_builtins(message).items() if v is not None and k != "annotations"}
    if plain["role"] == "developer":
        plain["role"] = "system"
    content = plain.get("content", "")
    plain["content"] = content if isinstance(content, str) else "\n".join(part["text"] for part in content)
    for call in plain.get("tool_calls", ()):
        call.pop("index", None)
    if not plain.get("tool_calls"):
        plain.pop("tool_calls", None)
    if reasoning := plain.pop("reasoning", None) or plain.get("reasoning_content"):
        plain["reasoning_content"] = reasoning
    return plain


def _tools(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """The tools as a template sees them, each name once: an answer names the function that it calls."""
    first: dict[str, int] = {}
    for index, tool in enumerate(tools):
        if (other := first.setdefault(tool.function.name, index)) != index:
            param = f"tools[{index}].function.name"
            raise InvalidRequest(f"{param}: got {tool.function.name!r}, which tools[{other}] has already", param=param)
    return [_tool(tool, index) for index, tool in enumerate(tools)]


def _tool(tool: Tool, index: int) -> dict[str, Any]:
    if tool.function.strict:
        raise unsupported(f"tools[{index}].function.strict")
    function = {k: v for k, v in to_builtins(tool.function).items() if v is not None and k != "strict"}
    return {"type": "function", "function": function}


def _tool_choice(fields: ChatFields) -> Literal["auto", "none"]:
    choice = fields.tool_choice
    if choice is None or choice == "auto":
        return "auto"
    if choice == "none":
        return "none"
    if choice == "required":
        raise unsupported("tool_choice", "tool_choice 'required'")
    if isinstance(choice, dict):
        raise unsupported("tool_choice", "a tool_choice that names what to call")
    raise InvalidRequest(f"tool_choice: got {choice!r}, expected 'auto' or 'none'", param="tool_choice")


def _max_tokens(fields: ChatFields) -> int | None:
    given = {n for n in (fields.max_tokens, fields.max_completion_tokens) if n is not None}
    if len(given) > 1:
        raise InvalidRequest(
            "max_tokens and max_completion_tokens are two names of one field and differ", param="max_tokens"
        )
    return next(iter(given), None)
