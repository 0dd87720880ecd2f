"""Keeping ctrl-C away from what must be finished once it has begun."""

from __future__ import annotations

import signal
import threading
from functools import partial

import click


def ignore_interrupts() -> None:
    """From now on, until the command line has finished, ctrl-C does nothing.

    An interrupt that came before is raised here. Without effect outside the main thread, which gets no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    before = signal.signal(signal.SIGINT, _ignore)
    restored = signal.SIG_DFL if before is None else before
    click.get_current_context().find_root().call_on_close(partial(signal.signal, signal.SIGINT, restored))


def _ignore(_signal: int, _frame: object) -> None:
    """What is being done takes only a moment more."""
