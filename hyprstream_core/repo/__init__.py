"""The model store: models are git repositories, and this package knows nothing but their bytes.

How it is used (``hyprstream_core.services.store.open_store`` composes a store from settings and plugins)::

    from hyprstream_core.services.store import open_store

    store = open_store(settings, plugins)
    model = store.clone("https://host/org/Qwen3-0.6B", progress=lambda phase, done, total: None)
    model.name, model.uuid, model.default_branch        # "qwen3-0.6b", "0b5e…", "main"

    for worktree in store.models():                     # one entry per branch worktree
        print(worktree.id, worktree.oid, worktree.path)  # "qwen3-0.6b:main", 40 hex digits, a folder

    resolved = store.resolve("qwen3-0.6b:v1.0")         # branch, tag, full or short commit, or just the name
    folder = store.snapshot(resolved)                   # read-only files of exactly resolved.commit
    store.fetch("qwen3-0.6b")                           # what changed on the remote; no branch or file here does
    store.pull("qwen3-0.6b").new                        # the default branch and its files, moved forward
    info = store.worktree_info("qwen3-0.6b", "main")    # driver, bytes and bytes shared, measured
    store.add_worktree("qwen3-0.6b", "tuned", start="v1.0")   # a new branch, checked out
    store.branches("qwen3-0.6b"), store.tags("qwen3-0.6b"), store.status("qwen3-0.6b")
    newest = next(store.log("qwen3-0.6b:tuned"))              # read as it is asked for
    store.removal("qwen3-0.6b")                               # what the next line would delete and free
    store.remove("qwen3-0.6b")

Everything raises errors of ``hyprstream_core.errors``: ``RefError`` (syntax, ambiguity), ``ModelNotFound``,
``Conflict`` (name taken, lock held, uncommitted changes, diverged branches), ``UnsafeTree``, ``BadObject``,
``RemoteError``, ``DiskFull``.

Where things are, bottom up:

    refs, records, layout       names, what the store answers with, paths
    disk/                       durable and confined writing, locks
    git/                        one repository: objects, index, references, configuration, history, beside stock git
    journal, staging            changes that are carried out whoever dies on the way; unfinished work
    parts, workspace            what every operation is given
    remotes/                    URLs, the hub, credentials, receiving, verifying what was received
    files/                      large objects, check-out, worktrees, views, status, sizes
    resolve, branches, tags, rename, identity, removal, registry, clone, fetching, pulling
    models, store               the face of it all
"""

from __future__ import annotations
