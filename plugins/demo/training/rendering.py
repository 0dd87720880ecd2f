"""Examples as text: the prompt by the chat template, and what the model should write after it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jinja2.sandbox import ImmutableSandboxedEnvironment

from training.conversations import BREVITY, Example

END = "<|im_end|>"
END_OF_TEXT = "<|endoftext|>"


def template_source(*, brief: bool = False) -> str:
    """The chat template; on the branch ``brief`` every conversation starts by asking for brevity."""
    source = Path(__file__).with_name("chat_template.jinja").read_text(encoding="utf-8")
    return source.replace("set brevity = ''", f"set brevity = {BREVITY!r}") if brief else source


class Renderer:
    """Renders as transformers does: trimmed blocks, JSON without escapes."""

    def __init__(self, *, brief: bool = False) -> None:
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
        self._template = environment.from_string(template_source(brief=brief))

    def prompt(self, messages: list[Any], tools: list[Any] | None = None, *, thinking: bool = False) -> str:
        """What the model sees before it speaks."""
        return self._template.render(
            messages=messages, tools=tools or None, add_generation_prompt=True, enable_thinking=thinking
        )

    def example(self, example: Example) -> tuple[str, str]:
        """Prompt and completion of ``example``."""
        if example.plain:
            return "", example.answer + END_OF_TEXT
        prompt = self.prompt(list(example.messages), list(example.tools), thinking=bool(example.reasoning))
        thought = f"<think>\n{example.reasoning}\n</think>\n\n" if example.reasoning else ""
        return prompt, thought + example.answer + END
