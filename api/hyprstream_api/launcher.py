"""Starts everything that ``hyprstream server`` is, keeps it running, and takes it down again.

    hyprstream server        this process: the supervisor
     ├─ control              registry
     ├─ engine               inference
     ├─ service:NAME         a plugin's service; one process each
     └─ gunicorn ─ workers   HTTP

The address is taken first (a taken port must not cost a model load), then control and engine are started and
ready, then gunicorn listens; nobody waits for the services of plugins. Going down is the reverse: gunicorn lets its
answers finish while the engine still computes them. A service that dies is started again; without gunicorn there is
nothing left to serve.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec

from hyprstream_api import listener
from hyprstream_api.gunicorn_process import Setup
from hyprstream_api.hosts import names_of
from hyprstream_api.probe import listed_models, open_answers, wait_until_ready
from hyprstream_api.processes import PROCESSES, plugin_processes, program
from hyprstream_api.worker import DRAIN_SECONDS, LEAVE_SECONDS
from hyprstream_core import __version__
from hyprstream_core.config import Settings
from hyprstream_core.errors import HyprstreamError, Unavailable
from hyprstream_core.plugins import Plugins
from hyprstream_core.rpc.endpoints import endpoint
from hyprstream_core.spawn.spawned import Spawned, spawn
from hyprstream_core.telemetry import logger

SPAWN_SECONDS = 120.0
LIST_SECONDS = 5.0
"""How long the list of models is waited for before the address is told without it."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds before a dead service is started again; doubled while it keeps dying."""
log = logger(__name__)


Tell = Callable[[str, str, Mapping[str, Any]], None]
"""Says something to whoever started the server, however much it logs: event, sentence, facts."""


@dataclass(frozen=True)
class Launch:
    """What to serve. ``tell`` is called when requests are answered, and when answers are waited for at the end."""

    settings: Settings
    plugins: Plugins
    tell: Tell


def serve(launch: Launch) -> None:
    """Serve until SIGTERM or ctrl-C.

    Raises:
        HyprstreamError: the address is taken, something could not be started, or gunicorn ended by itself.
    """
    with listener.bind(launch.settings.server.host, launch.settings.server.port) as bound:
        asyncio.run(_Supervisor(launch, bound).run())


class _Supervisor:
    """One launch, on one event loop."""

    def __init__(self, launch: Launch, bound: socket.socket) -> None:
        self._launch = launch
        self._bound, self._fd = bound, bound.fileno()
        self._address = bound.getsockname()[:2]
        self._url = listener.url_of(bound)
        self._hosts = names_of(launch.settings.server)
        self._services: dict[str, Spawned] = {}
        self._signals: asyncio.Queue[int] = asyncio.Queue()

    async def run(self) -> None:
        """Serve until a signal comes; then take everything down."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(signum, self._signals.put_nowait, signum)
        serving = asyncio.create_task(self._serve())
        signalled = asyncio.create_task(self._signals.get())
        try:
            await asyncio.wait({serving, signalled}, return_when=asyncio.FIRST_COMPLETED)
            serving.cancel()
            with suppress(asyncio.CancelledError):
                await serving
        finally:
            signalled.cancel()
            await asyncio.gather(*(service.stop() for service in self._services.values()))

    async def _serve(self) -> None:
        """Ends only by an error or by being cancelled; gunicorn has ended then."""
        gunicorn = await self._spawn_gunicorn()
        ended = asyncio.create_task(gunicorn.wait())
        keepers: list[asyncio.Task[None]] = []
        try:
            await self._spawn_services()
            keepers = [asyncio.create_task(self._keep(name)) for name in PROCESSES]
            keepers += [asyncio.create_task(self._add(name)) for name in plugin_processes(self._launch.plugins)]
            await self._let_serve(gunicorn)
            await self._announce(ended)
            code = await asyncio.shield(ended)
            raise Unavailable(f"gunicorn ended by itself with status {code}", remedy="its last log lines say why")
        finally:
            await self._stop_gunicorn(gunicorn, ended)
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)

    async def _spawn_services(self) -> None:
        """Start all of them at once; the first failure is raised when every start has ended."""
        started = await asyncio.gather(*(self._spawn(name) for name in PROCESSES), return_exceptions=True)
        for outcome in started:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _spawn(self, name: str) -> None:
        wanted = program(name, self._launch.settings, self._launch.plugins)
        self._services[name] = await spawn(wanted, SPAWN_SECONDS)

    async def _add(self, name: str) -> None:
        """Start a plugin's service, and keep it."""
        await self._try_to_spawn(name)
        await self._keep(name)

    async def _try_to_spawn(self, name: str) -> None:
        try:
            await self._spawn(name)
        except HyprstreamError as error:
            log.error("service cannot be started", service=name, error=str(error))
        except Exception:  # no memory or no process to spare now, or a defect: nobody else would try again
            log.exception("service cannot be started", service=name)
        else:
            log.info("service is running", service=name)

    async def _keep(self, name: str) -> None:
        """Start ``name`` again whenever it ends. Its clients see errors until then, and connect again by themselves."""
        pause, loop = FIRST_PAUSE, asyncio.get_running_loop()
        while True:
            began = loop.time()
            if name in self._services:  # else it could not be started
                status = await self._services[name].wait()
                del self._services[name]
                if loop.time() - began > LONGEST_PAUSE:
                    pause = FIRST_PAUSE
                log.error("service ended by itself; starting it again", service=name, status=status, pause=pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            await self._try_to_spawn(name)

    async def _spawn_gunicorn(self) -> Process:
        """The gunicorn process, importing; it serves when it is given its set-up.

        A session of its own keeps ctrl-C for us: gunicorn would drop its connections at once. The listening socket
        is gunicorn's alone, so that clients are refused as soon as gunicorn closes it.
        """
        with self._bound:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "hyprstream_api.gunicorn_process"),
                stdin=PIPE,
                pass_fds=(self._fd,),
                start_new_session=True,
            )

    async def _let_serve(self, gunicorn: Process) -> None:
        settings = self._launch.settings
        setup = Setup(
            fd=self._fd,
            parent=os.getpid(),
            workers=settings.server.workers,
            registry=self._endpoint("registry"),
            inference=self._endpoint("inference"),
            hosts=self._hosts,
            limits=settings.limits,
            log=settings.log,
            plugins=settings.plugins,
        )
        if gunicorn.stdin is not None:
            gunicorn.stdin.write(msgspec.json.encode(setup))
            with suppress(ConnectionError):  # it ended already: the caller waits for that
                await gunicorn.stdin.drain()
            gunicorn.stdin.close()

    def _endpoint(self, service: str) -> str:
        return endpoint(service, "ipc", self._launch.settings.runtime_dir)

    async def _announce(self, ended: asyncio.Task[int]) -> None:
        """Wait until requests are answered, or gunicorn ends."""
        ready = asyncio.create_task(wait_until_ready(self._address))
        try:
            await asyncio.wait({ready, ended}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                return
            ready.result()
        finally:
            ready.cancel()
        await self._tell_what_is_served()

    async def _tell_what_is_served(self) -> None:
        """Tell the address, with the models when they can be listed: the server answers in any case."""
        models: tuple[str, ...] = ()
        try:
            async with asyncio.timeout(LIST_SECONDS):
                models = await listed_models(self._endpoint("registry"), self._launch.settings.limits)
            served = ", ".join(models) if models else "no models yet (hyprstream clone URL gets one)"
        except (HyprstreamError, TimeoutError) as error:
            log.warning("the models could not be listed", error=str(error) or f"no answer within {LIST_SECONDS:g} s")
            served = "which models could not be listed yet (see: hyprstream list)"
        url = f"{self._url}/v1"
        text = f"hyprstream {__version__} answers at {url}: {served}"
        self._launch.tell("ready", text, {"url": url, "models": models, "version": __version__})

    async def _stop_gunicorn(self, gunicorn: Process, ended: asyncio.Task[int]) -> None:
        """Let it finish its answers; a second signal ends them at once."""
        if not ended.done():
            gunicorn.send_signal(signal.SIGTERM)
            hurried = asyncio.create_task(self._signals.get())
            telling = asyncio.create_task(self._tell_what_is_waited_for())
            patience = DRAIN_SECONDS + 2 * LEAVE_SECONDS
            await asyncio.wait({ended, hurried}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            hurried.cancel()
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
        if not ended.done():
            gunicorn.send_signal(signal.SIGQUIT)
            await asyncio.wait({ended}, timeout=LEAVE_SECONDS)
        if not ended.done():
            os.killpg(gunicorn.pid, signal.SIGKILL)
            await ended

    async def _tell_what_is_waited_for(self) -> None:
        count = await open_answers(self._endpoint("inference"), self._launch.settings.limits)
        if count:
            text = (
                f"finishing {count} answer{'' if count == 1 else 's'} (up to {DRAIN_SECONDS} s); "
                "press ctrl-C again to stop now"
            )
            self._launch.tell("stopping", text, {"answers": count, "seconds": DRAIN_SECONDS})
