"""The error tree. Everything hyprstream raises on purpose is one of these.

    HyprstreamError
    ├── ConfigError                a setting is unknown or has a bad value
    ├── PluginError                a plugin cannot be used
    │   ├── PluginConflict         two distributions claim one name
    │   └── PluginMissing          nothing installed provides what is needed
    ├── RefError                   a model reference is malformed, unknown or ambiguous
    ├── ModelNotFound              no such model, branch, tag or commit
    ├── StoreError                 the model store refuses or cannot do something
    │   ├── UnsafeTree             a git tree that must not be written to disk
    │   ├── BadObject              content does not match its id, size or format
    │   ├── RemoteError            a remote failed, lied or timed out
    │   ├── Conflict               somebody else holds it, or it already exists
    │   └── DiskFull               not enough space
    ├── WeightsError               weight files that lie, miss tensors or are unsafe
    ├── UnsupportedModel           an architecture, option or dtype nobody here implements
    ├── InvalidRequest             a request value is out of range or contradictory
    │   └── ContextLengthExceeded  prompt plus answer do not fit
    ├── TemplateError              a chat template failed, or broke its limits
    ├── Overloaded                 the queue is full; try again later
    ├── Unavailable                a service is not (yet) there
    │   └── DeadlineExceeded       an answer did not come in time
    ├── Cancelled                  the caller went away
    └── InternalError              a defect of ours

Each error has a stable dotted ``code`` (for programs), a message that says what was got and what
was expected (for people) and, where there is something to do, a ``remedy``. Errors cross process
boundaries as plain records: ``to_record`` and ``from_record``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar


class HyprstreamError(Exception):
    """Base of all deliberate errors.

    ``code`` may refine the class's own code (``repo.unsafe_path`` on :class:`UnsafeTree`), ``param``
    names the offending input (a JSON path, a flag, a key), ``details`` carries machine-readable facts
    such as the ids on both sides of a conflict.
    """

    code: ClassVar[str] = "error"

    def __init__(
        self,
        message: str,
        *,
        remedy: str | None = None,
        code: str | None = None,
        param: str | None = None,
        **details: Any,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.param = param
        self.details = details
        self._code = code

    @property
    def error_code(self) -> str:
        """The most specific code: the instance's when given, else the class's."""
        return self._code or self.code

    def __str__(self) -> str:
        return f"{self.message} ({self.remedy})" if self.remedy else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return from_record, (self.to_record(),)

    def to_record(self) -> dict[str, Any]:
        """This error as plain data: ``{type, code, message, remedy, param, details}``."""
        return {
            "type": type(self).__name__,
            "code": self.error_code,
            "message": self.message,
            "remedy": self.remedy,
            "param": self.param,
            "details": self.details,
        }


class ConfigError(HyprstreamError):
    code = "config.invalid"


class PluginError(HyprstreamError):
    code = "plugin.failed"


class PluginConflict(PluginError):
    code = "plugin.conflict"


class PluginMissing(PluginError):
    code = "plugin.missing"


class RefError(HyprstreamError):
    code = "ref.invalid"


class ModelNotFound(HyprstreamError):
    code = "model_not_found"


class StoreError(HyprstreamError):
    code = "repo.failed"


class UnsafeTree(StoreError):
    code = "repo.bad_tree"


class BadObject(StoreError):
    code = "repo.bad_object"


class RemoteError(StoreError):
    code = "remote.failed"


class Conflict(StoreError):
    code = "conflict"


class DiskFull(StoreError):
    code = "disk.full"


class WeightsError(HyprstreamError):
    code = "weights.invalid"


class UnsupportedModel(HyprstreamError):
    code = "model.unsupported"


class InvalidRequest(HyprstreamError):
    code = "invalid_value"


class ContextLengthExceeded(InvalidRequest):
    code = "context_length_exceeded"


class TemplateError(HyprstreamError):
    code = "template.failed"


class Overloaded(HyprstreamError):
    code = "overloaded"


class Unavailable(HyprstreamError):
    code = "unavailable"


class DeadlineExceeded(Unavailable):
    code = "deadline_exceeded"


class Cancelled(HyprstreamError):
    code = "cancelled"


class InternalError(HyprstreamError):
    code = "internal_error"


def _tree(root: type[HyprstreamError]) -> Iterator[type[HyprstreamError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


def from_record(record: Mapping[str, Any]) -> HyprstreamError:
    """Rebuild an error made by :meth:`HyprstreamError.to_record`.

    The type is looked up in this module's tree only: a record from the wire can never name another
    class. An unknown type becomes :class:`InternalError` with the record's code and message.
    """
    types = {t.__name__: t for t in _tree(HyprstreamError) if t.__module__ == __name__}
    error = types.get(str(record.get("type")), InternalError)(
        str(record.get("message") or "unknown error"),
        remedy=record.get("remedy"),
        code=record.get("code"),
        param=record.get("param"),
    )
    error.details = dict(record.get("details") or {})
    return error
