"""How long ``hyprstream list`` measures a store with many worktrees, against one ``stat`` of each of their files."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hyprstream_core.config import CloneSettings, Settings
from hyprstream_core.plugins import Plugins, installed
from hyprstream_core.services.store import open_store

WORKTREES, FILES = 100, 20


def main():
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "model")
        source.mkdir()
        for n in range(FILES):
            (source / f"{n}.json").write_text(f"{n}\n" * 100)
        identity = ["-c", "user.name=b", "-c", "user.email=b@localhost"]
        for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-qm", "x"]):
            subprocess.run(["git", *identity, *command], cwd=source, check=True)
        settings = Settings(models_dir=Path(folder, "models"), clone=CloneSettings(worktree_driver="hardlink"))
        store = open_store(settings, Plugins([c for c in installed() if c.is_builtin]))
        store.clone(str(source))
        for n in range(WORKTREES - 1):
            store.add_worktree("model", f"b{n}", start="main")
        began = time.perf_counter()
        entries = store.measured()
        listed = time.perf_counter() - began
        began = time.perf_counter()
        found = [Path(top, f).lstat() for e in entries for top, _, names in os.walk(e.worktree.path) for f in names]
        walked = time.perf_counter() - began
        print(
            f"list of {len(entries)} worktrees, {len(found)} files: {listed:.3f} s, "
            f"{listed / walked:.1f} times a walk that only looks at the files ({walked:.3f} s)"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
