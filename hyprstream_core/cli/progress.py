"""Progress of long transfers: bars on a terminal, a line now and then elsewhere, nothing when asked."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from hyprstream_core.cli.output import emit_note, printable
from hyprstream_core.interfaces.storage import Progress
from hyprstream_core.units import size

PLAIN_INTERVAL = 5.0
"""Seconds between two lines of one phase, where there is no terminal."""

PLAIN_DELAY = 1.0
"""Seconds that a phase must last before anything of it is written, where there is no terminal."""

COUNTED = frozenset(("check", "checkout"))
"""Phases that count files; the others count bytes."""

_BAR = 20
"""Columns of a bar; a whole line of it fits into 80."""


@contextmanager
def transfer_progress(env: Mapping[str, str], *, quiet: bool) -> Iterator[Progress]:
    """What to hand to a function that reports ``(phase, done_bytes, total_bytes or None)``; writes to stderr."""
    if quiet:
        yield _silence
        return
    large = LargeFiles()
    try:
        if sys.stderr.isatty() and env.get("TERM") != "dumb":
            with _bars(env) as (progress, note):
                yield large.told_to(note, progress)
        else:
            plain = PlainLines(emit_note, time.monotonic)
            yield large.told_to(emit_note, plain)
            plain.end()
    except KeyboardInterrupt:
        if large.kept:
            emit_note(f"interrupted: {size(large.kept)} of large files are kept; the same command continues there")
        raise


def _silence(_phase: str, _done: int, _total: int | None) -> None:
    """Progress that nobody wants to see."""


class LargeFiles:
    """What is announced of large files before they come, and how much of them is there."""

    def __init__(self) -> None:
        self.kept = 0
        self._is_resumed = False

    def told_to(self, note: Callable[[str], None], progress: Progress) -> Progress:
        """``progress`` with lines before it, which go to ``note``."""

        def told(phase: str, done: int, total: int | None) -> None:
            if phase == "fetch":
                note(f"fetching {done} large file{'' if done == 1 else 's'}, {size(total or 0)}")
                return
            if phase == "resume" and not self._is_resumed:
                self._is_resumed, self.kept = True, total or 0
                note(f"continuing after {size(total or 0)} that are already here")
            if phase == "content":
                self.kept = done
            progress(phase, done, total)

        return told


class PlainLines:
    """A line every few seconds for each phase that lasts, and one for its end; nothing for what is soon done."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._write, self._clock = write, clock
        self._phase: str | None = None
        self._began = self._written = 0.0
        self._now = self._shown = ""

    def __call__(self, phase: str, done: int, total: int | None) -> None:
        """See :data:`~hyprstream_core.interfaces.storage.Progress`."""
        now = self._clock()
        if phase != self._phase:
            self.end()
            self._phase, self._began, self._written = phase, now, now - PLAIN_INTERVAL
        self._now = f"{phase}: {_amount(phase, done, total)}"
        if now - self._began < PLAIN_DELAY:
            return
        if now - self._written >= PLAIN_INTERVAL or (total is not None and done >= total):
            self._show()
            self._written = now

    def end(self) -> None:
        """The last phase is over: write its end, when something of it was written."""
        if self._shown:
            self._show()
        self._now = self._shown = ""

    def _show(self) -> None:
        if self._now != self._shown:
            self._write(self._now)
        self._shown = self._now


def _amount(phase: str, done: int, total: int | None) -> str:
    show, unit = (str, " files") if phase in COUNTED else (size, "")
    return (f"{show(done)} of {show(total)}" if total is not None else show(done)) + unit


@contextmanager
def _bars(env: Mapping[str, str]) -> Iterator[tuple[Progress, Callable[[str], None]]]:
    """Progress bars, and how to write a line above them."""
    from rich.console import Console
    from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    def text(field: str) -> TextColumn:
        return TextColumn(f"{{task.fields[{field}]}}", markup=False)

    columns = (text("phase"), BarColumn(_BAR), text("amount"), text("rate"), TimeRemainingColumn())
    console = Console(stderr=True, no_color=bool(env.get("NO_COLOR")))
    tasks: dict[str, TaskID] = {}
    with Bars(*columns, console=console) as bars:

        def progress(phase: str, done: int, total: int | None) -> None:
            if phase not in tasks:
                for earlier in bars.tasks:  # of those whose end nobody knew before, this is the end
                    if earlier.total is None:
                        bars.update(earlier.id, total=earlier.completed)
                tasks[phase] = bars.add_task("", total=total, phase=printable(phase), amount="", rate="")
            task = bars.tasks[bars.task_ids.index(tasks[phase])]
            rate = f"{size(task.speed)}/s" if task.speed and phase not in COUNTED else ""
            bars.update(tasks[phase], completed=done, total=total, amount=_amount(phase, done, total), rate=rate)

        yield progress, partial(console.print, markup=False, highlight=False)
