"""The portable CPU backend."""

import torch

from hyprstream_core.builtin import cpu
from hyprstream_core.config import EngineSettings
from hyprstream_core.testing.suites.device_backend import DeviceSuite, small_model


class TestCpu(DeviceSuite):
    backend = "hyprstream_core.builtin.cpu:CpuBackend"


class TestCpuWithoutPacking(DeviceSuite):
    """What runs where oneDNN has no linear for a dtype."""

    backend = "hyprstream_core.builtin.cpu:CpuBackend"
    dtypes = (torch.float32, torch.bfloat16, torch.float16)

    def test_unpacked_path_is_taken(self, device, monkeypatch):
        monkeypatch.setattr(cpu, "can_pack", lambda dtype: False)
        for chunk_sizes in ([1], [1, 7, 16, 3]):
            self.test_paged_attention_equals_whole_documents(device, chunk_sizes)


def test_weights_are_packed_once_and_stacked():
    model = small_model(torch.float32, torch.device("cpu"))
    backend = cpu.CpuBackend.create(EngineSettings(threads=1))
    ops = backend.prepare(model, model.config)
    attention = model.model.layers[0].self_attn
    x = torch.randn(3, 64)
    with torch.inference_mode():
        for _ in range(2):
            parts = ops.linears((attention.q_proj, attention.k_proj, attention.v_proj), x)
    assert [p.shape[-1] for p in parts] == [128, 64, 64]
    if cpu.can_pack(torch.float32):
        assert len(ops._packed) == 1
        assert next(iter(ops._packed.values())).weight.is_mkldnn
    backend.release(ops)
    assert not ops._packed


def test_the_probe_names_the_cores():
    found = cpu.probe()
    assert found.score == 10
    assert "core" in found.devices[0]


def test_what_kv_caches_were_promised_is_not_free():
    backend = cpu.CpuBackend.create(EngineSettings(threads=1))
    config = small_model(torch.float32, torch.device("cpu")).config
    before = backend.free_memory()
    kv = backend.allocate_kv(config, torch.float32, 2**15, 8)
    assert kv.num_bytes >= 2**28
    assert backend.free_memory() < before - kv.num_bytes // 2
    del kv
    assert backend.free_memory() > before - 2**27
