"""The demo model's shape, its files, and greedy answers from its weights.

The model code is whatever plugin implements ``Qwen3ForCausalLM``: plugins may not import each other, so it is
found as the engine finds it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from tokenizers import Tokenizer
from torch import Tensor

from hyprstream_core.interfaces.device import Step
from hyprstream_core.interfaces.model import DecoderConfig, Family
from hyprstream_core.nn.ops import PackedStep, TorchOps, packed_step
from hyprstream_core.nn.rope import RopeTable
from hyprstream_core.plugins import discover, load
from training.rendering import END, END_OF_TEXT, template_source
from training.tokenizer import MARKUP, SPECIAL

PACKAGE = Path(__file__).parents[1] / "hyprstream_demo"
MODEL, BRIEF = PACKAGE / "model", PACKAGE / "brief"
VOCAB = 2560
CONTEXT = 2048
SHAPE = {
    "head_dim": 32,
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_attention_heads": 6,
    "num_hidden_layers": 6,
    "num_key_value_heads": 2,
}


class MixedOps(TorchOps):
    """Attention in fp32 when everything around it is autocast: backward in bf16 is slow on CPUs."""

    def attention(self, layer: int, q_THE: Tensor, k_TKE: Tensor, v_TKE: Tensor, step: Step) -> Tensor:
        """As :class:`TorchOps`, in fp32."""
        with torch.autocast("cpu", enabled=False):
            return super().attention(layer, q_THE.float(), k_TKE.float(), v_TKE.float(), step)


class Qwen3:
    """A Qwen3 that can be called with whole documents, for training and examination."""

    def __init__(self, config: dict[str, Any]) -> None:
        family: type[Family] = load(discover().architecture_for(config["architectures"]).load)
        self.config: DecoderConfig = family.parse_config(config)
        self.module = cast("Any", family.build(self.config))  # an nn.Module that is a CausalLM
        self.module.to_empty(device="cpu")
        self.module.tie()  # to_empty made two tensors of one
        self._rope = RopeTable(self.config.rope, self.config.head_dim)

    def initialise(self, std: float = 0.02) -> None:
        """Random matrices, norms of one."""
        with torch.no_grad():
            for parameter in self.module.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(0.0, std)
                else:
                    parameter.fill_(1.0)

    def step(self, lengths: Sequence[int]) -> PackedStep:
        """The step for documents of ``lengths``."""
        return replace(packed_step(lengths, self._rope, torch.float32), ops=MixedOps())

    def logits(self, ids: Tensor, rows: Tensor, step: PackedStep) -> Tensor:
        """Logits of the chosen ``rows``."""
        hidden: Tensor = self.module(ids, step)
        logits: Tensor = self.module.logits(hidden[rows], step)
        return logits


def config_files(tokenizer: Tokenizer) -> dict[str, dict[str, Any]]:
    """``config.json`` and ``generation_config.json``, with the keys that a Qwen3 on the hub has."""
    end, end_of_text = tokenizer.token_to_id(END), tokenizer.token_to_id(END_OF_TEXT)
    config: dict[str, Any] = {
        "architectures": ["Qwen3ForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": end_of_text,
        "eos_token_id": end,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "max_position_embeddings": CONTEXT,
        "max_window_layers": SHAPE["num_hidden_layers"],
        "model_type": "qwen3",
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 10000,
        "sliding_window": None,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.51.0",
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": VOCAB,
        **SHAPE,
    }
    generation = {
        "bos_token_id": end_of_text,
        "do_sample": True,
        "eos_token_id": [end, end_of_text],
        "pad_token_id": end_of_text,
        "temperature": 0.3,
        "top_k": 20,
        "top_p": 0.9,
        "transformers_version": "4.51.0",
    }
    return {"config.json": dict(sorted(config.items())), "generation_config.json": generation}


def tokenizer_config(tokenizer: Tokenizer, *, brief: bool) -> dict[str, Any]:
    """``tokenizer_config.json`` with the chat template of one branch."""
    added = {
        str(tokenizer.token_to_id(token)): {
            "content": token,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": token in SPECIAL,
        }
        for token in (*SPECIAL, *MARKUP)
    }
    return {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": added,
        "additional_special_tokens": ["<|im_start|>", END],
        "bos_token": None,
        "chat_template": template_source(brief=brief),
        "clean_up_tokenization_spaces": False,
        "eos_token": END,
        "model_max_length": CONTEXT,
        "pad_token": END_OF_TEXT,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": None,
    }


def stop_id(tokenizer: Tokenizer) -> int:
    """The token that ends an answer.

    Raises:
        ValueError: the tokenizer does not have it.
    """
    token: int | None = tokenizer.token_to_id(END)
    if token is None:
        raise ValueError(f"the tokenizer has no {END}")
    return token


def write_json(path: Path, value: Any) -> None:
    """Readable JSON with a last newline."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@torch.inference_mode()
def greedy(model: Qwen3, prompts: Sequence[list[int]], stop: int, max_tokens: int = 120) -> list[list[int]]:
    """The most likely continuation of each prompt, up to and without ``stop``; no cache, all prompts at once."""
    texts, running = [list(prompt) for prompt in prompts], list(range(len(prompts)))
    for _ in range(max_tokens):
        lengths = [len(texts[i]) for i in running]
        ids = torch.tensor([token for i in running for token in texts[i]])
        last = torch.tensor(lengths).cumsum(0) - 1
        chosen = model.logits(ids, last, model.step(lengths)).argmax(-1).tolist()
        for i, token in zip(running, chosen, strict=True):
            texts[i].append(token)
        running = [i for i in running if texts[i][-1] != stop]
        if not running:
            break
    answers = [text[len(prompt) :] for text, prompt in zip(texts, prompts, strict=True)]
    return [answer[:-1] if answer[-1:] == [stop] else answer for answer in answers]
