"""The text that the demo model learns from: deterministic, consistent, and without the held-out questions."""

from __future__ import annotations

import json
import re
from pathlib import Path
from random import Random
from unicodedata import normalize

import pytest

from training.conversations import Writer
from training.examination import Question, load_questions, schema
from training.facts import load_facts
from training.phrases import exclaim, expand, say
from training.rendering import Renderer
from training.toolbox import Toolbox

CONVERSATIONS = 4000


def normal(text: str) -> str:
    """Letters, digits and single spaces."""
    return " ".join(re.sub(r"[^a-z0-9 ]", " ", text.lower()).split())


@pytest.fixture(scope="module")
def written_questions() -> set[str]:
    """Every question that the templates of facts and small talk stand for."""
    writer = Writer(Random(0))
    templates = [q for fact in writer.facts for q in fact.questions]
    templates += [q for talk in writer.talks for q in talk["questions"]] + list(writer.elsewhere["questions"])
    templates += [q for questions in writer.follow_ups.values() for q in questions]
    return {normal(question) for template in templates for question in expand(template)}


@pytest.fixture(scope="module")
def conversations() -> list[str]:
    """The beginning of the text of the shipped model."""
    writer, renderer = Writer(Random(2)), Renderer()
    return ["".join(renderer.example(writer.example())) for _ in range(CONVERSATIONS)]


def of_group(group: str) -> list[Question]:
    return [q for q in load_questions() if q.group == group]


def test_the_examination_is_forty_questions_half_of_them_held_out() -> None:
    assert len(of_group("seen")) == len(of_group("held_out")) == 20
    assert len({normal(q.question) for q in of_group("seen") + of_group("held_out")}) == 40


def test_no_held_out_question_is_in_the_training_text(written_questions: set[str], conversations: list[str]) -> None:
    text = "\n".join(map(normal, conversations))
    for question in of_group("held_out"):
        assert normal(question.question) not in written_questions
        assert normal(question.question) not in text


def test_every_seen_question_is_one_of_the_templates(written_questions: set[str]) -> None:
    assert [q.question for q in of_group("seen") if normal(q.question) not in written_questions] == []


def test_no_question_has_two_answers() -> None:
    answers: dict[str, str] = {}
    for fact in load_facts():
        for template in fact.questions:
            for question in expand(template):
                assert answers.setdefault(normal(question), fact.answer) == fact.answer, question


def test_the_first_sentence_of_every_fact_holds_its_key() -> None:
    for fact in load_facts():
        assert any(key in fact.brief for key in fact.keys), fact
        assert fact.answer.startswith(fact.brief), fact
        assert fact.facet in ("what", "how", "why", "more"), fact


def test_every_small_talk_answer_holds_its_key_and_is_a_sentence() -> None:
    for talk in Writer(Random(0)).talks:
        for answer in talk["answers"]:
            assert talk["key"] in answer, talk
            assert answer[-1] in ".!?", talk


def test_answers_name_only_verbs_that_exist() -> None:
    documented = (Path(__file__).parents[3] / "docs" / "cli.md").read_text(encoding="utf-8")
    verbs = set(re.findall(r"^### hyprstream (\w+)$", documented, re.MULTILINE))
    assert {"clone", "demo", "server"} <= verbs
    for fact in load_facts():
        named = re.findall(r"(?:[Uu]se|with|then|installed,|example:) hyprstream (\w+)", fact.answer)
        assert set(named) <= verbs, fact


def test_a_calculation_without_a_tool_is_declined() -> None:
    toolbox = Toolbox(Random(6))
    for _ in range(200):
        asked = toolbox.sum()
        assert not asked.tools
        assert "without a tool" in asked.answer


def test_names_of_other_languages_are_copied_whole() -> None:
    toolbox = Toolbox(Random(7))
    calls = [
        asked for asked in (toolbox.question(needs_call=True) for _ in range(3000)) if not asked.question.isascii()
    ]
    assert len(calls) > 200
    for asked in calls:
        assert normalize("NFC", asked.question) == asked.question
        assert (
            json.loads(re.findall(r"<tool_call>\n(.*?)\n</tool_call>", asked.answer)[0]) == asked.calls[0]["function"]
        )


@pytest.mark.parametrize("words", ["ok", "thank you"])
def test_short_words_come_with_any_capitals_and_punctuation(words: str) -> None:
    rng = Random(8)
    said = {exclaim(rng, words) for _ in range(500)}
    assert {words, words.upper(), words.capitalize(), f"{words}!", f"{words.upper()}."} <= said


def test_the_same_seed_writes_the_same_text(conversations: list[str]) -> None:
    writer, renderer = Writer(Random(2)), Renderer()
    assert ["".join(renderer.example(writer.example())) for _ in range(300)] == conversations[:300]
    other = Writer(Random(3))
    assert ["".join(renderer.example(other.example())) for _ in range(300)] != conversations[:300]


def test_no_slot_or_alternative_is_left_in_the_text(conversations: list[str]) -> None:
    for text in conversations:
        assert not re.search(r"<(city|text|int|person|word|id|path|title)\d?>|\[[^\]\"]*\|", text), text


def test_arguments_are_copied_from_the_question() -> None:
    toolbox = Toolbox(Random(4))
    for _ in range(2000):
        asked = toolbox.question(needs_call=True)
        offered = {tool["function"]["name"]: tool["function"] for tool in asked.tools}
        assert len(offered) == len(asked.tools)
        for made in asked.calls:
            function = made["function"]
            declared = offered[function["name"]]["parameters"]
            assert set(declared.get("required", ())) <= set(function["arguments"]) <= set(declared["properties"])
            for name, value in function["arguments"].items():
                assert str(value) in asked.question, asked
                number = declared["properties"][name]["type"] in ("number", "integer")
                assert isinstance(value, int) == number, asked


def test_calls_are_written_as_json_that_reads_back() -> None:
    toolbox = Toolbox(Random(5))
    for _ in range(500):
        asked = toolbox.question(needs_call=True).lower()
        texts = re.findall(r"<tool_call>\n(.*?)\n</tool_call>", asked.answer)
        assert [json.loads(text) for text in texts] == [c["function"] for c in asked.calls]


def test_the_template_shows_tools_as_signatures() -> None:
    tool = schema("get_weather(city: string, days: integer) Get the weather.")
    tool["function"]["parameters"]["required"] = ["city"]
    tool["function"]["parameters"]["properties"]["unit"] = {"type": "string", "enum": ["celsius", "fahrenheit"]}
    prompt = Renderer().prompt([{"role": "user", "content": "Hello"}], [tool])
    assert "\nget_weather(city: string, days?: integer, unit?: celsius|fahrenheit) Get the weather.\n</tools>" in prompt


def test_thinking_is_off_unless_it_is_asked_for() -> None:
    messages = [{"role": "user", "content": "Hello"}]
    assert Renderer().prompt(messages).endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert Renderer().prompt(messages, thinking=True).endswith("<|im_start|>assistant\n")


def test_the_branch_brief_asks_for_brevity_in_front_of_the_users_own_system_prompt() -> None:
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello"}]
    prompt = Renderer(brief=True).prompt(messages)
    assert prompt.startswith("<|im_start|>system\nAnswer in one short sentence.\nBe kind.<|im_end|>\n")
    assert Renderer(brief=True).prompt(messages[1:]).count("Answer in one short sentence.") == 1


def test_several_tool_results_share_one_turn() -> None:
    calls = [{"type": "function", "function": {"name": "f", "arguments": json.dumps({"a": 1})}}] * 2
    messages = [
        {"role": "user", "content": "Do it twice"},
        {"role": "assistant", "content": None, "tool_calls": calls, "reasoning_content": "Twice."},
        {"role": "tool", "content": "one"},
        {"role": "tool", "content": "two"},
    ]
    prompt = Renderer().prompt(messages)
    assert prompt.count("<|im_start|>user") == 2
    assert "<think>\nTwice.\n</think>\n\n<tool_call>\n" + '{"name": "f", "arguments": {"a": 1}}' in prompt
    assert "<tool_response>\none\n</tool_response>\n<tool_response>\ntwo\n</tool_response><|im_end|>" in prompt


@pytest.mark.parametrize("template", ["[a|b] c", "what: X", "how: [serve|run] it"])
def test_say_chooses_among_the_expansions(template: str) -> None:
    rng = Random(1)
    assert {say(rng, template) for _ in range(2000)} == set(expand(template))
