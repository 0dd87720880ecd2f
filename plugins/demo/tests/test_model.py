"""The shipped model: its files, what it knows, and that the knowledge is in the weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from training.evaluate import answers
from training.examination import Question, load_questions
from training.model import MODEL, VOCAB, Qwen3, config_files, tokenizer_config
from training.rendering import Renderer
from training.tokenizer import train_tokenizer
from training.train import TOKENIZER_EXAMPLES, Plan, train, writer_for

QUESTIONS = load_questions()
FIXED = [q for q in QUESTIONS if q.group != "tool"]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def said() -> dict[int, str]:
    """The model's greedy answer to every question of the examination, by the question's ``id``."""
    torch.set_num_threads(1)
    return {id(question): answer for question, answer in zip(QUESTIONS, answers(MODEL, QUESTIONS), strict=True)}


def ask(directory: Path, question: str, **more: bool) -> str:
    return answers(directory, [Question("chat", question)], **more)[0]


def test_nine_of_ten_answers_hold_the_key_fact(said: dict[int, str]) -> None:
    wrong = [(q.question, said[id(q)]) for q in FIXED if not q.is_right(said[id(q)])]
    assert len(wrong) <= 4, wrong


def test_paraphrases_that_were_never_learnt_are_answered_too(said: dict[int, str]) -> None:
    """17 of 20: less than of what was learnt, and part of the forty."""
    held_out = [q for q in FIXED if q.group == "held_out"]
    wrong = [(q.question, said[id(q)]) for q in held_out if not q.is_right(said[id(q)])]
    assert len(wrong) <= 3, wrong


def test_tools_are_called_when_and_only_when_they_are_needed(said: dict[int, str]) -> None:
    """13 of 20: a model of this size slips when it copies rare words and chooses between several tools."""
    tools = [q for q in QUESTIONS if q.group == "tool"]
    wrong = [(q.question, said[id(q)]) for q in tools if not q.is_right(said[id(q)])]
    assert len(wrong) <= 7, wrong


def test_answers_come_from_the_weights(tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(MODEL, copy)
    before = ask(copy, "What is LoRA?")
    assert "low-rank" in before
    tensors = load_file(copy / "model.safetensors")
    name = "model.layers.3.mlp.down_proj.weight"
    tensors[name] = torch.zeros_like(tensors[name])
    tensors["model.layers.2.self_attn.o_proj.weight"].mul_(-1)
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    assert ask(copy, "What is LoRA?") != before


def test_it_thinks_when_asked_to() -> None:
    answer = ask(MODEL, "What is LoRA?", thinking=True)
    thought, _, rest = answer.partition("</think>\n\n")
    assert thought.startswith("<think>\n")
    assert "LoRA" in thought
    assert "low-rank" in rest


def test_the_files_are_those_of_a_qwen3() -> None:
    config = json.loads((MODEL / "config.json").read_text())
    assert config["architectures"] == ["Qwen3ForCausalLM"]
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    ends = [tokenizer.token_to_id("<|im_end|>"), tokenizer.token_to_id("<|endoftext|>")]
    assert json.loads((MODEL / "generation_config.json").read_text())["eos_token_id"] == ends
    assert tokenizer.get_vocab_size() == config["vocab_size"] == VOCAB
    tensors = load_file(MODEL / "model.safetensors")
    assert {t.dtype for t in tensors.values()} == {torch.bfloat16}
    assert (MODEL / "model.safetensors").stat().st_size <= 8_000_000


def test_the_shipped_small_files_are_what_the_script_writes() -> None:
    """The weights take half an hour to make again; everything else is made again here."""
    writer, renderer = writer_for(Plan.seed), Renderer()
    texts = ("".join(renderer.example(writer.example())) for _ in range(TOKENIZER_EXAMPLES))
    tokenizer = train_tokenizer(texts, VOCAB)
    assert json.loads(tokenizer.to_str()) == json.loads((MODEL / "tokenizer.json").read_text(encoding="utf-8"))
    for name, value in config_files(tokenizer).items():
        assert json.loads((MODEL / name).read_text()) == value
    for folder, brief in (("model", False), ("brief", True)):
        shipped = (MODEL.parent / folder / "tokenizer_config.json").read_text(encoding="utf-8")
        assert json.loads(shipped) == tokenizer_config(tokenizer, brief=brief)


def trained(plan: Plan) -> dict[str, torch.Tensor]:
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    torch.manual_seed(plan.seed)
    model = Qwen3(config_files(tokenizer)["config.json"])
    model.initialise()
    train(model, tokenizer, plan)
    return {name: parameter.detach().clone() for name, parameter in model.module.named_parameters()}


def test_the_same_plan_trains_the_same_weights() -> None:
    torch.use_deterministic_algorithms(True)
    try:
        first, again, other = (trained(Plan(seed=seed, steps=3, batch_tokens=1024)) for seed in (1, 1, 2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_transformers_gives_the_same_answers(said: dict[int, str]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    for question in [*FIXED[::4], *QUESTIONS[40::5]]:
        prompt = tokenizer.apply_chat_template(
            question.messages, tools=list(question.tools) or None, add_generation_prompt=True, tokenize=False
        )
        assert prompt == Renderer().prompt(question.messages, list(question.tools))
        encoded = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
        made = model.generate(**encoded, do_sample=False, max_new_tokens=120, temperature=None, top_k=None, top_p=None)
        answer = tokenizer.decode(made[0, encoded["input_ids"].shape[1] :], skip_special_tokens=True)
        assert answer == said[id(question)]
