"""Where the ``hyprstream`` program starts: before anything slow is imported.

Imports and plugins take a tenth of a second and more, in which ctrl-C would strike anywhere: in the middle of a
class, inside a plugin. Until a verb runs there is nothing to clean up, so that it simply ends the program.
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False  # as typing's, whose import takes longer than all the rest before the handler is set
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

INTERRUPTED = 130
"""Exit code after ctrl-C."""


def main() -> None:
    """Entry point of the ``hyprstream`` program."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, as under nohup
        signal.signal(signal.SIGINT, _leave)
    _open_streams()

    from hyprstream_core.cli.main import main as command_line

    command_line()


def interruptible() -> None:
    """From here on ctrl-C is a KeyboardInterrupt, as usual: there may be something to clean up."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    os._exit(INTERRUPTED)


def _open_streams() -> None:
    """Put the null device in place of standard streams that the caller has closed.

    Python has None for them then, and the next file that is opened would get their number: what is printed
    would end up in it.
    """
    from pathlib import Path

    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 - lives as long as the process
