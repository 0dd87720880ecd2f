"""Stop strings, found while text arrives.

The answer ends where a stop string is first complete; of several that are complete at the same
character the longest counts. So the result does not depend on how the text is cut into pieces. The
matched text is not given out, and only text that may yet become a match is held back.
"""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Watches one answer's text. Linear in its length for stop strings of bounded length."""

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._longest = max(map(len, self._stops), default=0)
        self._held = ""
        self.matched: str | None = None
        """The stop string that was found."""

    def feed(self, text: str, *, may_end: bool = True) -> str:
        """The text that can be given out. When ``matched`` is set, it is the last.

        Without ``may_end`` what is completed by ``text`` does not count; what begins in it may count later.
        """
        if not self._stops:
            return text
        if self.matched is not None or not text:
            return ""
        seen, text = len(self._held), self._held + text
        if may_end and (ends := [end for stop in self._stops if (end := _find(stop, text, seen))]):
            _, start, self.matched = min(ends)
            self._held = ""
            return text[:start]
        hold = self._held_length(text)
        self._held = text[len(text) - hold :]
        return text[: len(text) - hold]

    def finish(self) -> str:
        """The text has ended: what was held back is no match."""
        held, self._held = self._held, ""
        return held

    def _held_length(self, text: str) -> int:
        """Length of the longest end of ``text`` with which a stop string begins."""
        for length in range(min(self._longest - 1, len(text)), 0, -1):
            end = text[len(text) - length :]
            if any(stop.startswith(end) for stop in self._stops):
                return length
        return 0


def _find(stop: str, text: str, seen: int) -> tuple[int, int, str] | None:
    """Where ``stop`` first ends beyond the first ``seen`` characters: (end, start, stop). What was seen before is held
    because something begins there, and all that ended there has been judged."""
    start = text.find(stop, max(0, seen - len(stop) + 1))
    return (start + len(stop), start, stop) if start >= 0 else None
