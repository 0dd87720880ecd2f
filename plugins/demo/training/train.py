"""Trains the demo model: writes the tokenizer, the configuration and the weights into ``hyprstream_demo``.

Same seed and same number of threads, same bytes: the text is drawn from a seeded generator and torch is told to
use deterministic algorithms. About an hour on one core with bf16 matrix instructions.

Matrices are trained by Muon (Jordan et al. 2024, in torch.optim), everything else by AdamW: here it needs
about half of the steps that AdamW alone takes.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch.nn import functional

from training.conversations import Writer
from training.model import BRIEF, MODEL, VOCAB, Qwen3, config_files, tokenizer_config, write_json
from training.rendering import Renderer
from training.tokenizer import train_tokenizer

TOKENIZER_EXAMPLES = 20_000
SHUFFLED = 2048
"""Examples that are sorted by length together, so that a batch holds little padding."""


@dataclass(frozen=True)
class Plan:
    """What decides the result."""

    seed: int = 1
    steps: int = 4000
    batch_tokens: int = 4096
    learning_rate: float = 3e-3
    warm_up: int = 100
    weight_decay: float = 0.05
    threads: int = 1


Sample = tuple[list[int], list[int]]
"""Token ids of the prompt and of what should follow."""


def generator(seed: int) -> Random:
    """Random numbers that are the same every time."""
    return Random(seed)  # noqa: S311 - text to learn from, not secrets


def writer_for(seed: int) -> Writer:
    """The training text of ``seed``."""
    return Writer(generator(seed))


def batches(tokenizer: Tokenizer, plan: Plan) -> Iterator[list[Sample]]:
    """Batches of samples of similar length, without end."""
    writer, renderer, rng = writer_for(plan.seed + 1), Renderer(), generator(plan.seed)
    while True:
        texts = [renderer.example(writer.example()) for _ in range(SHUFFLED)]
        prompts = tokenizer.encode_batch([prompt for prompt, _ in texts])
        answers = tokenizer.encode_batch([answer for _, answer in texts])
        samples = sorted(((p.ids, a.ids) for p, a in zip(prompts, answers, strict=True)), key=_length)
        cut, batch = [], list[Sample]()
        for sample in samples:
            if (len(batch) + 1) * _length(sample) > plan.batch_tokens:
                cut.append(batch)
                batch = []
            batch.append(sample)
        cut.append(batch)
        rng.shuffle(cut)
        yield from cut


def _length(sample: Sample) -> int:
    return len(sample[0]) + len(sample[1])


def loss_of(model: Qwen3, batch: list[Sample]) -> torch.Tensor:
    """Mean cross entropy of the answers' tokens; a sample without a prompt counts from its second token."""
    width = max(map(_length, batch))
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    rows: list[int] = []
    targets: list[int] = []
    for i, (prompt, answer) in enumerate(batch):
        text = prompt + answer
        ids[i, : len(text)] = torch.tensor(text)
        first = max(len(prompt), 1)
        rows += range(i * width + first - 1, i * width + len(text) - 1)
        targets += text[first:]
    logits = model.logits(ids.flatten(), torch.tensor(rows), model.step([width] * len(batch)))
    return functional.cross_entropy(logits, torch.tensor(targets))


def optimizers(model: Qwen3, plan: Plan) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, AdamW for the embedding and the norms."""
    named = dict(model.module.named_parameters())
    matrices = [p for name, p in named.items() if p.ndim == 2 and ".layers." in name]
    embedding = [p for name, p in named.items() if p.ndim == 2 and ".layers." not in name]
    norms = [p for p in named.values() if p.ndim == 1]
    rate, decay = plan.learning_rate, plan.weight_decay
    muon = torch.optim.Muon(matrices, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
    groups = [{"params": embedding, "weight_decay": decay}, {"params": norms, "weight_decay": 0.0}]
    return [muon, torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98))]


def rate_at(step: int, plan: Plan) -> float:
    """Linear warm-up, then a cosine down to a fiftieth."""
    warm = min(1.0, (step + 1) / plan.warm_up)
    cosine = 0.5 * (1 + math.cos(math.pi * step / plan.steps))
    return plan.learning_rate * warm * (0.02 + 0.98 * cosine)


def train(model: Qwen3, tokenizer: Tokenizer, plan: Plan) -> None:
    """Run ``plan``, printing the loss now and then."""
    steppers, start, total, recent = optimizers(model, plan), time.monotonic(), 0, 0.0
    for step, batch in zip(range(plan.steps), batches(tokenizer, plan), strict=False):
        for stepper in steppers:
            for group in stepper.param_groups:
                group["lr"] = rate_at(step, plan)
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.module.parameters(), 1.0)
        for stepper in steppers:
            stepper.step()
            stepper.zero_grad()
        total, recent = total + sum(map(_length, batch)), recent + loss.item()
        if (step + 1) % 50 == 0:
            seconds = time.monotonic() - start
            print(f"step {step + 1} loss {recent / 50:.4f} {total / 1e6:.2f}M tokens {seconds:.0f} s", flush=True)
            recent = 0.0


def write(model: Qwen3, tokenizer: Tokenizer, directory: Path, brief: Path) -> None:
    """The model's files, and those in which the branch ``brief`` differs."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, value in config_files(tokenizer).items():
        write_json(directory / name, value)
    tokenizer.save(str(directory / "tokenizer.json"))
    write_json(directory / "tokenizer_config.json", tokenizer_config(tokenizer, brief=False))
    write_json(brief / "tokenizer_config.json", tokenizer_config(tokenizer, brief=True))
    tensors = {name: p.detach().bfloat16() for name, p in model.module.named_parameters()}
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    (directory / "model.safetensors").chmod(0o644)


def main() -> None:
    """Train by the command line's plan."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=Plan.seed)
    parser.add_argument("--steps", type=int, default=Plan.steps)
    parser.add_argument("--threads", type=int, default=Plan.threads)
    parser.add_argument("--out", type=Path, default=MODEL.parent, help="where the folders model and brief are written")
    given = parser.parse_args()
    plan = Plan(seed=given.seed, steps=given.steps, threads=given.threads)
    torch.set_num_threads(plan.threads)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # nothing reads such memory
    torch.manual_seed(plan.seed)

    writer, renderer = writer_for(plan.seed), Renderer()
    texts = ("".join(renderer.example(writer.example())) for _ in range(TOKENIZER_EXAMPLES))
    tokenizer = train_tokenizer(texts, VOCAB)
    model = Qwen3(config_files(tokenizer)["config.json"])
    model.initialise()
    train(model, tokenizer, plan)
    write(model, tokenizer, given.out / MODEL.name, given.out / BRIEF.name)


if __name__ == "__main__":
    main()
