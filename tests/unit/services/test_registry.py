"""What the registry says about models, read from real repositories."""

import asyncio
import json
import shutil
import struct
import threading
import time

import pytest

from hyprstream_core.config import EngineSettings, Limits, Settings
from hyprstream_core.errors import BadObject, ModelNotFound, PluginMissing, WeightsError
from hyprstream_core.plugins import discover
from hyprstream_core.repo.records import Model
from hyprstream_core.rpc.codec import encode
from hyprstream_core.rpc.contracts import MODEL, ModelList
from hyprstream_core.services import registry as registry_module
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


HUGE = 10**400


@pytest.mark.parametrize("value", [HUGE, -HUGE, "0.5", True, [1]])
@pytest.mark.parametrize("key", ["temperature", "top_k"])
def test_numbers_that_no_float_can_hold_are_refused_by_name(tmp_path, key, value):
    with pytest.raises(WeightsError) as caught:
        files(tmp_path, generation_config={key: value}).sampling_defaults()
    assert caught.value.param == key
    assert len(caught.value.message) < 300


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "1024", 10**20, HUGE])
def test_counts_are_integers_of_a_size_that_a_model_can_have(tmp_path, value):
    read = files(tmp_path, config={"vocab_size": value, "max_position_embeddings": value})
    for count in ("vocab_size", "max_positions"):
        with pytest.raises(WeightsError, match="expected an integer"):
            getattr(read, count)


def test_too_many_ends_of_an_answer_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="at most 1024"):
        files(tmp_path, generation_config={"eos_token_id": [1] * 2000}).eos_token_ids()


def test_a_template_that_is_no_unicode_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="surrogate"):
        files(tmp_path, tokenizer_config={"chat_template": "\ud800"}).template()
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(WeightsError, match="UTF-8"):
        files(tmp_path).template()


def test_a_model_that_lists_no_architecture_is_known_by_its_type(tmp_path):
    plugins = discover()
    assert plugins.architecture_for((), "qwen3").name == "qwen3"
    for names, kind in (((), "gemma"), (("GemmaForCausalLM",), "qwen3"), ((), "")):
        with pytest.raises(PluginMissing):
            plugins.architecture_for(names, kind)


HOSTILE = {
    "huge": {"max_position_embeddings": 10**20},
    "dtype": {"dtype": "\ud800"},
    "names": {"architectures": ["\ud800", "x" * 10**6]},
    "types": {"architectures": {"a": 1}, "dtype": ["x"] * 10**4, "vocab_size": "\ud800"},
    "name": {"\ud800": 1, "max_position_embeddings": None},
}


@pytest.mark.parametrize("lie", HOSTILE)
def test_one_cloned_model_does_not_break_the_list(registry, store, make_repo, lie):
    """Whatever its files say, every entry can be sent, and the honest model's says that it can be served."""
    repo = make_repo("hostile")
    repo.write("config.json", json.dumps({**TINY_QWEN3, **HOSTILE[lie]}))
    repo.commit("one")
    store.clone(str(repo.path))
    infos = {info.name: info for info in asyncio.run(registry.models())}
    encode(ModelList(tuple(infos.values())), MODEL.schema, Limits())
    assert infos["tiny"].status == ""
    assert 0 < len(infos["hostile"].status) <= 500


def test_a_header_with_a_name_of_megabytes_gives_a_short_status(registry, store, make_repo):
    repo = make_repo("hostile")
    repo.write("config.json", json.dumps(TINY_QWEN3))
    header = json.dumps({"\ud800" + "n" * 5_000_000: {"dtype": "F33"}}).encode()
    repo.write("model.safetensors", struct.pack("<Q", len(header)) + header)
    repo.commit("one")
    store.clone(str(repo.path))
    info = asyncio.run(registry.model("hostile"))
    assert "F33" in info.status
    assert len(info.status) <= 500
    info.status.encode()


def test_facts_that_cannot_be_sent_become_a_status(registry, monkeypatch):
    monkeypatch.setattr(registry, "_read_facts", lambda _: {"max_model_len": 2**70, "dtype": "\ud800"})
    (info,) = asyncio.run(registry.models())
    assert (info.dtype, info.max_model_len) == ("", 0)
    assert "cannot be sent" in info.status


@pytest.fixture
def two(registry, store, make_repo):
    """A second, healthy model ``other`` in the registry's store."""
    repo = make_repo("other")
    write_checkpoint(repo.path, TINY_QWEN3, random_tensors(Qwen3, TINY_QWEN3, 1))
    repo.commit("one")
    store.clone(str(repo.path))
    return registry


def listed(service):
    return {info.id: info.status for info in asyncio.run(service.models())}


def test_a_damaged_index_does_not_break_the_list(two, store):
    (index,) = store.model("tiny").git_dir.glob("worktrees/*/index")
    index.write_bytes(b"DIRC damaged")
    assert listed(two) == {"tiny:main": "", "other:main": ""}, "both are served from views"


def test_a_damaged_model_says_so_and_the_others_are_listed(two, store):
    for name in ("HEAD", "packed-refs"):
        (store.model("tiny").git_dir / name).unlink(missing_ok=True)
    shutil.rmtree(store.model("tiny").git_dir / "objects")
    shutil.rmtree(store.model("tiny").path / "views", ignore_errors=True)
    found = listed(two)
    assert found["other:main"] == ""
    assert set(found) == {"tiny:main", "other:main"}
    assert found["tiny:main"]


def test_a_model_whose_branches_cannot_be_read_is_listed_with_the_reason(two, monkeypatch):
    read = Model.worktrees

    def broken(model):
        if model.name == "tiny":
            raise BadObject("its references are damaged")
        return read(model)

    monkeypatch.setattr(Model, "worktrees", broken)
    assert listed(two) == {"tiny:main": "its references are damaged", "other:main": ""}


@pytest.mark.parametrize("step", ["worktrees", "worktree_info", "commit_time"])
def test_a_model_that_is_removed_meanwhile_is_left_out(two, store, monkeypatch, step):
    target = store if step == "worktree_info" else Model
    read = getattr(target, step)

    def removing(*arguments):
        if "tiny" in (arguments[0], getattr(arguments[0], "name", "")) and store.registered()[-1].name == "tiny":
            store.remove("tiny", force=True)
        return read(*arguments)

    monkeypatch.setattr(target, step, removing)
    assert listed(two) == {"other:main": ""}


def test_the_list_does_not_wait_for_ever_for_a_check_out(two, store, monkeypatch):
    stuck, make = threading.Event(), store.snapshot
    monkeypatch.setattr(registry_module, "LIST_SECONDS", 0.3)
    monkeypatch.setattr(store, "snapshot", lambda r: make(r) if r.model.name == "other" or stuck.wait(20) else None)
    assert listed(two) == {"tiny:main": "its files are still being checked out", "other:main": ""}
    stuck.set()


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


def test_stuck_check_outs_hold_up_nobody_else(two, store, monkeypatch):
    """Twenty questions about a commit whose large files do not come, whether they go on waiting or not, leave the
    registry answering everything else."""
    stuck, make = threading.Event(), store.snapshot
    monkeypatch.setattr(registry_module, "LIST_SECONDS", 0.3)
    monkeypatch.setattr(store, "snapshot", lambda r: make(r) if r.model.name == "other" else stuck.wait(20) and None)

    async def main():
        asked = [asyncio.create_task(two.describe("tiny:v1")) for _ in range(20)]
        await asyncio.sleep(0.1)
        for task in asked[:10]:
            task.cancel()
        assert (await asyncio.wait_for(two.describe("other"), 5)).model == "other"
        assert len(await asyncio.wait_for(two.models(), 5)) == 2
        assert not any(task.done() for task in asked[10:])
        stuck.set()
        await two.stop()
        await asyncio.gather(*asked, return_exceptions=True)

    asyncio.run(main())


def test_a_caller_that_leaves_does_not_stop_the_check_out_of_others(registry, monkeypatch):
    go, make = threading.Event(), registry._store.snapshot
    monkeypatch.setattr(registry._store, "snapshot", lambda r: go.wait(20) and make(r))

    async def main():
        first, second = (asyncio.create_task(registry.describe("tiny:v1")) for _ in range(2))
        await asyncio.sleep(0.1)
        first.cancel()
        go.set()
        assert (await asyncio.wait_for(second, 10)).model == "tiny"

    asyncio.run(main())


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
