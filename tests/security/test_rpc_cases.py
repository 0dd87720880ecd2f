"""Cases 71, 72 and 80 of the security list: what a hostile neighbour can send to a service's socket."""

import asyncio
import json
import os
import pickle
import random
import stat
import struct
import sys
import tempfile
from pathlib import Path

import pytest
import zmq

from hyprstream_core.builtin.rpc import Inproc, Ipc
from hyprstream_core.config import Limits
from hyprstream_core.errors import InvalidRequest, Unavailable
from hyprstream_core.interfaces.inference import Description, EngineStatus, GenerateRequest, SamplingParams, TokenChunk
from hyprstream_core.rpc import wire
from hyprstream_core.rpc.client import Client
from hyprstream_core.rpc.codec import decode, encode
from hyprstream_core.rpc.contracts import GENERATE, INFERENCE, SCHEMAS, STATUS, Empty
from hyprstream_core.rpc.endpoints import endpoint
from hyprstream_core.rpc.envelope import VERSION, Envelope, seal_request
from hyprstream_core.rpc.server import Server

LIMITS = Limits()
CALL = b"i" * 16


class Idle:
    contract = INFERENCE

    async def generate(self, request):
        yield TokenChunk((1,), "stop")

    async def status(self):
        return EngineStatus(True, 0, 0, 0, 0, 0, 0, 0, 0)


class Bomb:
    def __reduce__(self):
        return os.system, ("touch /tmp/unpickled",)


@pytest.fixture
def runtime_dir():
    with tempfile.TemporaryDirectory(prefix="hs") as path:
        yield Path(path)


@pytest.fixture
def unpickled():
    """Events of unpickling in this process. An audit hook stays for good, so it is made deaf afterwards."""
    seen, listening = [], [True]
    sys.addaudithook(lambda name, args: seen.append(args) if listening and name.startswith("pickle.") else None)
    yield seen
    listening.clear()


def serve(runtime_dir, test, scheme="ipc"):
    """Run ``test(server, client)`` against a live server; afterwards it must still answer."""

    async def main():
        place = endpoint("inference", scheme, runtime_dir)
        server = Server([Idle()], [place], {"ipc": Ipc(), "inproc": Inproc()})
        await server.start()
        try:
            async with Client(place) as client:
                await client.call(STATUS, Empty())
                await test(server)
                assert (await client.call(STATUS, Empty())).ready
                assert server.running_calls == 0
        finally:
            await server.stop()

    asyncio.run(main())


def attacker(place):
    socket = zmq.Context.instance().socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(place)
    return socket


async def until(condition, seconds=20):
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def junk_bodies():
    noise = random.Random(7)
    good = encode(Empty(), STATUS.schema, LIMITS)
    return [
        pickle.dumps(Bomb()),
        json.dumps({"service": "inference", "method": "status"}).encode(),
        b"",
        b"\0",
        *(noise.randbytes(n) for n in (1, 8, 64, 1000, 65536)),
        good,
        b"\xff" * 4096,
    ]


@pytest.mark.parametrize("scheme", ["ipc", "inproc"])
def test_case_071_junk_is_dropped_and_counted_one_by_one(runtime_dir, unpickled, scheme):
    messages = [[CALL, wire.REQ, body] for body in junk_bodies()]
    messages += [[body] for body in junk_bodies()]
    messages += [[CALL, b"?", b""], [CALL, wire.CHUNK, b""], [CALL, wire.PONG, b""], [CALL, wire.END, b"x"]]
    messages += [[b"", wire.PING, b"x"], [b"", b"", b""], [b"x"] * 100, [CALL, wire.REQ, b"x", b"trailing"]]

    async def test(server):
        socket = attacker(server.endpoints[0])
        for count, message in enumerate(messages, 1):
            socket.send_multipart(message)
            await until(lambda expected=count: server.counters.dropped == expected)
        socket.close()
        assert server.counters.calls == 1

    serve(runtime_dir, test, scheme)
    assert not unpickled
    assert not Path("/tmp/unpickled").exists()


def test_case_071_commands_for_calls_that_do_not_exist_do_nothing(runtime_dir):
    async def test(server):
        socket = attacker(server.endpoints[0])
        for kind, body in ((wire.CANCEL, b""), (wire.MORE, b"\xff\xff\xff\xff"), (wire.MORE, b"x")):
            socket.send_multipart([CALL, kind, body])
        socket.send_multipart([b"", wire.PING, b""])
        await until(lambda: socket.poll(0))
        assert socket.recv_multipart() == [b"", wire.PONG, b""]
        socket.close()
        assert server.counters.cancelled == 0

    serve(runtime_dir, test)


GRANTS = {"too much": ([b"\xff\xff\xff\xff"] * 3, 4), "nothing": ([bytes(4), b"", b"x"] * 5, 1)}


@pytest.mark.parametrize("grant", GRANTS)
def test_case_071_credit_has_a_ceiling(runtime_dir, grant):
    """However much a client grants itself, one window is all that can be on its way; granting nothing frees nothing."""
    bodies, windows = GRANTS[grant]
    opened = []

    class Endless(Idle):
        async def generate(self, request):
            for i in range(100_000):
                opened.append(i)
                yield TokenChunk((i,))

    async def main():
        place = endpoint("inference", "ipc", runtime_dir)
        server = Server([Endless()], [place], {"ipc": Ipc()})
        await server.start()
        socket = attacker(place)
        request = GenerateRequest("r", "m", "c", (1,), SamplingParams(1))
        body = Envelope(VERSION, "inference", "generate", CALL, encode(request, GENERATE.schema, LIMITS))
        socket.send_multipart([CALL, wire.REQ, seal_request(body, LIMITS)])
        await until(lambda: len(opened) >= wire.WINDOW)
        for more in bodies:
            socket.send_multipart([CALL, wire.MORE, more])
            await asyncio.sleep(0.1)
        assert len(opened) <= windows * wire.WINDOW + 2
        socket.close()
        await server.stop()

    asyncio.run(main())


def test_case_071_a_frame_of_a_gigabyte_is_refused_without_being_held(runtime_dir):
    async def test(server):
        before = resident()
        socket = attacker(server.endpoints[0])
        frame = zmq.Frame(bytes(2**30), copy=False)
        socket.send_multipart([CALL, wire.REQ, frame], copy=False)
        await asyncio.sleep(1)
        assert resident() - before < 256 * 2**20
        assert server.counters.calls == 1
        socket.close()

    serve(runtime_dir, test)


def test_case_071_an_oversized_message_within_the_process_is_dropped_too(runtime_dir):
    """libzmq does not apply its maximum to inproc."""

    async def test(server):
        socket = attacker(server.endpoints[0])
        socket.send_multipart([CALL, wire.REQ, bytes(LIMITS.message_bytes + 8)])
        await until(lambda: server.counters.dropped == 1)
        socket.close()

    serve(runtime_dir, test, "inproc")


def test_case_071_a_hundred_thousand_frames_leave_memory_flat_and_others_served(runtime_dir):
    async def test(server):
        place = server.endpoints[0]
        noise = random.Random(1)
        flood = [noise.randbytes(200) for _ in range(100)]

        def send(count):
            with attacker(place) as socket:
                socket.setsockopt(zmq.LINGER, 10_000)
                for i in range(count):
                    socket.send_multipart([CALL, wire.REQ, flood[i % 100]])

        await asyncio.to_thread(send, 5_000)
        await until(lambda: server.counters.dropped == 5_000)
        before = resident()
        async with Client(place) as other:
            sending = asyncio.create_task(asyncio.to_thread(send, 95_000))
            for _ in range(20):
                assert (await other.call(STATUS, Empty(), timeout=5)).ready
            await sending
        await until(lambda: server.counters.dropped == 100_000, 60)
        assert resident() - before < 64 * 2**20
        assert len(server._peers) <= 3

    serve(runtime_dir, test)


def test_case_071_a_flood_of_junk_does_not_flood_the_log(runtime_dir):
    import structlog

    with structlog.testing.capture_logs() as logs:

        async def test(server):
            socket = attacker(server.endpoints[0])
            for _ in range(1000):
                socket.send_multipart([b"junk"])
            await until(lambda: server.counters.dropped == 1000)
            socket.close()

        serve(runtime_dir, test)
    assert 1 <= len(logs) <= 11


def test_case_071_a_client_survives_what_a_broken_server_sends(runtime_dir):
    """Junk replies end the call with a typed error, or are ignored; none of them breaks the client."""
    runtime_dir.chmod(0o700)
    place = f"ipc://{runtime_dir}/fake.sock"

    async def main():
        with zmq.Context.instance().socket(zmq.ROUTER) as fake:
            fake.setsockopt(zmq.LINGER, 0)
            fake.bind(place)
            async with Client(place) as client:
                for kind, body in (
                    (wire.END, b"junk"),
                    (wire.ERR, b"junk"),
                    (wire.CHUNK, b""),
                    (b"?", b""),
                    (wire.END, b""),
                ):
                    call = asyncio.create_task(client.call(STATUS, Empty(), timeout=0.5))
                    while True:
                        await until(lambda: fake.poll(0))
                        peer, call_id, got, _ = fake.recv_multipart()
                        if got == wire.REQ:
                            break
                    fake.send_multipart([peer, b"unknown", wire.END, b""])
                    fake.send_multipart([peer, call_id])
                    fake.send_multipart([peer, call_id, kind, body])
                    with pytest.raises(Exception) as caught:
                        await call
                    assert type(caught.value).__module__ == "hyprstream_core.errors"
                    assert "Kj" not in str(caught.value)

    asyncio.run(main())


def test_case_072_sockets_and_locks_are_for_the_user_alone(runtime_dir):
    place = endpoint("inference", "ipc", runtime_dir / "run")
    old = os.umask(0)

    async def main():
        server = Server([Idle()], [place], {"ipc": Ipc()})
        await server.start()
        files = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (runtime_dir / "run").iterdir()}
        await server.stop()
        return files

    try:
        files = asyncio.run(main())
    finally:
        os.umask(old)
    assert stat.S_IMODE((runtime_dir / "run").stat().st_mode) == 0o700
    assert set(files) == {"inference.sock", "inference.sock.lock"}
    assert files["inference.sock.lock"] == 0o600
    assert files["inference.sock"] & 0o077 == 0


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o711, 0o777])
def test_case_072_a_directory_that_is_open_to_others_is_refused_at_start(runtime_dir, mode):
    runtime_dir.chmod(mode)
    place = endpoint("inference", "ipc", runtime_dir)

    async def main():
        with pytest.raises(Unavailable, match="open to others"):
            await Server([Idle()], [place], {"ipc": Ipc()}).start()

    asyncio.run(main())
    assert not list(runtime_dir.iterdir())


@pytest.mark.parametrize(
    "place", ["tcp://0.0.0.0:0", "tcp://127.0.0.1:0", "ws://127.0.0.1:0", "udp://127.0.0.1:0", "x"]
)
def test_case_072_nothing_listens_on_a_network(place):
    async def main():
        with pytest.raises(Unavailable, match="no RPC transport"):
            await Server([Idle()], [place], {"ipc": Ipc(), "inproc": Inproc()}).start()

    asyncio.run(main())


def test_case_072_serving_opens_no_tcp_socket(runtime_dir):
    async def test(server):
        inodes = {str(fd.readlink()) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()}
        for table in ("tcp", "tcp6"):
            for line in Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                assert not (fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes), "a TCP socket is listening"

    serve(runtime_dir, test)


# Case 80: hand-made Cap'n Proto. A pointer is a word: https://capnproto.org/encoding.html


def message(*words):
    return struct.pack("<II", 0, len(words)) + b"".join(words)


def struct_pointer(offset, data_words, pointers):
    return struct.pack("<iHH", offset << 2, data_words, pointers)


def list_pointer(offset, size, count):
    return struct.pack("<iI", (offset << 2) | 1, (count << 3) | size)


VOID, POINTERS, COMPOSITE = 0, 6, 7
REGISTRY = SCHEMAS / "registry.capnp"
ENGINE = SCHEMAS / "inference.capnp"


def text(offset_words, count):
    return list_pointer(offset_words, 2, count)


def models_with(pointer, *rest):
    """A ModelList whose list is ``pointer``."""
    from hyprstream_core.rpc.contracts import ModelList

    return message(struct_pointer(0, 0, 1), pointer, *rest), ModelList, REGISTRY


def hostile():
    from hyprstream_core.rpc.contracts import ModelList

    tag = struct.pack("<iHH", (2**29 - 1) << 2, 0, 0)
    yield "void list of 2^29 elements", *models_with(list_pointer(0, VOID, 2**29 - 1))
    yield "2^29 structs of no size", *models_with(list_pointer(0, COMPOSITE, 0), tag)
    yield "a list that ends outside", *models_with(list_pointer(0, POINTERS, 2**20))
    yield "a list that begins outside", *models_with(list_pointer(2**20, POINTERS, 1))
    yield "a list that points to itself", *models_with(list_pointer(-1, POINTERS, 1))
    yield "a struct where a list belongs", *models_with(struct_pointer(-1, 0, 1))
    yield "a far pointer to nowhere", *models_with(struct.pack("<II", 2, 77))
    yield "a capability", *models_with(struct.pack("<II", 3, 0))
    yield "a root that is its own pointer", message(struct_pointer(-1, 0, 1)), ModelList, REGISTRY
    yield "no root", b"\0" * 8, ModelList, REGISTRY
    yield "4 billion segments", struct.pack("<I", 0xFFFFFFFF) + b"\0" * 4092, ModelList, REGISTRY
    yield "4 billion minus 1 segments", struct.pack("<I", 0xFFFFFFFE) + b"\0" * 4092, ModelList, REGISTRY
    yield "a segment of 2^32 words", struct.pack("<II", 0, 0xFFFFFFFF), ModelList, REGISTRY
    yield "text without its end", message(struct_pointer(0, 0, 1), text(0, 8), b"abcdefgh"), _ref(), REGISTRY
    yield (
        "text that is no UTF-8",
        message(struct_pointer(0, 0, 1), text(0, 3), b"\xff\xfe\0\0\0\0\0\0"),
        _ref(),
        REGISTRY,
    )
    yield "a missing field", message(struct_pointer(0, 0, 1), bytes(8)), _ref(), REGISTRY
    yield "an empty struct", message(struct_pointer(0, 0, 0)), _ref(), REGISTRY


def _ref():
    from hyprstream_core.rpc.contracts import RefRequest

    return RefRequest


@pytest.mark.parametrize(("data", "record", "schema"), [h[1:] for h in hostile()], ids=[h[0] for h in hostile()])
def test_case_080_hostile_messages_are_typed_errors_that_say_nothing_about_memory(data, record, schema):
    with pytest.raises(InvalidRequest) as caught:
        decode(data, record, schema, LIMITS)
    said = str(caught.value.to_record())
    assert caught.value.error_code == "rpc.malformed"
    assert not any(word in said for word in ("0x", "Kj", "capnp", "kj", "stack", "c++"))
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_case_080_a_list_of_models_that_is_one_model_a_million_times_is_bounded():
    """Amplification: many pointers to one large text. What is read stays in proportion to what was sent."""
    word = b"x" * 7 + b"\0"
    pointers = [text(1000 - i - 1, 8 * 500) for i in range(1000)]
    data = message(struct_pointer(0, 0, 1), list_pointer(0, POINTERS, 1000), *pointers, *[word] * 500)
    names = data[:8] + struct_pointer(0, 3, 0) + data[16:]
    for bad in (data, names):
        with pytest.raises(InvalidRequest):
            decode(bad, Description, REGISTRY, LIMITS)


def test_case_080_sixty_five_levels_are_too_many(tmp_path):
    from dataclasses import dataclass

    schema = tmp_path / "deep.capnp"
    levels = "\n".join(f"struct L{i} {{ next @0 :L{i + 1}; }}" for i in range(65))
    schema.write_text(f"@0xf2b1a5c7d9e30812;\n{levels}\nstruct L65 {{ next @0 :Text; }}\n")
    kind = None
    types = []
    for i in range(65, -1, -1):
        kind = dataclass(frozen=True)(
            type(f"L{i}", (), {"__annotations__": {"next": kind or str}, "__module__": __name__})
        )
        types.append(kind)
    record = "end"
    for kind in types:
        record = kind(record)
    data = encode(record, schema, LIMITS)
    with pytest.raises(InvalidRequest) as caught:
        decode(data, types[-1], schema, LIMITS)
    assert caught.value.error_code == "rpc.malformed"


def test_case_080_a_union_tag_from_the_future_is_a_typed_error():
    data = bytearray(encode(TokenChunk((1, 2), "stop", 3), ENGINE, LIMITS))
    assert decode(bytes(data), TokenChunk, ENGINE, LIMITS).finish_reason == "stop"
    position = data.index(struct.pack("<HHI", 1, 0, 0))
    struct.pack_into("<H", data, position, 99)
    with pytest.raises(InvalidRequest) as caught:
        decode(bytes(data), TokenChunk, ENGINE, LIMITS)
    assert caught.value.error_code == "rpc.malformed"


def test_case_080_hostile_payloads_over_the_socket_are_answered_with_typed_errors(runtime_dir):
    from hyprstream_core.rpc.faults import decode_error

    async def test(server):
        socket = attacker(server.endpoints[0])
        for i, (_, data, _, _) in enumerate(hostile()):
            call_id = struct.pack(">QQ", 0, i)
            body = seal_request(Envelope(VERSION, "inference", "generate", call_id, data), LIMITS)
            socket.send_multipart([call_id, wire.REQ, body])
            await until(lambda: socket.poll(0))
            got_id, kind, reply = socket.recv_multipart()
            assert (got_id, kind) == (call_id, wire.ERR)
            error = decode_error(reply, LIMITS)
            assert isinstance(error, InvalidRequest)
            assert "Kj" not in str(error.to_record())
        socket.close()

    serve(runtime_dir, test)
