"""``python -m hyprstream_core.cli`` is ``hyprstream``."""

from hyprstream_core.cli.entry import main

main()
