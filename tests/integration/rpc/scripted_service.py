"""An inference service whose answers are scripted by the request: ``model`` says what to do."""

import asyncio
import os
import time

from hyprstream_core.errors import ContextLengthExceeded, InternalError
from hyprstream_core.interfaces.inference import EngineStatus, TokenChunk
from hyprstream_core.rpc.calls import current_call
from hyprstream_core.rpc.contracts import INFERENCE


class Scripted:
    """``running`` counts open generators, ``forward_passes`` those ever opened, ``generated_tokens`` all chunks."""

    contract = INFERENCE

    def __init__(self):
        self.open = self.opened = self.chunks = 0
        self.calls = []

    @classmethod
    def create(cls, config):
        if config.get("create_fails"):
            raise ValueError("no such thing")
        return cls()

    async def start(self):
        pass

    async def stop(self):
        pass

    async def generate(self, request):
        self.open, self.opened = self.open + 1, self.opened + 1
        self.calls.append(current_call())
        try:
            async for chunk in self._script(request):
                self.chunks += 1
                yield chunk
        finally:
            self.open -= 1

    async def _script(self, request):
        count = request.params.max_tokens
        if request.model == "refuse":
            raise ContextLengthExceeded("got 9, expected 8", remedy="shorten", param="prompt", limit=8)
        if request.model == "crash":
            yield TokenChunk((1,))
            raise RuntimeError("internal secret 0xdeadbeef")
        if request.model == "defect":
            raise InternalError("a block is wrong")
        if request.model == "hang":
            await asyncio.Event().wait()
        if request.model == "type":
            yield "text"
        if request.model == "exit":
            yield TokenChunk((1,))
            os._exit(3)
        if request.model == "block":
            time.sleep(count / 1000)
        for i in range(count):
            if request.model == "slow":
                await asyncio.sleep(0.002)
            elif request.model == "turns":
                await asyncio.sleep(0)
            yield TokenChunk((i,), "length" if i == count - 1 else None)

    async def status(self):
        return EngineStatus(True, self.open, 0, self.opened, self.chunks, 0, 0, 0, 0, device=str(os.getpid()))
