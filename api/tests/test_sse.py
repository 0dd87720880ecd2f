"""Event streams: how they begin, stay alive, fail and are closed."""

import asyncio
import json

import pytest

from hyprstream_api.draining import Lifetime
from hyprstream_api.sse import DONE, PING, EventStream, event
from hyprstream_core.errors import Overloaded, Unavailable


class Source:
    """Events from a script: bytes, a pause in seconds, or an error; notes how it ended."""

    def __init__(self, *steps):
        self.steps, self.closed, self.cancelled = steps, 0, False

    async def events(self):
        try:
            for step in self.steps:
                if isinstance(step, BaseException):
                    raise step
                if isinstance(step, bytes):
                    yield step
                else:
                    await asyncio.sleep(step)
        except asyncio.CancelledError:
            self.cancelled = True
            raise

    async def close(self):
        self.closed += 1

    def stream(self, lifetime=None, ping=10.0):
        return EventStream(self.events(), self.close, lifetime or Lifetime(), ping)


async def read(stream):
    try:
        await stream.begin()
        return [data async for data in stream]
    finally:
        await stream.close()


def test_events_pass_in_order_and_the_answer_is_closed():
    source = Source(b"a", b"b", DONE)
    assert asyncio.run(read(source.stream())) == [b"a", b"b", DONE]
    assert source.closed == 1


def test_an_error_before_the_first_event_is_raised():
    source = Source(Overloaded("full"), b"a")
    with pytest.raises(Overloaded):
        asyncio.run(read(source.stream()))
    assert source.closed


def test_an_error_after_it_is_the_last_event():
    gone = Unavailable("nobody answers at ipc:///run/x.sock", service="inference")
    data = asyncio.run(read(Source(b"a", gone, DONE).stream()))
    assert data[0] == b"a"
    assert json.loads(data[1].removeprefix(b"data: "))["error"] == {
        "message": "the inference service is not available at the moment",
        "type": "server_error",
        "param": None,
        "code": "engine_unavailable",
    }
    assert len(data) == 2


def test_our_own_defect_is_told_without_details():
    data = asyncio.run(read(Source(b"a", KeyError("secret")).stream()))
    assert b"internal_error" in data[1]
    assert b"secret" not in data[1]


def test_silence_is_filled_with_pings():
    data = asyncio.run(read(Source(0.25, b"a", 0.15, b"b").stream(ping=0.1)))
    assert data[0] == PING
    assert [d for d in data if d != PING] == [b"a", b"b"]
    assert 2 <= data.count(PING) <= 4


def test_closing_cancels_what_is_awaited():
    async def leave():
        source = Source(b"a", 60.0, b"b")
        stream = source.stream()
        await stream.begin()
        assert await anext(stream) == b"a"
        waiting = asyncio.create_task(anext(stream))
        await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.wait({waiting})
        await stream.close()
        return source

    source = asyncio.run(leave())
    assert source.cancelled
    assert source.closed == 1


def test_leaving_before_the_first_event_cancels():
    async def leave():
        source = Source(60.0)
        task = asyncio.create_task(read(source.stream()))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        return source

    source = asyncio.run(leave())
    assert source.cancelled
    assert source.closed


def test_a_worker_that_must_go_ends_streams_with_an_error():
    async def stop():
        lifetime, source = Lifetime(), Source(b"a", 60.0)
        reading = asyncio.create_task(read(source.stream(lifetime)))
        await asyncio.sleep(0.05)
        await lifetime.end()
        with pytest.raises(Unavailable):
            await read(Source(b"a").stream(lifetime))
        return await reading

    data = asyncio.run(stop())
    assert data[0] == b"a"
    assert b"stopping" in data[1]


def test_a_worker_that_must_go_ends_a_stream_whose_client_still_reads_its_last_event():
    async def stop():
        lifetime = Lifetime()
        stream = Source(b"a", b"b", b"c").stream(lifetime)
        await stream.begin()
        assert await anext(stream) == b"a"
        ending = asyncio.create_task(lifetime.end())
        await asyncio.sleep(0.05)
        rest = [data async for data in stream]
        await stream.close()
        await asyncio.wait_for(ending, 1)
        return rest

    (last,) = asyncio.run(stop())
    assert b"stopping" in last


def test_a_worker_that_must_go_ends_waiting_answers_with_an_error():
    async def stop():
        lifetime = Lifetime()
        waiting = asyncio.create_task(lifetime.run(asyncio.sleep(60)))
        await asyncio.sleep(0.05)
        await lifetime.end()
        await waiting

    with pytest.raises(Unavailable, match="stopping"):
        asyncio.run(stop())


def test_a_caller_that_leaves_cancels_the_work():
    async def leave():
        ended = []

        async def work():
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                ended.append(True)
                raise

        waiting = asyncio.create_task(Lifetime().run(work()))
        await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.wait({waiting})
        return waiting.cancelled() and ended == [True]

    assert asyncio.run(leave())


def test_an_event_is_one_line_however_lines_are_split():
    data = {"a": "x\ny\r\u2028\u2029\x85\x0b\x0c\x1ce\u0301"}
    text = event(data).decode()
    assert len(text.splitlines()) == 2
    assert json.loads(text.removeprefix("data: ")) == data
