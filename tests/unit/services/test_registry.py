"""What the registry says about models, read from real repositories."""

import asyncio
import json
import threading
import time

import pytest

from hyprstream_core.config import EngineSettings, Limits, Settings
from hyprstream_core.errors import ModelNotFound, PluginMissing, WeightsError
from hyprstream_core.plugins import discover
from hyprstream_core.services.description import read_model_files
from hyprstream_core.services.registry import RegistryService
from hyprstream_core.testing.checkpoints import TINY_QWEN3, random_tensors, write_checkpoint
from hyprstream_qwen.qwen3 import Qwen3


@pytest.fixture
def registry(store, tmp_path, make_repo):
    """A registry over one cloned model, ``tiny``: two branches (one checked out), one tag."""
    repo = make_repo("tiny")
    write_checkpoint(repo.path, TINY_QWEN3, random_tensors(Qwen3, TINY_QWEN3))
    repo.write("generation_config.json", json.dumps({"eos_token_id": [1, 7], "temperature": 0.6, "top_k": 20}))
    repo.write("tokenizer_config.json", json.dumps({"chat_template": "old", "eos_token": {"content": "</s>"}}))
    repo.write("chat_template.jinja", "{{ messages }}")
    repo.commit("one")
    repo.run("tag", "v1")
    repo.run("checkout", "-q", "-b", "alien")
    repo.write("config.json", json.dumps({**TINY_QWEN3, "architectures": ["GemmaForCausalLM"]}))
    repo.commit("two")
    repo.run("checkout", "-q", "main")
    store.clone(str(repo.path))
    service = RegistryService(store, discover(), Settings(models_dir=tmp_path / "models"))
    service.repo = repo
    return service


def test_one_entry_per_worktree_with_measured_facts(registry):
    (info,) = asyncio.run(registry.models())
    assert (info.id, info.kind, info.status) == ("tiny:main", "branch", "")
    assert info.commit == registry.repo.head()
    assert info.created == int(registry.repo.run("show", "-s", "--format=%ct", "HEAD"))
    assert (info.dtype, info.max_model_len, info.architecture) == ("float32", 1024, "Qwen3ForCausalLM")
    assert info.num_parameters == sum(t.numel() for t in random_tensors(Qwen3, TINY_QWEN3).values())
    assert info.driver in ("reflink", "hardlink", "copy")


@pytest.mark.parametrize("ref", ["tiny", "tiny:main", "tiny:v1", "TINY:tags/v1"])
def test_any_reference_can_be_asked_for(registry, ref):
    info = asyncio.run(registry.model(ref))
    assert info.commit == registry.repo.head()
    assert info.id == ("tiny:v1" if "v1" in ref else "tiny:main")
    assert asyncio.run(registry.model(f"tiny:{info.commit[:9]}")).commit == info.commit


def test_a_model_that_cannot_be_served_says_why(registry):
    info = asyncio.run(registry.model("tiny:alien"))
    assert "GemmaForCausalLM" in info.status
    with pytest.raises(PluginMissing, match="GemmaForCausalLM"):
        asyncio.run(registry.describe("tiny:alien"))


def test_the_description_is_what_the_files_say(registry):
    description = asyncio.run(registry.describe("tiny:v1"))
    assert description.template == "{{ messages }}"
    assert description.eos_token_ids == (1, 7)
    assert description.generation_config == {"temperature": 0.6, "top_k": 20.0}
    assert description.special_tokens == {"eos_token": "</s>"}
    assert (description.vocab_size, description.max_model_len) == (320, 1024)
    assert asyncio.run(registry.describe("tiny")) is description, "asked once per commit"


def test_an_unknown_reference_is_not_found(registry):
    for ref in ("tiny:nope", "other"):
        with pytest.raises(ModelNotFound):
            asyncio.run(registry.describe(ref))


def test_max_context_shortens_what_is_offered(registry, store, tmp_path):
    settings = Settings(models_dir=tmp_path / "models", engine=EngineSettings(max_context=100))
    service = RegistryService(store, discover(), settings)
    assert asyncio.run(service.model("tiny")).max_model_len == 100


def files(tmp_path, **contents):
    values = {"config": {"vocab_size": 50}, **contents}
    for name, value in values.items():
        (tmp_path / f"{name}.json").write_text(value if isinstance(value, str) else json.dumps(value))
    return read_model_files(tmp_path, Limits(template_bytes=100))


@pytest.mark.parametrize(
    ("generation", "config", "expected"),
    [
        ({"eos_token_id": 3}, {"eos_token_id": 4}, (3,)),
        ({"eos_token_id": [3, 4]}, {}, (3, 4)),
        ({}, {"eos_token_id": 4}, (4,)),
        ({}, {}, ()),
    ],
)
def test_eos_ids(tmp_path, generation, config, expected):
    read = files(tmp_path, generation_config=generation, config={"vocab_size": 50, **config})
    assert read.eos_token_ids() == expected


@pytest.mark.parametrize("eos", [50, -1, "x", True, [1, 99]])
def test_eos_ids_outside_the_vocabulary_are_refused(tmp_path, eos):
    with pytest.raises(WeightsError, match="eos_token_id"):
        files(tmp_path, generation_config={"eos_token_id": eos}).eos_token_ids()


def test_sampling_defaults(tmp_path):
    generation = {"temperature": 0.5, "do_sample": False, "top_p": 1, "max_length": 9}
    assert files(tmp_path, generation_config=generation).sampling_defaults() == {"temperature": 0.0, "top_p": 1.0}
    with pytest.raises(WeightsError, match="top_p"):
        files(tmp_path, generation_config={"top_p": "0.5"}).sampling_defaults()


@pytest.mark.parametrize("text", ["[1]", "{", "\x00", "9" * 10])
def test_what_is_no_json_object_is_refused(tmp_path, text):
    with pytest.raises(WeightsError):
        files(tmp_path, config=text)


def test_templates(tmp_path):
    named = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]
    assert files(tmp_path, tokenizer_config={"chat_template": named}).template() == "d"
    assert files(tmp_path, tokenizer_config={"chat_template": 3}).template() == ""
    with pytest.raises(WeightsError, match="101 bytes"):
        files(tmp_path, tokenizer_config={"chat_template": "x" * 101}).template()


def test_many_first_questions_check_a_commit_out_once(registry, monkeypatch):
    made, snapshot = [], registry._store.snapshot
    running = []

    def slow(resolved):
        running.append(resolved)
        assert len(running) == 1, "two check-outs of one commit at a time"
        time.sleep(0.05)
        path = snapshot(resolved)
        made.append(running.pop())
        return path

    monkeypatch.setattr(registry._store, "snapshot", slow)

    async def main():
        return await asyncio.gather(*(registry.describe("tiny:v1") for _ in range(8)))

    assert len({d.directory for d in asyncio.run(main())}) == 1


def test_readiness_does_not_wait_for_check_outs(registry, monkeypatch):
    stuck = threading.Event()
    monkeypatch.setattr(registry._store, "snapshot", lambda _: stuck.wait(20) and None)

    async def main():
        asked = [asyncio.create_task(registry.describe("tiny:v1")) for _ in range(40)]
        await asyncio.sleep(0.1)
        await asyncio.wait_for(registry.ready(), 5)
        for task in asked:
            task.cancel()
        stuck.set()
        await registry.stop()

    asyncio.run(main())
