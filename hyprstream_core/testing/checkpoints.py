"""Random checkpoints in Hugging Face's layout, written without transformers.

At the usual initialisation (0.02) a small random model repeats one token for ever, so that equality with a reference
proves nothing: matrices get a standard deviation of 0.15 and norms 0.5–1.5, which makes answers vary.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from hyprstream_core.interfaces.model import Family

TINY_QWEN3: Mapping[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 1024,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1_000_000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "attention_bias": False,
    "dtype": "float32",
    "eos_token_id": 1,
}
"""config.json of a Qwen3 that computes in milliseconds."""


def random_tensors(family: type[Family], config: Mapping[str, Any], seed: int = 0) -> dict[str, torch.Tensor]:
    """A value for every tensor that a checkpoint of ``config`` holds, by its name in the files."""
    parsed = family.parse_config(config)
    generator = torch.Generator().manual_seed(seed)
    dtype = getattr(torch, parsed.dtype)
    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in family.build(parsed).named_parameters():
        if parameter.ndim == 1 and name.endswith("weight"):
            value = torch.rand(parameter.shape, generator=generator) + 0.5
        else:
            std = 0.02 if "embed" in name or parameter.ndim == 1 else 0.15
            value = torch.randn(parameter.shape, generator=generator) * std
        tensors[family.tensor_name(parsed, name)] = value.to(dtype).contiguous()
    return tensors


def write_checkpoint(
    directory: Path, config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], *, num_shards: int = 1
) -> Path:
    """config.json and the tensors, in one file or in shards with their index; returns ``directory``."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(dict(config), indent=2))
    names = list(tensors)
    if num_shards == 1:
        save_file(dict(tensors), directory / "model.safetensors", metadata={"format": "pt"})
        return directory
    weight_map: dict[str, str] = {}
    for i in range(num_shards):
        file = f"model-{i + 1:05d}-of-{num_shards:05d}.safetensors"
        shard = names[i::num_shards]
        save_file({name: tensors[name] for name in shard}, directory / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(shard, file)
    total = sum(t.nbytes for t in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    return directory
