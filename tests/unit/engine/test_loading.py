"""What loading asks of a backend, and what it leaves behind when it fails."""

import pytest
import torch

from hyprstream_core.builtin.cpu import CpuBackend
from hyprstream_core.config import EngineSettings, Limits
from hyprstream_core.engine.loading import load_model
from hyprstream_core.errors import UnsupportedModel, WeightsError
from hyprstream_core.testing.checkpoints import TINY_QWEN3, random_tensors, write_checkpoint
from hyprstream_qwen.qwen3 import Qwen3


class Recording(CpuBackend):
    """The CPU, noting what is asked of it; ``fail`` names a step that raises."""

    def __init__(self, fail=""):
        super().__init__(1)
        self.asked, self.prepared, self.released, self._fail = [], [], [], fail

    def _note(self, name):
        self.asked.append(name)
        if name == self._fail:
            raise MemoryError(name)

    def prepare(self, model, config):
        self.prepared.append(super().prepare(model, config))
        return self.prepared[-1]

    def release(self, ops):
        super().release(ops)
        self.released.append(ops)

    def free_memory(self):
        self._note("free_memory")
        return super().free_memory()

    def sample(self, logits_RV, rows):
        self._note("sample")
        return super().sample(logits_RV, rows)

    def allocate_kv(self, config, dtype, num_blocks, block_size):
        self._note("scratch" if num_blocks == 1 else "allocate_kv")
        return super().allocate_kv(config, dtype, num_blocks, block_size)


def load(tmp_path, backend, tensors=None, **settings):
    directory = write_checkpoint(tmp_path / "model", TINY_QWEN3, tensors or random_tensors(Qwen3, TINY_QWEN3))
    return load_model(directory, Qwen3, backend, EngineSettings(**{"max_running": 2, **settings}), Limits())


def test_the_kv_cache_is_planned_when_everything_is_packed(tmp_path):
    """A third of what is free before the weights are packed may be more than is free afterwards."""
    backend = Recording()
    load(tmp_path, backend)
    assert backend.asked == ["scratch", "sample", "free_memory", "allocate_kv"]


@pytest.mark.parametrize("step", ["scratch", "sample", "free_memory", "allocate_kv"])
def test_a_load_that_fails_releases_what_was_prepared(tmp_path, step):
    backend = Recording(fail=step)
    with pytest.raises(MemoryError):
        load(tmp_path, backend)
    assert backend.released == backend.prepared
    assert len(backend.released) == 1


def test_bad_weights_and_too_little_memory_release_it_too(tmp_path):
    backend, tensors = Recording(), random_tensors(Qwen3, TINY_QWEN3)
    with pytest.raises(UnsupportedModel, match="one KV block"):
        load(tmp_path, backend, kv_memory=1)
    tensors["model.norm.weight"].fill_(float("nan"))
    with pytest.raises(WeightsError, match="not finite"):
        load(tmp_path, backend, tensors)
    assert len(backend.released) == 2


def test_a_loaded_model_is_released_when_it_is_unloaded(tmp_path):
    backend = Recording()
    model = load(tmp_path, backend, dtype="bfloat16")
    assert (model.dtype, backend.released) == ("bfloat16", [])
    assert model.num_bytes == sum(t.nbytes for t in random_tensors(Qwen3, TINY_QWEN3).values())
    model.unload()
    assert backend.released == backend.prepared


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
