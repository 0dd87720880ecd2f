"""The main job from the outside: the official client against a real server."""

import json
import subprocess
import threading
import time

import httpx
import openai
import pytest


def complete(client, model, prompts, count, **extra):
    reply = client.completions.create(
        model=model,
        prompt=prompts,
        max_tokens=count,
        temperature=0,
        extra_body={"ignore_eos": True, "return_token_ids": True, **extra},
    )
    return [choice.token_ids for choice in sorted(reply.choices, key=lambda c: c.index)], reply


@pytest.mark.parametrize(
    ("ref", "tag"), [("tiny", "v0"), ("tiny:trunk", "v0"), ("tiny:v1", "v1"), ("tiny:feature/x", "v1")]
)
def test_greedy_tokens_equal_transformers(client, world, prompts, greedy, ref, tag):
    got, reply = complete(client, ref, prompts, 64)
    want = [greedy(tag, prompt, 64) for prompt in prompts]
    assert len({tuple(w) for w in want}) == len(prompts)
    assert sum(len(set(w)) for w in want) > 8 * 20, "the reference does not vary"
    assert got == want
    assert reply.usage.completion_tokens == 64 * 8
    assert reply.usage.prompt_tokens == sum(map(len, prompts))
    assert reply.system_fingerprint.startswith(world.commits[tag][:12])


def test_short_and_full_commits_answer_like_their_tag(client, world, prompts, greedy):
    for name in (world.commits["v1"][:8], world.commits["v1"]):
        assert complete(client, f"tiny:{name}", [prompts[3]], 16)[0] == [greedy("v1", prompts[3], 16)]


def test_an_unknown_reference_is_404(client):
    for model in ("tiny:nope", "nobody", "tiny:deadbeef"):
        with pytest.raises(openai.NotFoundError) as caught:
            client.completions.create(model=model, prompt="x")
        assert caught.value.code == "model_not_found"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve(model)


def test_models_are_listed_and_retrieved_by_every_reference(client, world):
    assert [m.id for m in client.models.list()] == ["tiny:trunk"]
    for ref, tag in (
        ("tiny", "v0"),
        ("tiny:trunk", "v0"),
        ("tiny:feature/x", "v1"),
        ("tiny:v1", "v1"),
        (f"tiny:{world.commits['v1'][:10]}", "v1"),
    ):
        model = client.models.retrieve(ref)
        assert model.meta["commit"] == world.commits[tag]
    listed = client.models.retrieve("tiny:trunk")
    assert listed.owned_by.startswith("system driver:")
    assert listed.max_model_len == 1024


def test_every_eos_id_ends_an_answer(client, world, prompts):
    free, _ = complete(client, "tiny", prompts, 200)
    reply = client.completions.create(
        model="tiny", prompt=prompts, max_tokens=200, temperature=0, extra_body={"return_token_ids": True}
    )
    ended = 0
    for choice, tokens in zip(sorted(reply.choices, key=lambda c: c.index), free, strict=True):
        first = next((i for i, t in enumerate(tokens) if t in world.eos), None)
        ended += first is not None
        assert choice.finish_reason == ("length" if first is None else "stop")
        assert choice.token_ids == tokens[:first]
    assert ended, "no reference answer holds an EOS id"


def test_stop_ids_and_seeds(client, prompts):
    free, _ = complete(client, "tiny", [prompts[4]], 40)
    stop = free[0][10]
    cut, reply = complete(client, "tiny", [prompts[4]], 40, stop_token_ids=[stop])
    assert cut[0] == free[0][: free[0].index(stop)]
    assert reply.choices[0].finish_reason == "stop"

    def sampled(seed, batch):
        got, _ = complete(client, "tiny", batch, 24, temperature=1.0, seed=seed, top_k=0)
        return got[0]

    alone = sampled(5, [prompts[4]])
    assert alone == sampled(5, [prompts[4], *prompts[:3]])
    assert alone != sampled(6, [prompts[4]])


def test_chat_streams_the_same_text_as_it_returns(client):
    messages = [{"role": "user", "content": "hello"}]
    whole = client.chat.completions.create(model="tiny", messages=messages, max_tokens=30, temperature=0)
    chunks = list(
        client.chat.completions.create(
            model="tiny",
            messages=messages,
            max_tokens=30,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason


def test_error_classes(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="tiny", prompt="x", max_tokens=10**6)
    assert caught.value.code == "context_length_exceeded"
    for body in ({"temperature": -1}, {"top_p": 3}, {"bananas": 1}, {"n": 10**6}, {"prompt": [[320]]}):
        with pytest.raises(openai.BadRequestError):
            client.completions.create(model="tiny", extra_body={"prompt": "x", **body}, prompt="x")


def status(server):
    return httpx.get(f"{server.url}/readyz", timeout=10).json()


def test_sixteen_streams_share_forward_passes(server, prompts):
    """At most one forward pass for eight generated tokens."""
    complete_raw(server, prompts[3], 4)
    before = status(server)
    threads = [threading.Thread(target=complete_raw, args=(server, [i + 1, *prompts[2]], 600)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = status(server)
    generated = after["generated_tokens"] - before["generated_tokens"]
    assert generated == 16 * 600
    assert (after["forward_passes"] - before["forward_passes"]) / generated <= 1 / 8


def complete_raw(server, prompt, count):
    body = {
        "model": "tiny",
        "prompt": prompt,
        "max_tokens": count,
        "temperature": 0,
        "ignore_eos": True,
        "return_token_ids": True,
    }
    reply = httpx.post(f"{server.url}/v1/completions", json=body, timeout=60)
    assert reply.status_code == 200, reply.text
    return reply.json()["choices"][0]["token_ids"]


def test_half_of_32_streams_leave_and_the_rest_are_right(server, prompts, greedy):
    """Dropped connections cancel; the others get what they get alone; all KV blocks return."""
    complete_raw(server, [1], 1)
    start = status(server)
    results, rng_prompts = {}, [[i + 1, *prompts[i % 4]] for i in range(32)]

    def stream(i):
        body = {
            "model": "tiny",
            "prompt": rng_prompts[i],
            "max_tokens": 900 if i % 2 else 100,
            "temperature": 0,
            "ignore_eos": True,
            "return_token_ids": True,
            "stream": True,
        }
        tokens = []
        with httpx.stream("POST", f"{server.url}/v1/completions", json=body, timeout=60) as reply:
            for line in reply.iter_lines():
                if line.startswith("data: {"):
                    for choice in json.loads(line[6:])["choices"]:
                        tokens += choice.get("token_ids") or []
                if i % 2 and len(tokens) >= 10:
                    return
        results[i] = tokens

    threads = [threading.Thread(target=stream, args=(i,)) for i in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == list(range(0, 32, 2))
    for i, tokens in results.items():
        assert tokens == greedy("v0", rng_prompts[i], 100)
    deadline = time.monotonic() + 5
    while (now := status(server))["running"] or now["waiting"] or now["kv_blocks_free"] != start["kv_blocks_free"]:
        assert time.monotonic() < deadline, now
        time.sleep(0.05)
    assert now["generated_tokens"] - start["generated_tokens"] < 16 * 100 + 16 * 600, (
        "dropped streams were computed to the end"
    )


def test_infer_uses_the_server_and_agrees_with_it(world, server, client):
    answer = world.run(
        "infer", "tiny:v1", "--prompt", "abc", "--raw", "--temperature", "0", "--max-tokens", "12", "--json"
    )
    said = json.loads(answer.stdout)
    reply = client.completions.create(model="tiny:v1", prompt="abc", max_tokens=12, temperature=0)
    assert said["text"] == reply.choices[0].text


def test_stock_git_agrees_with_the_store(world):
    info = json.loads(world.run("worktree", "info", "tiny", "trunk", "--json").stdout)
    for command in (["status", "--porcelain"], ["fsck", "--strict"], ["lfs", "fsck"]):
        done = subprocess.run(["git", *command], cwd=info["path"], env=world.env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert command[0] != "status" or done.stdout == ""


def test_a_clients_request_id_is_found_in_the_engines_log(world, server):
    body = {"model": "tiny", "prompt": "x", "max_tokens": 2}
    name = "trace-me-4711"
    reply = httpx.post(f"{server.url}/v1/completions", json=body, timeout=60, headers={"x-request-id": name})
    assert reply.headers["x-request-id"] == name
    deadline = time.monotonic() + 5
    while True:  # the server logs a request when its answer has been sent
        lines = (world.root / "home/server.log").read_text().splitlines()
        log = [json.loads(line) for line in lines if line[:1] == "{"]
        if {"request", "request done"} <= {line["event"] for line in log if str(line["request_id"]).startswith(name)}:
            break
        assert time.monotonic() < deadline, "the client's request id is not in both logs"
        time.sleep(0.05)
    assert all("request_id" in line for line in log)
