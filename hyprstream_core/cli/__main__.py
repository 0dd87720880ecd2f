"""``python -m hyprstream_core.cli`` is ``hyprstream``."""

from hyprstream_core.cli.main import main

main()
