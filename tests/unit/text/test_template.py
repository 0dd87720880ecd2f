import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hyprstream_core.config import Limits
from hyprstream_core.errors import TemplateError, Unavailable
from hyprstream_core.text.template import TemplateRenderer

TEMPLATES = Path(__file__).parent / "templates"
CALL = {"id": "abcdefghi", "type": "function", "function": {"name": "weather", "arguments": {"city": "Köln <x>"}}}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": 'Says "what" it\'s like & so',
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
USER = {"role": "user", "content": " What's <up>?\n日本 😀 "}
SYSTEM = {"role": "system", "content": "Be brief."}
ASSISTANT = {"role": "assistant", "content": "<think>\nhm\n</think>\n\nFine."}
CALLING = {"role": "assistant", "content": "", "tool_calls": [CALL]}
RESULT = {"role": "tool", "content": "18 °C", "tool_call_id": "abcdefghi"}
CONVERSATIONS = {
    "question": [USER],
    "system": [SYSTEM, USER],
    "dialogue": [SYSTEM, USER, ASSISTANT, USER],
    "tools": [SYSTEM, USER, CALLING, RESULT],
    "two-results": [USER, CALLING, RESULT, RESULT, ASSISTANT, USER],
    "reasoning": [USER, {**CALLING, "reasoning_content": "I look."}, RESULT, {**ASSISTANT, "reasoning_content": "b"}],
    "bad-roles": [ASSISTANT, ASSISTANT],
}


def run(test, limits=None):
    """Run ``test(renderer)``, which is a coroutine function."""

    async def main():
        renderer = TemplateRenderer(limits or Limits())
        try:
            return await test(renderer)
        finally:
            await renderer.close()

    return asyncio.run(main())


def expected(source: str, variables: dict) -> str:
    """What transformers makes of it; its refusals as text."""
    import jinja2
    from transformers.utils.chat_template_utils import render_jinja_template

    variables = dict(variables)
    try:
        (rendered,), _ = render_jinja_template([variables.pop("messages")], chat_template=source, **variables)
    except (jinja2.TemplateError, TypeError) as error:
        return f"refused: {error}"
    return rendered


async def rendered(renderer: TemplateRenderer, source: str, variables: dict) -> str:
    try:
        return await renderer.render(source, variables)
    except TemplateError as error:
        return "refused: " + error.message.removeprefix("the chat template refused: ").removeprefix(
            "the chat template failed: TypeError: "
        )


@pytest.mark.parametrize("name", ["qwen3", "llama3", "mistral", "gemma", "features"])
def test_templates_mean_what_they_mean_to_transformers(name):
    source = (TEMPLATES / f"{name}.jinja").read_text()
    base = {"bos_token": "<s>", "eos_token": "</s>", "documents": None}

    async def test(renderer):
        compared = set()
        for messages in CONVERSATIONS.values():
            for tools in (None, [TOOL]):
                for extra in ({"add_generation_prompt": True}, {"add_generation_prompt": False},
                              {"add_generation_prompt": True, "enable_thinking": False}):  # fmt: skip
                    variables = {**base, "messages": messages, "tools": tools, **extra}
                    want = expected(source, variables)
                    assert await rendered(renderer, source, variables) == want
                    compared.add(want)
        return compared

    assert len(run(test)) > 5


def test_the_child_is_reused_and_renders_queue():
    async def test(renderer):
        await renderer.start()
        pid = renderer.pid
        texts = await asyncio.gather(*(renderer.render("{{ x }}", {"x": i}) for i in range(50)))
        assert texts == [str(i) for i in range(50)]
        assert renderer.pid == pid

    run(test)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ (''|attr('__class__')).__mro__ }}",
        "{{ lipsum.__globals__['os'].environ }}",
        "{{ '{0.__class__.__mro__}'.format('') ~ ('%s' % ''.__class__) }}",
        "{{ [''] | map(attribute='__class__') | first | attr('__mro__') | list }}",
        "{{ self._TemplateReference__context.environment.loader.x }}",
        "{{ namespace.__init__.__globals__ }}",
        "{{ joiner.__init__.__globals__.os }}",
        "{{ messages.append(1) }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{{ raise_exception.__globals__ }}",
        "{{ strftime_now.__code__ }}",
    ],
)
def test_case_028_templates_reach_nothing(source):
    async def test(renderer):
        text, code = "", None
        try:
            text = await renderer.render(source, {"messages": []})
        except TemplateError as error:
            code = error.error_code
        assert (text, code) in [("", "template.failed"), ("", None), ("[]", None)]  # refused, or undefined

    run(test)


LOOPS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
DOUBLING = "{% set n = namespace(s='xxxxxxxx') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}"


@pytest.mark.parametrize(
    "source",
    [
        LOOPS,
        DOUBLING,
        "{{ '%1000000000d' % 1 }}",
        "{{ 10**(10**8) }}",
        "{{ 'a' * 10**9 }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
        "{{ lipsum(n=10**6) }}",
        "{{ ('a ' * 2**21) | wordwrap(1) }}{{ ('a ' * 2**21) | wordwrap(1) }}",
        "{% for i in range(99999) %}0123456789012345678901234567890123456789012345678901{% endfor %}",
    ],
    ids=["loops", "doubling", "format", "power", "repeat", "recursion", "nesting", "lipsum", "wordwrap", "output"],
)
def test_case_029_templates_cannot_take_the_machine(source):
    async def test(renderer):
        await renderer.start()
        start = time.monotonic()
        with pytest.raises(TemplateError) as caught:
            await renderer.render(source, {})
        assert caught.value.error_code == "template.limit"
        assert time.monotonic() - start < 5
        assert await renderer.render("{{ 1 + 1 }}", {}) == "2"  # a restart is transparent

    run(test)


def test_limits_on_source_and_output():
    async def test(renderer):
        with pytest.raises(TemplateError, match="100 are allowed") as caught:
            await renderer.render("é" * 51, {})
        assert caught.value.error_code == "template.limit"
        assert await renderer.render("{{ x }}", {"x": "é" * 25}) == "é" * 25
        with pytest.raises(TemplateError, match="larger than 50 bytes"):
            await renderer.render("{{ x }}", {"x": "é" * 26})

    run(test, Limits(template_bytes=100, template_output_bytes=50))


def test_a_whole_conversation_of_the_largest_size_passes():
    async def test(renderer):
        text = "é\x01\n" * 10**6
        assert await renderer.render("{{ x }}", {"x": text}) == text

    run(test)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{% if %}", "not valid in line 1"),
        ("{{ raise_exception('roles must alternate') }}", "refused: roles must alternate"),
        ("{{ 1 // 0 }}", "ZeroDivisionError"),
        ("{{ x.y.z }}", "undefined"),
        ("{{ '\\ud800' }}", "surrogates"),
    ],
)
def test_a_template_that_fails_says_why(source, said):
    async def test(renderer):
        with pytest.raises(TemplateError, match=said) as caught:
            await renderer.render(source, {})
        assert caught.value.error_code == "template.failed"

    run(test)


def test_variables_that_are_no_json_are_refused():
    async def test(renderer):
        with pytest.raises(TemplateError, match="plain JSON"):
            await renderer.render("x", {"x": object()})

    run(test)


def test_a_killed_child_is_replaced_without_notice():
    async def test(renderer):
        await renderer.start()
        pid = renderer.pid
        os.kill(pid, signal.SIGKILL)
        assert await renderer.render("{{ x }}", {"x": 1}) == "1"
        assert renderer.pid not in (None, pid)

    run(test)


def test_case_093_cancelling_a_render_ends_it_at_once():
    async def test(renderer):
        await renderer.start()
        slow = asyncio.create_task(renderer.render(LOOPS, {}))
        await asyncio.sleep(0.2)
        start = time.monotonic()
        slow.cancel()
        assert await renderer.render("ok", {}) == "ok"
        assert time.monotonic() - start < 1.5
        with pytest.raises(asyncio.CancelledError):
            await slow

    run(test, Limits(template_seconds=20))


def test_after_closing_there_is_no_child_and_no_render():
    async def main():
        renderer = TemplateRenderer(Limits())
        await renderer.start()
        pid = renderer.pid
        await renderer.close()
        assert renderer.pid is None
        assert not Path(f"/proc/{pid}").exists()
        with pytest.raises(Unavailable):
            await renderer.render("x", {})

    asyncio.run(main())


def test_a_child_that_does_not_start_is_no_fault_of_the_template(monkeypatch):
    async def test(renderer):
        monkeypatch.setattr(sys, "executable", "/bin/false")
        with pytest.raises(Unavailable, match="did not start"):
            await renderer.render("x", {})
        monkeypatch.undo()
        assert await renderer.render("x", {}) == "x"

    run(test)


def test_one_renderer_serves_several_event_loops():
    renderer = TemplateRenderer(Limits())
    for i in range(2):
        assert asyncio.run(renderer.render("{{ x }}", {"x": i})) == str(i)
    asyncio.run(renderer.close())


def test_the_child_has_no_environment_no_files_and_a_session_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setenv("HYPRSTREAM_API_KEY", "secret")

    async def test(renderer):
        with (tmp_path / "secret").open("w") as file:
            os.set_inheritable(file.fileno(), True)
            await renderer.start()
            process = Path(f"/proc/{renderer.pid}")
            assert (process / "environ").read_bytes() == b""
            targets = {str(fd.readlink()) for fd in (process / "fd").iterdir()}
            assert all(t.startswith("pipe:") or t == "/dev/null" for t in targets)
            assert os.getsid(renderer.pid) == renderer.pid
            limits = (process / "limits").read_text()
            assert "Max address space         536870912" in limits
            assert "Max file size             0 " in limits

    run(test)


def test_the_child_ends_with_its_parent():
    program = """if True:
        import asyncio, os, signal
        from hyprstream_core.config import Limits
        from hyprstream_core.text.template import TemplateRenderer
        async def main():
            renderer = TemplateRenderer(Limits())
            await renderer.start()
            print(renderer.pid, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        asyncio.run(main())"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 5
    while Path(f"/proc/{int(done.stdout)}/cmdline").exists():
        if Path(f"/proc/{int(done.stdout)}/cmdline").read_bytes() == b"":  # a zombie
            break
        assert time.monotonic() < deadline
        time.sleep(0.02)
