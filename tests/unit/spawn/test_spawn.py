import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from hyprstream_core.errors import Conflict, InternalError, PluginError, Unavailable
from hyprstream_core.spawn.program import Program
from hyprstream_core.spawn.spawned import prepare, spawn

MODES = ["task", "thread", "subprocess"]


def program(name, mode, **config):
    return Program("thing", f"spawned_programs:{name}", config, mode)


def is_alive(pid):
    """Whether ``pid`` runs (a zombie does not)."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def wait_until_dead(pid, seconds=8.0):
    deadline = time.monotonic() + seconds
    while is_alive(pid):
        assert time.monotonic() < deadline, f"{pid} is still alive"
        time.sleep(0.02)


@pytest.mark.parametrize("mode", MODES)
def test_a_program_goes_through_its_states(mode, tmp_path):
    async def main():
        thing = prepare(program("Base", mode, stopped=str(tmp_path / "stopped"), n=[1, {"a": None}]))
        assert thing.state == "created"
        starting = asyncio.create_task(thing.start())
        await asyncio.sleep(0)
        assert thing.state in ("spawning", "active")
        await starting
        assert thing.state == "active"
        assert thing.info["got"]["n"] == [1, {"a": None}]
        assert thing.info["pid"] == thing.pid
        assert (thing.pid == os.getpid()) == (mode != "subprocess")
        waiting = asyncio.create_task(thing.wait())
        await thing.stop()
        assert thing.state == "stopped"
        assert await asyncio.wait_for(waiting, 5) == 0
        assert (tmp_path / "stopped").exists()
        await thing.stop()

    asyncio.run(main())


@pytest.mark.parametrize("mode", MODES)
def test_a_typed_failure_to_start_is_raised_at_the_caller(mode):
    async def main():
        thing = prepare(program("Typed", mode))
        with pytest.raises(Conflict, match="it is taken") as caught:
            await thing.start()
        assert caught.value.remedy == "go away"
        assert caught.value.details == {"pid": 7}
        assert thing.state == "stopped"

    asyncio.run(main())


@pytest.mark.parametrize("mode", MODES)
def test_any_other_failure_to_start_names_the_class_and_the_exception(mode):
    async def main():
        with pytest.raises(InternalError, match=r"spawned_programs:Raises failed to start: ValueError: boom"):
            await spawn(program("Raises", mode))

    asyncio.run(main())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("path", ["spawned_programs:Absent", "no_such_module:Thing", "spawned_programs.:"])
def test_a_class_that_cannot_be_loaded_is_named(mode, path):
    async def main():
        with pytest.raises(PluginError, match="cannot load"):
            await spawn(Program("thing", path, {}, mode))

    asyncio.run(main())


@pytest.mark.parametrize("mode", MODES)
def test_a_module_that_exits_when_it_is_imported_does_not_take_us_along(mode, programs):
    Path(programs, "exits.py").write_text("raise SystemExit('no such thing')")

    async def main():
        with pytest.raises(PluginError, match="SystemExit: no such thing"):
            await spawn(Program("thing", "exits:Thing", {}, mode))

    asyncio.run(main())


@pytest.mark.parametrize("mode", MODES)
def test_a_start_that_takes_too_long_is_given_up(mode, tmp_path):
    async def main():
        thing = prepare(program("Never", mode, stopped=str(tmp_path / "stopped")))
        with pytest.raises(Unavailable, match="not ready within"):
            await thing.start(timeout=1.0)
        assert thing.state == "stopped"
        if mode == "subprocess":
            wait_until_dead(thing.pid)
        else:
            await thing.wait()
            assert (tmp_path / "stopped").exists()

    asyncio.run(main())


@pytest.mark.parametrize("mode", MODES)
def test_stopping_gives_a_start_up(mode, tmp_path):
    async def main():
        thing = prepare(program("Never", mode, stopped=str(tmp_path / "stopped")))
        starting = asyncio.create_task(thing.start())
        await asyncio.sleep(0.3)
        assert thing.state == "spawning"
        await asyncio.wait_for(thing.stop(), 8)
        assert thing.state == "stopped"
        with pytest.raises(Unavailable, match="stopped while it started"):
            await starting
        await asyncio.wait_for(thing.wait(), 8)
        if mode == "subprocess":
            wait_until_dead(thing.pid)
        else:
            assert (tmp_path / "stopped").exists()

    asyncio.run(main())


@pytest.mark.parametrize("mode", ["task", "thread"])
@pytest.mark.parametrize("turns", range(4))
def test_a_start_may_be_given_up_at_any_moment(mode, turns, tmp_path):
    async def main():
        thing = prepare(program("Never", mode, stopped=str(tmp_path / "stopped")))
        starting = asyncio.create_task(thing.start())
        for _ in range(turns):
            await asyncio.sleep(0)
        await asyncio.wait_for(thing.stop(), 8)
        with pytest.raises((Unavailable, InternalError)):
            await starting
        if turns:
            await asyncio.wait_for(thing.wait(), 8)

    asyncio.run(main())


@pytest.mark.parametrize("mode", MODES)
def test_a_start_that_is_cancelled_from_outside_stays_cancelled(mode):
    async def main():
        thing = prepare(program("Never", mode))
        starting = asyncio.create_task(thing.start())
        await asyncio.sleep(0.3)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert thing.state == "stopped"

    asyncio.run(main())


@pytest.mark.parametrize("mode", MODES)
def test_what_was_stopped_before_it_started_does_not_start(mode):
    async def main():
        thing = prepare(program("Base", mode))
        await thing.stop()
        with pytest.raises(InternalError, match="starts once"):
            await thing.start()

    asyncio.run(main())


def test_a_thread_that_is_ready_just_when_it_is_given_up_is_stopped_in_order(tmp_path):
    async def main():
        thing = prepare(program("Blocks", "thread", stopped=str(tmp_path / "stopped")))
        with pytest.raises(Unavailable, match="not ready within"):
            await thing.start(timeout=0.2)
        await asyncio.wait_for(thing.wait(), 8)
        assert (tmp_path / "stopped").exists()

    asyncio.run(main())


def test_a_thread_that_is_given_up_at_once_does_not_run_on(tmp_path):
    async def main():
        thing = prepare(program("Never", "thread", stopped=str(tmp_path / "stopped")))
        with pytest.raises(Unavailable, match="not ready within"):
            await thing.start(timeout=0)
        await asyncio.wait_for(thing.wait(), 8)

    asyncio.run(main())


@pytest.mark.parametrize("mode", ["task", "thread"])
def test_each_stop_keeps_its_own_deadline(mode):
    """Also the second of a program that is still busy with the first, and two at once."""

    async def main():
        thing = await spawn(program("Stubborn", mode))
        for count in (1, 2):
            stops = [thing.stop(grace=0.2) for _ in range(count)]
            found = await asyncio.wait_for(asyncio.gather(*stops, return_exceptions=True), 5)
            assert [e.error_code for e in found] == ["spawn.busy"] * count
        assert thing.state == "stopping"

    asyncio.run(main())


@pytest.mark.parametrize("mode", MODES)
def test_two_may_stop_it_at_once(mode, tmp_path):
    async def main():
        thing = await spawn(program("Base", mode, stopped=str(tmp_path / "stopped")))
        await asyncio.wait_for(asyncio.gather(thing.stop(), thing.stop()), 10)
        assert thing.state == "stopped"

    asyncio.run(main())


def test_dying_at_start_is_an_error_with_the_exit_status():
    async def main():
        with pytest.raises(Unavailable, match="exit status 9"):
            await spawn(program("Dies", "subprocess"))

    asyncio.run(main())


def test_a_subprocess_that_does_not_stop_is_killed_with_what_it_started():
    async def main():
        thing = await spawn(program("Grandchild", "subprocess"))
        began = time.monotonic()
        await thing.stop(grace=0.3)
        assert time.monotonic() - began < 3
        assert await thing.wait() == -signal.SIGKILL
        wait_until_dead(thing.info["grandchild"])

    asyncio.run(main())


@pytest.mark.parametrize("mode", ["task", "thread"])
def test_a_task_or_thread_that_does_not_stop_is_reported(mode):
    async def main():
        thing = await spawn(program("Stubborn", mode))
        with pytest.raises(Unavailable, match="did not stop within"):
            await thing.stop(grace=0.2)

    asyncio.run(main())


def test_a_subprocess_that_dies_is_seen_to_be_stopped():
    async def main():
        thing = await spawn(program("Base", "subprocess"))
        waiting = asyncio.create_task(thing.wait())
        os.kill(thing.pid, signal.SIGKILL)
        assert await asyncio.wait_for(waiting, 5) == -signal.SIGKILL
        assert thing.state == "stopped"
        await thing.stop()

    asyncio.run(main())


def test_each_spawned_starts_once():
    async def main():
        thing = await spawn(program("Base", "task"))
        with pytest.raises(InternalError, match="starts once"):
            await thing.start()
        await thing.stop()

    asyncio.run(main())


def test_configuration_is_neither_on_the_command_line_nor_in_the_environment():
    async def main():
        thing = await spawn(program("Inspect", "subprocess", token="s3cret-" + "x" * 200_000))
        try:
            assert "s3cret" not in thing.info["argv"]
            assert "s3cret" not in thing.info["environ"]
            assert not [fd for fd in thing.info["fds"] if "hyprstream-order" in fd]
            assert thing.info["parent"] == os.getpid()
            assert thing.info["session"] == thing.pid
        finally:
            await thing.stop()

    asyncio.run(main())


def test_what_a_subprocess_prints_does_not_mix_with_our_output(capfd):
    async def main():
        thing = await spawn(program("Prints", "subprocess"))
        await thing.stop()

    asyncio.run(main())
    out, err = capfd.readouterr()
    assert out == ""
    assert "noise on stdout" in err


def test_start_must_return_plain_data():
    async def main():
        with pytest.raises(InternalError, match="no plain data"):
            await spawn(program("Odd", "subprocess"))

    asyncio.run(main())


@pytest.mark.parametrize("mode", MODES)
def test_file_names_that_are_no_utf8_pass_both_ways(mode):
    async def main():
        thing = await spawn(program("Base", mode, path="/models/\udcff"))
        assert thing.info["got"] == {"path": "/models/\udcff"}
        await thing.stop()
        with pytest.raises(InternalError, match="ValueError"):
            await spawn(program("RaisesOddly", mode))

    asyncio.run(main())


PARENT = """
import asyncio, os, sys, threading
from hyprstream_core.spawn.program import Program
from hyprstream_core.spawn.spawned import spawn

async def main():
    tied_to = int(sys.argv[2]) or None
    thing = await spawn(Program("thing", "spawned_programs:" + sys.argv[1], {}, tied_to=tied_to))
    print(thing.pid, flush=True)
    await asyncio.sleep(60)

if sys.argv[3] == "thread":
    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    thread.join()
else:
    asyncio.run(main())
"""


def parent_of(name, tied_to=0, place="main"):
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, name, str(tied_to), place], stdout=subprocess.PIPE, text=True
    )
    return process, int(process.stdout.readline())


def end(process):
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("place", ["main", "thread"])
def test_a_child_dies_with_its_parent(place):
    process, child = parent_of("Base", place=place)
    assert is_alive(child)
    end(process)
    wait_until_dead(child)


def test_a_child_that_does_not_stop_dies_with_its_parent_all_the_same():
    process, child = parent_of("Stubborn")
    end(process)
    wait_until_dead(child)


def test_a_tied_child_outlives_its_parent_and_dies_with_whom_it_is_tied_to():
    guardian = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        process, child = parent_of("Base", guardian.pid)
        end(process)
        time.sleep(0.5)
        assert is_alive(child)
    finally:
        guardian.kill()
        guardian.wait()
    wait_until_dead(child)


def test_a_thread_that_spawned_may_end_without_taking_the_child_along():
    """The kernel's parent-death signal is about threads; it must not fire here."""

    async def begin():
        return await spawn(program("Base", "subprocess"))

    async def main():
        thing = await asyncio.to_thread(lambda: asyncio.run(begin()))
        await asyncio.get_running_loop().shutdown_default_executor()
        await asyncio.sleep(0.3)
        assert thing.state == "active"
        await thing.stop()

    asyncio.run(main())


def test_spawning_needs_neither_torch_nor_rpc():
    code = "import sys, hyprstream_core.spawn.child, hyprstream_core.spawn.process; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "zmq", "capnp", "structlog"} & set(loaded)
