"""Qwen3 against transformers."""

from typing import ClassVar

import torch
from transformers import AutoModelForCausalLM

from hyprstream_core.testing.checkpoints import TINY_QWEN3
from hyprstream_core.testing.suites.model_family import ArchitectureSuite


def transformers_reference(directory):
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    return lambda ids: model(torch.tensor([list(ids)])).logits[0]


class TestQwen3(ArchitectureSuite):
    family = "hyprstream_qwen.qwen3:Qwen3"
    config = TINY_QWEN3
    unsupported: ClassVar = {
        "rope_scaling": {"rope_type": "yarn", "factor": 4.0},
        "rope_parameters": {"full_attention": {"rope_type": "default"}},
        "partial_rotary_factor": 0.5,
        "quantization_config": {"quant_method": "gptq"},
        "hidden_act": "gelu",
        "use_sliding_window": True,
        "layer_types": ["full_attention", "sliding_attention"],
        "num_experts": 8,
    }

    def reference(self, directory):
        return transformers_reference(directory)


class TestQwen3WithBiases(ArchitectureSuite):
    family = "hyprstream_qwen.qwen3:Qwen3"
    config: ClassVar = {**TINY_QWEN3, "attention_bias": True, "head_dim": 32, "num_key_value_heads": 4}
    unsupported: ClassVar = {"hidden_act": "gelu"}

    def reference(self, directory):
        return transformers_reference(directory)
