"""Core's own verbs, as records of ``hyprstream_commands``."""

from __future__ import annotations

from hyprstream_core.interfaces.command import Command

COMMANDS = (
    Command("clone", help="Fetch a model from a git remote.", load="hyprstream_core.cli.clone:clone"),
    Command("config", help="Show the configuration.", load="hyprstream_core.cli.config:config"),
    Command("fetch", help="Learn what a model's remote has now.", load="hyprstream_core.cli.fetch:fetch"),
    Command("infer", help="Answer one prompt.", load="hyprstream_core.cli.infer:infer"),
    Command("inspect", help="Describe one model reference.", load="hyprstream_core.cli.inspect:inspect"),
    Command("list", help="List models, one line per branch.", load="hyprstream_core.cli.listing:listing"),
    Command("plugins", help="List the installed plugins.", load="hyprstream_core.cli.plugins:plugins"),
    Command("pull", help="Bring a branch up to date with its remote.", load="hyprstream_core.cli.pull:pull"),
    Command("remove", help="Remove a model, or one branch of it.", load="hyprstream_core.cli.remove:remove"),
    Command("version", help="Print versions.", load="hyprstream_core.cli.version:version"),
    Command("worktree", help="Look into worktrees.", load="hyprstream_core.cli.worktree:worktree"),
)
