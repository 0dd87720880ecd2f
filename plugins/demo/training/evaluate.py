"""Asks the demo model the fixed questions, from its shipped files, and prints the score.

Answers are greedy and in fp32; the fixed forty must reach 36. About a minute on one core.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from training.examination import Question, load_questions
from training.model import MODEL, Qwen3, config_files, greedy, stop_id
from training.rendering import Renderer

PASS = 0.9


def load_model(directory: Path, tokenizer: Tokenizer) -> Qwen3:
    """The model in ``directory``, computing in fp32."""
    model = Qwen3(config_files(tokenizer)["config.json"])
    tensors = {name: t.float() for name, t in load_file(directory / "model.safetensors").items()}
    model.module.load_state_dict({**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"]})
    return model


def answers(directory: Path, questions: Sequence[Question], *, thinking: bool = False) -> list[str]:
    """The greedy answer to each question, markup included."""
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    model, renderer = load_model(directory, tokenizer), Renderer()
    prompts = [renderer.prompt(q.messages, list(q.tools), thinking=thinking) for q in questions]
    ids = [encoding.ids for encoding in tokenizer.encode_batch(prompts)]
    made = greedy(model, ids, stop_id(tokenizer))
    return [tokenizer.decode(answer) for answer in made]


def main() -> int:
    """Print every question with its answer; 0 when the fixed forty are passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--thinking", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    questions = load_questions()
    said = answers(given.model, questions, thinking=given.thinking)
    right = [q.is_right(answer) for q, answer in zip(questions, said, strict=True)]
    for question, answer, ok in zip(questions, said, right, strict=True):
        print(f"{'ok   ' if ok else 'WRONG'} {question.group:8} {question.question}\n      {answer!r}")
    for group in ("seen", "held_out", "tool"):
        of = [ok for q, ok in zip(questions, right, strict=True) if q.group == group]
        print(f"{group}: {sum(of)} of {len(of)}")
    fixed = [ok for q, ok in zip(questions, right, strict=True) if q.group != "tool"]
    print(f"score: {sum(fixed)} of {len(fixed)}")
    return 0 if sum(fixed) >= PASS * len(fixed) else 1


if __name__ == "__main__":
    sys.exit(main())
