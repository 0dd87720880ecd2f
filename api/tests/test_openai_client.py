"""The official client against the real server: front and RPC are real, the engine is scripted."""

from urllib.parse import quote

import openai
import pytest

MODEL = "org/demo:main"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture(params=["/oai/v1", "/v1"])
def client(served, request):
    with served.client(request.param) as client:
        yield client


def ask(client, text="hello", **options):
    return client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": text}], **options)


def test_models_are_listed(client):
    models = {model.id: model for model in client.models.list()}
    assert set(models) == {"org/demo:main", "org/demo:feature/x+y", "plain:v1@2"}
    model = models[MODEL]
    assert (model.object, model.created, model.max_model_len) == ("model", 1_700_000_000, 4096)
    assert model.owned_by.startswith("system driver:none, saved:0B, age:")
    assert model.owned_by.endswith(" cached")
    assert (model.meta["commit"], model.meta["ref"], model.meta["status"]) == (COMMIT, "main", "ok")
    assert model.meta["problem"] is None
    assert model.root
    assert model.parent is None


@pytest.mark.parametrize("name", ["org/demo:main", "org/demo:feature/x+y", "plain:v1@2"])
def test_a_model_is_retrieved_by_any_id(served, client, name):
    assert client.models.retrieve(name).id == name
    for spelling in (name, quote(name, safe=""), quote(name, safe="/")):
        assert served.get(f"/v1/models/{spelling}")[1]["id"] == name


def test_a_chat_answer(client):
    response = client.chat.completions.with_raw_response.create(model=MODEL, messages=HELLO)
    completion = response.parse()
    assert completion.choices[0].message.content == "Hello."
    assert completion.choices[0].message.role == "assistant"
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage.completion_tokens == 6
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + 6
    assert completion.usage.prompt_tokens_details.cached_tokens == 0
    assert completion.usage.completion_tokens_details.reasoning_tokens == 0
    assert completion.model == MODEL
    assert completion.id.startswith("chatcmpl-")
    commit, _, build = completion.system_fingerprint.partition("-")
    assert (commit, len(build)) == (COMMIT[:12], 8)
    assert response.headers["x-hyprstream-commit"] == COMMIT
    assert response.headers["x-request-id"]


def test_a_chat_stream(client):
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Hello."
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-2:] == [None, "stop"]
    assert (chunks[-1].choices, chunks[-1].usage.completion_tokens) == ([], 6)
    assert len({c.id for c in chunks}) == len({c.created for c in chunks}) == 1


def test_a_chat_stream_through_the_clients_own_accumulator(client):
    with client.chat.completions.stream(model=MODEL, messages=HELLO) as stream:
        assert stream.get_final_completion().choices[0].message.content == "Hello."


def test_several_choices(client):
    completion = ask(client, n=3)
    assert [choice.index for choice in completion.choices] == [0, 1, 2]
    assert {choice.message.content for choice in completion.choices} == {"Hello."}


def test_max_tokens_and_stop_end_an_answer(client):
    short = ask(client, max_completion_tokens=3).choices[0]
    assert (short.message.content, short.finish_reason) == ("Hel", "length")
    stopped = ask(client, stop="lo").choices[0]
    assert (stopped.message.content, stopped.finish_reason) == ("Hel", "stop")


@pytest.mark.parametrize(
    ("prompt", "choices"),
    [("ab", 1), (["ab", "cd"], 2), ([97, 98], 1), ([[97, 98], [99]], 2)],
    ids=["text", "texts", "token ids", "lists of token ids"],
)
def test_text_completions_take_prompts_in_four_forms(served, client, prompt, choices):
    completion = client.completions.create(model=MODEL, prompt=prompt)
    assert [choice.text for choice in completion.choices] == ["Hello."] * choices
    assert completion.usage.prompt_tokens == {"ab": 2}.get(
        str(prompt), 2 if choices == 1 else completion.usage.prompt_tokens
    )
    assert served.engine.requests[-1].prompt_ids in ((97, 98), (99, 100), (99,))


def test_token_ids_are_returned_when_asked_for(client):
    extra = {"return_token_ids": True}
    completion = client.completions.create(model=MODEL, prompt="a", extra_body=extra)
    assert completion.choices[0].token_ids == list(b"Hello.")
    chunks = client.completions.create(model=MODEL, prompt="a", stream=True, extra_body=extra)
    assert [i for c in chunks for i in c.choices[0].token_ids] == list(b"Hello.")
    chat = ask(client, stream=True, extra_body=extra)
    assert [i for c in chat for i in c.choices[0].token_ids] == list(b"Hello.")


def test_a_completion_stream(client):
    chunks = list(client.completions.create(model=MODEL, prompt="a", stream=True))
    assert "".join(c.choices[0].text for c in chunks) == "Hello."
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_sampling_values_reach_the_engine(served, client):
    extra = {
        "top_k": 5,
        "min_p": 0.1,
        "repetition_penalty": 1.2,
        "ignore_eos": True,
        "min_tokens": 1,
        "stop_token_ids": [5],
    }
    ask(client, temperature=0.3, top_p=0.9, seed=7, presence_penalty=0.5, frequency_penalty=-0.5, extra_body=extra)
    params = served.engine.requests[-1].params
    assert (params.temperature, params.top_p, params.top_k, params.min_p, params.seed) == (0.3, 0.9, 5, 0.1, 7)
    assert (params.presence_penalty, params.frequency_penalty, params.repetition_penalty) == (0.5, -0.5, 1.2)
    assert (params.ignore_eos, params.min_tokens, params.stop_token_ids) == (True, 1, (5,))


def test_case_115_an_unknown_model_raises_not_found(client):
    for call in (
        lambda: client.models.retrieve("nobody:main"),
        lambda: client.chat.completions.create(model="nobody", messages=HELLO),
        lambda: client.completions.create(model="nobody", prompt="x", stream=True),
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            call()
        assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_case_115_bad_requests_raise_bad_request(client):
    for call, param, code in (
        (lambda: ask(client, temperature=3), "temperature", "invalid_value"),
        (lambda: ask(client, logprobs=True), "logprobs", "unsupported_parameter"),
        (lambda: ask(client, extra_body={"colour": 1}), "colour", "unknown_parameter"),
        (lambda: ask(client, response_format={"type": "json_object"}), "response_format", "unsupported_parameter"),
        (lambda: client.completions.create(model=MODEL, prompt=[300]), "prompt", "invalid_value"),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            call()
        assert (caught.value.param, caught.value.code) == (param, code)
        assert caught.value.type == "invalid_request_error"


def test_case_115_a_prompt_that_is_too_long_is_refused_with_both_numbers(client):
    with pytest.raises(openai.BadRequestError, match="4096") as caught:
        ask(client, "x" * 5000)
    assert caught.value.code == "context_length_exceeded"
    assert "50" in caught.value.message


def test_case_115_a_full_engine_raises_a_server_error_that_says_when_to_retry(client):
    for stream in (False, True):
        with pytest.raises(openai.InternalServerError) as caught:
            ask(client, "<full>", stream=stream)
        assert caught.value.status_code == 503
        assert caught.value.code == "overloaded"
        assert caught.value.response.headers["retry-after"] == "1"


def test_case_115_a_failure_in_the_middle_of_a_stream_raises(client):
    stream = ask(client, "<breaks>", stream=True)
    with pytest.raises(openai.APIError, match="the inference service is not available at the moment") as caught:
        for _ in stream:
            pass
    assert caught.value.code == "engine_unavailable"


def test_case_115_only_what_may_work_later_is_retried(served):
    for text, status, attempts in (("<full>", 503, 2), ("hello", 404, 1)):
        tried = []
        with served.client().with_options(max_retries=1) as client:
            client._client.event_hooks["response"].append(
                lambda response, tried=tried: tried.append(response.status_code)
            )
            with pytest.raises(openai.APIStatusError):
                client.chat.completions.create(
                    model=MODEL if status == 503 else "nobody", messages=[{"role": "user", "content": text}]
                )
        assert tried == [status] * attempts
