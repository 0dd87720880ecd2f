"""Core's own verbs, as records of ``hyprstream_commands``."""

from __future__ import annotations

from hyprstream_core.interfaces.command import HEADINGS, Command

MODELS, HISTORY, ASK, SET_UP = HEADINGS
_VERBS = "hyprstream_core.cli"

COMMANDS = (
    Command("branch", help="List, make, delete, rename branches.", load=f"{_VERBS}.branch:branch", group=HISTORY),
    Command("clone", help="Fetch a model from a git remote.", load=f"{_VERBS}.clone:clone", group=MODELS),
    Command("config", help="Show the configuration.", load=f"{_VERBS}.config:config", group=SET_UP),
    Command("fetch", help="Learn what a model's remote has now.", load=f"{_VERBS}.fetch:fetch", group=MODELS),
    Command("infer", help="Answer one prompt.", load=f"{_VERBS}.infer:infer", group=ASK),
    Command("inspect", help="Describe one model reference.", load=f"{_VERBS}.inspect:inspect", group=MODELS),
    Command("list", help="List models, one line per branch.", load=f"{_VERBS}.listing:listing", group=MODELS),
    Command("log", help="Show the history of a reference.", load=f"{_VERBS}.log:log", group=HISTORY),
    Command("plugins", help="List the installed plugins.", load=f"{_VERBS}.plugins:plugins", group=SET_UP),
    Command("pull", help="Bring a branch up to date.", load=f"{_VERBS}.pull:pull", group=MODELS),
    Command("remove", help="Remove a model, or one branch of it.", load=f"{_VERBS}.remove:remove", group=MODELS),
    Command("status", help="Show what is not committed.", load=f"{_VERBS}.status:status", group=HISTORY),
    Command("tag", help="List, make, delete tags.", load=f"{_VERBS}.tag:tag", group=HISTORY),
    Command("version", help="Print versions.", load=f"{_VERBS}.version:version", group=SET_UP),
    Command("worktree", help="Check branches out side by side.", load=f"{_VERBS}.worktree:worktree", group=HISTORY),
)
