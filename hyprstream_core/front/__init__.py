"""What the API and ``infer`` share: render, tokenise, submit, detokenise, parse."""

from hyprstream_core.front.answer import Answer
from hyprstream_core.front.front import Front
from hyprstream_core.front.records import (
    ChatPrompt,
    Choice,
    Delta,
    Options,
    TextPrompts,
    Timing,
    ToolCall,
    ToolCallDelta,
    Usage,
)

__all__ = [
    "Answer",
    "ChatPrompt",
    "Choice",
    "Delta",
    "Front",
    "Options",
    "TextPrompts",
    "Timing",
    "ToolCall",
    "ToolCallDelta",
    "Usage",
]
