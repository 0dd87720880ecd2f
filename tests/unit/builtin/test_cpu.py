"""The portable CPU backend."""

import gc
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from hyprstream_core.builtin import cpu, cpu_attention
from hyprstream_core.config import EngineSettings
from hyprstream_core.testing.suites.device_backend import DeviceSuite, small_model


class TestCpu(DeviceSuite):
    backend = "hyprstream_core.builtin.cpu:CpuBackend"


class TestCpuWithoutPacking(DeviceSuite):
    """What runs where oneDNN has no linear for a dtype."""

    backend = "hyprstream_core.builtin.cpu:CpuBackend"
    dtypes = (torch.float32, torch.bfloat16, torch.float16)

    @pytest.fixture(autouse=True)
    def without_packing(self, monkeypatch):
        def refuse(*_):
            raise AssertionError("a weight was packed")

        monkeypatch.setattr(cpu, "can_pack", lambda dtype: False)
        monkeypatch.setattr(cpu.CpuOps, "_pack", refuse)


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


@pytest.fixture
def roomy(monkeypatch):
    """A backend on a machine with 8 GiB free."""
    monkeypatch.setattr(cpu, "free_memory", lambda: 2**33)
    return cpu.CpuBackend.create(EngineSettings(threads=1))


CONFIG = small_model(torch.float32, torch.device("cpu")).config


def test_what_kv_caches_were_promised_is_not_free(roomy):
    kv = roomy.allocate_kv(CONFIG, torch.float32, 2**13, 8)
    assert kv.num_bytes == 2**26
    assert roomy.free_memory() == 2**33 - 2**26
    other = roomy.allocate_kv(CONFIG, torch.float32, 2**13, 8)
    assert roomy.free_memory() == 2**33 - 2**27
    del kv, other
    assert roomy.free_memory() == 2**33


def test_kv_pages_that_were_written_are_not_counted_twice(roomy):
    """The kernel has already taken them off what is available."""
    kv = roomy.allocate_kv(CONFIG, torch.float32, 2**13, 8)
    kv.keys[0].fill_(1.0)
    assert 2**33 - roomy.free_memory() <= 2**26 - kv.keys[0].nbytes
    for store in (*kv.keys, *kv.values):
        store.fill_(1.0)
    assert roomy.free_memory() == 2**33


def test_where_the_kernel_does_not_tell_written_pages_everything_is_promised(roomy, monkeypatch):
    monkeypatch.setattr(cpu_attention, "resident_bytes", lambda address, length: length)
    kv = roomy.allocate_kv(CONFIG, torch.float32, 2**13, 8)
    assert kv.unwritten_bytes == kv.num_bytes


def test_caches_may_come_and_go_on_any_thread(roomy):
    def churn(_):
        for _ in range(50):
            roomy.allocate_kv(CONFIG, torch.float32, 1, 8)
            roomy.free_memory()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(churn, range(4)))
    gc.collect()
    assert roomy.free_memory() == 2**33
