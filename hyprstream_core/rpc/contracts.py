"""What services offer: each method's name, request and response, in one place for client and server.

A service is a plain object that implements the Protocol of :mod:`hyprstream_core.interfaces.inference`
(or a third party's own) and has a ``contract``::

    class RegistryService:
        contract = REGISTRY

        async def models(self) -> list[ModelInfo]: ...

On the wire each method takes one record and returns one (or a stream of them). ``Method.invoke`` turns
the record into the Protocol's arguments; without it the method is called with the record itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from hyprstream_core.errors import InternalError
from hyprstream_core.interfaces.inference import (
    Description,
    EngineStatus,
    GenerateRequest,
    Inference,
    ModelInfo,
    Registry,
    TokenChunk,
)

Req = TypeVar("Req")
Res = TypeVar("Res")
SCHEMAS = Path(__file__).parent / "schema"


@dataclass(frozen=True)
class Empty:
    """A request or response that says nothing."""


@dataclass(frozen=True)
class RefRequest:
    """Names a model: ``name``, ``name:branch``, ``name:tag`` or ``name:commit``."""

    ref: str


@dataclass(frozen=True)
class ModelList:
    """All models, in the registry's order."""

    models: tuple[ModelInfo, ...] = ()


@dataclass(frozen=True)
class Method(Generic[Req, Res]):
    """One remote method.

    ``request`` and ``response`` are dataclasses; ``schema`` is the Cap'n Proto file that holds a struct of the
    same name for each. With ``streaming`` the method returns an async iterator of ``response``.
    ``invoke(service, request)`` makes the call; None is ``getattr(service, name)(request)``.
    """

    service: str
    name: str
    request: type[Req]
    response: type[Res]
    schema: Path
    streaming: bool = False
    invoke: Callable[[Any, Req], Any] | None = None

    def call(self, service: object, request: Req) -> Any:
        """Start the call: an awaitable, or for a streaming method an async iterator."""
        return self.invoke(service, request) if self.invoke else getattr(service, self.name)(request)


@dataclass(frozen=True)
class Contract:
    """A service's name and methods."""

    service: str
    methods: tuple[Method[Any, Any], ...]

    def __post_init__(self) -> None:
        names = [m.name for m in self.methods]
        if len(set(names)) != len(names) or any(m.service != self.service for m in self.methods):
            raise InternalError(f"contract {self.service!r}: method names must be unique and name this service")


@runtime_checkable
class Served(Protocol):
    """An object that a server can host."""

    @property
    def contract(self) -> Contract:
        """Which methods it has."""


async def _ready(service: Registry, _: Empty) -> Empty:
    await service.ready()
    return Empty()


async def _models(service: Registry, _: Empty) -> ModelList:
    return ModelList(tuple(await service.models()))


async def _model(service: Registry, request: RefRequest) -> ModelInfo:
    return await service.model(request.ref)


async def _describe(service: Registry, request: RefRequest) -> Description:
    return await service.describe(request.ref)


async def _status(service: Inference, _: Empty) -> EngineStatus:
    return await service.status()


_REGISTRY, _INFERENCE = SCHEMAS / "registry.capnp", SCHEMAS / "inference.capnp"
READY = Method("registry", "ready", Empty, Empty, _REGISTRY, invoke=_ready)
MODELS = Method("registry", "models", Empty, ModelList, _REGISTRY, invoke=_models)
MODEL = Method("registry", "model", RefRequest, ModelInfo, _REGISTRY, invoke=_model)
DESCRIBE = Method("registry", "describe", RefRequest, Description, _REGISTRY, invoke=_describe)
GENERATE = Method("inference", "generate", GenerateRequest, TokenChunk, _INFERENCE, streaming=True)
STATUS = Method("inference", "status", Empty, EngineStatus, _INFERENCE, invoke=_status)

REGISTRY = Contract("registry", (READY, MODELS, MODEL, DESCRIBE))
"""The methods of :class:`~hyprstream_core.interfaces.inference.Registry`."""

INFERENCE = Contract("inference", (GENERATE, STATUS))
"""The methods of :class:`~hyprstream_core.interfaces.inference.Inference`."""
