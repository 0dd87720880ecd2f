"""``hyprstream inspect``: what one reference holds, read from its files without loading a weight."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hyprstream_core.cli.context import Context
from hyprstream_core.cli.facts import model_facts
from hyprstream_core.cli.options import json_option
from hyprstream_core.cli.output import emit_fields, emit_json
from hyprstream_core.cli.progress import transfer_progress
from hyprstream_core.units import size

if TYPE_CHECKING:
    from hyprstream_core.repo.records import Resolved

SHORTENED = 12
"""Files, branches and tags that are listed for people; ``--json`` has them all."""


@click.command()
@click.argument("reference", metavar="MODEL[:REF]")
@json_option
@click.pass_obj
def inspect(context: Context, reference: str, as_json: bool) -> None:
    """Describe a model at a branch, tag or commit: architecture, size, context, worktrees, files.

    REF is a branch, a tag, or a full or short commit; without it the model's default branch.

    \b
    Examples:
      hyprstream inspect chat
      hyprstream inspect qwen3-0.6b:v1.0 --json
      hyprstream inspect qwen3-0.6b:1a2b3c4d
    """
    from hyprstream_core.services.store import open_store

    store = open_store(context.settings, context.plugins)
    resolved = store.resolve(reference)
    with transfer_progress(context.env, quiet=as_json) as progress:
        directory = store.snapshot(resolved, progress)
    facts = {**_identity(resolved), **model_facts(context, directory), "files": _files(directory)}
    if as_json:
        emit_json(facts)
    else:
        emit_fields(_for_people(facts))


def _identity(resolved: Resolved) -> dict[str, Any]:
    model = resolved.model
    return {
        "name": model.name,
        "ref": resolved.ref,
        "kind": resolved.kind,
        "commit": resolved.commit,
        "uuid": model.uuid,
        "url": model.url,
        "default_branch": model.default_branch,
        "branches": model.branches(),
        "worktrees": {tree.branch: str(tree.path) for tree in model.worktrees()},
        "tags": model.tags(),
    }


def _files(directory: Path) -> list[dict[str, Any]]:
    found = []
    for folder, _, names in os.walk(directory):
        paths = [Path(folder, name) for name in names]
        found += [{"path": str(p.relative_to(directory)), "size_bytes": p.lstat().st_size} for p in paths]
    return sorted(found, key=lambda f: str(f["path"]))


def _for_people(facts: dict[str, Any]) -> dict[str, object]:
    tensors = facts["tensors"]
    return {
        "model": facts["name"],
        "reference": _reference(facts),
        "commit": facts["commit"],
        "uuid": facts["uuid"],
        "url": facts["url"],
        "architecture": ", ".join(facts["architectures"] or ()),
        "family": facts["family"],
        "parameters": f"{facts['parameters']:,}" if facts["parameters"] else None,
        "tensors": tensors and f"{tensors['count']} in {size(tensors['bytes'])}, {', '.join(tensors['dtypes'])}",
        "dtype": facts["dtype"],
        "context": facts["context"],
        "vocabulary": facts["vocab_size"],
        "worktrees": _shortened([f"{branch} ({path})" for branch, path in facts["worktrees"].items()]),
        "branches": _shortened([_mark(n, c) for n, c in sorted(facts["branches"].items())]),
        "tags": _shortened([_mark(n, c) for n, c in sorted(facts["tags"].items())]),
        "files": _shortened([f"{f['path']} ({size(f['size_bytes'])})" for f in facts["files"]]),
        "problem": facts["problem"],
    }


def _reference(facts: Mapping[str, Any]) -> str:
    """The reference as people name it: ``main (branch)``, ``x (branch, not checked out)``, ``v1 (tag)``."""
    from hyprstream_core.repo.git.reference_store import bare_name

    short = bare_name(facts["ref"]) if facts["ref"] else facts["commit"][:12]
    if facts["kind"] not in ("branch", "remote"):
        return f"{short} ({facts['kind']})"
    return f"{short} (branch)" if short in facts["worktrees"] else f"{short} (branch, not checked out)"


def _mark(name: str, commit: str) -> str:
    return f"{name} ({commit[:12]})"


def _shortened(texts: list[str]) -> str:
    rest = len(texts) - SHORTENED
    return ", ".join(texts[:SHORTENED]) + (f", and {rest} more" if rest > 0 else "")
