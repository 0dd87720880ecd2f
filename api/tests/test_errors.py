"""What clients read of an error: what is theirs to mend, and nothing of the machine that serves them."""

import inspect

import pytest

from hyprstream_api import errors
from hyprstream_api.errors import Notice, problem_of, without_paths
from hyprstream_core import errors as core

PATH = "/home/someone/models/secret.git"
CLASSES = [
    cls for _, cls in inspect.getmembers(core, inspect.isclass) if issubclass(cls, core.HyprstreamError)
]  # fmt: skip
ABOUT_THE_REQUEST = {core.InvalidRequest, core.ContextLengthExceeded, core.RefError, core.ModelNotFound}
"""Their messages quote the request and nothing else."""


@pytest.mark.parametrize("cls", [c for c in CLASSES if c not in ABOUT_THE_REQUEST], ids=lambda c: c.__name__)
@pytest.mark.parametrize("details", [{}, {"service": "inference"}, {"service": "registry"}], ids=str)
def test_no_error_tells_a_client_a_path_or_what_an_operator_may_do(cls, details):
    for message in (f"cannot read {PATH}", f"nobody answers at ipc://{PATH}: gone", f"{PATH!r} is full"):
        problem = problem_of(cls(message, remedy=f"pip install it in {PATH}", **details))
        assert "secret" not in problem.message
        assert "pip" not in problem.message
        assert problem.message
        assert problem.status >= 400


@pytest.mark.parametrize("cls", [core.RefError, core.ModelNotFound])
def test_what_an_operator_may_do_about_a_model_is_not_told(cls):
    problem = problem_of(cls("there is no model 'x'", remedy="hyprstream clone URL fetches more"))
    assert (problem.message, problem.param) == ("there is no model 'x'", "model")


def test_what_a_client_may_do_is_told():
    problem = problem_of(core.ContextLengthExceeded("too long", remedy="shorten the prompt"))
    assert problem.message == "too long (shorten the prompt)"
    assert problem_of(Notice("the server is stopping", remedy="send it again")).message.endswith("(send it again)")


@pytest.mark.parametrize(
    ("error", "message", "code"),
    [
        (
            core.Unavailable("x", service="inference"),
            "the inference service is not available at the moment",
            "engine_unavailable",
        ),
        (
            core.Unavailable("x", service="registry"),
            "the model registry is not available at the moment",
            "registry_unavailable",
        ),
        (core.Unavailable("x"), "the server is not available at the moment", "server_unavailable"),
        (
            core.DeadlineExceeded("x", service="inference"),
            "the inference service did not answer in time",
            "deadline_exceeded",
        ),
        (core.Overloaded("x", code="rpc.too_many_calls"), "the server has too much to do at the moment", "overloaded"),
        (core.Overloaded("x", code="rpc.slow_reader"), "the answer was not read fast enough", "rpc.slow_reader"),
        (core.Cancelled("x"), "the server cancelled the request", "cancelled"),
    ],
)
def test_what_is_not_there_is_called_by_one_name_and_may_be_tried_again(error, message, code):
    problem = problem_of(error)
    assert (problem.status, problem.type, problem.message, problem.code) == (503, "server_error", message, code)
    assert problem.headers == {"Retry-After": str(errors.RETRY_AFTER_SECONDS)}


@pytest.mark.parametrize("code", ["rpc.malformed", "rpc.version", "rpc.unknown_method"])
def test_a_request_that_the_worker_spoilt_is_not_the_clients_fault(code):
    problem = problem_of(core.InvalidRequest("deadline is not a time", code=code))
    assert (problem.status, problem.code) == (500, "internal_error")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"cannot read {PATH}: gone", "cannot read …: gone"),
        (f"the socket ipc://{PATH} (closed)", "the socket … (closed)"),
        (f"got '{PATH}', expected none", "got '…', expected none"),
        ("org/demo:main has a/b and 1/2 and /", "org/demo:main has a/b and 1/2 and /"),
        ("write /think or /no_think", "write /think or /no_think"),
        ("tokenizer.json: 'model/x' is no model", "tokenizer.json: 'model/x' is no model"),
    ],
)
def test_paths_are_left_out_and_names_with_slashes_stay(text, expected):
    assert without_paths(text) == expected
