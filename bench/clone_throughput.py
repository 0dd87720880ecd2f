"""How fast a large LFS file is cloned over loopback HTTP, against stock git-lfs and against curl with sha256sum.

``--size`` is the file's size in MB, ``--rounds`` how often each is run; medians are printed. git-lfs acknowledges
before anything is synced to disk, hyprstream after, so that the time of a bare fsync of such a file is shown, too.
"""

import argparse
import hashlib
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BLOCK = 1 << 20
MEASURED = """
import os, re, sys
from pathlib import Path
from hyprstream_core.cli.main import run
code = run(sys.argv[1:], os.environ)
print("peak", re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
sys.exit(code)
"""


def put_repository(folder, name, num_bytes):
    """A git repository with one LFS file of random bytes; its sha256."""
    repo = folder / name
    subprocess.run(["git", "init", "-q", "-b", "main", str(repo)], check=True)
    block, digest, part = os.urandom(BLOCK), hashlib.sha256(), repo / ".git/part"
    with part.open("wb") as file:
        for start in range(0, num_bytes, BLOCK):
            piece = (start.to_bytes(8, "big") + block[8:])[: num_bytes - start]
            file.write(piece)
            digest.update(piece)
    oid = digest.hexdigest()
    place = repo / ".git/lfs/objects" / oid[:2] / oid[2:4] / oid
    place.parent.mkdir(parents=True)
    part.rename(place)
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {num_bytes}\n"
    (repo / "model.safetensors").write_text(pointer)
    (repo / ".gitattributes").write_text("*.safetensors filter=lfs diff=lfs merge=lfs -text\n")
    git = ["git", "-C", str(repo), "-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    plain = ["-c", "filter.lfs.clean=cat", "-c", "filter.lfs.process=", "-c", "filter.lfs.required=false"]
    subprocess.run([*git, *plain, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "model"], check=True)
    return oid


def environment(folder):
    """No settings of whoever runs this; git-lfs's filters on."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder / "home"),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    env |= {"HYPRSTREAM_MODELS_DIR": str(folder / "models")}
    (folder / "home").mkdir()
    subprocess.run(["git", "lfs", "install", "--skip-repo"], env=env, check=True, stdout=subprocess.DEVNULL)
    return env


def seconds(command, env, *made):
    """Wall time of a command, which makes these folders; what it printed."""
    for path in made:
        shutil.rmtree(path, ignore_errors=True)
    os.sync()
    start = time.perf_counter()
    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    return time.perf_counter() - start, done.stdout


def synced(path):
    """Seconds that writing a copy of ``path`` to disk takes once it is in memory."""
    copy = path.with_name("copy")
    shutil.copyfile(path, copy)
    start = time.perf_counter()
    with copy.open("rb+") as file:
        os.fsync(file.fileno())
    took = time.perf_counter() - start
    copy.unlink()
    return took


def main():
    """Print medians, rates, and the ratios to both peers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1000, help="MB of the large file")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hyprstream-bench-") as name:
        folder = Path(name)
        (folder / "served").mkdir()
        oid = put_repository(folder / "served", "big", given.size * 1_000_000)
        put_repository(folder / "served", "tiny", 1000)
        env = environment(folder)
        serve = [sys.executable, "-m", "hyprstream_core.testing.git_server", str(folder / "served")]
        with subprocess.Popen(serve, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            try:
                measure(folder, server.stdout.readline().strip(), oid, env, given)
            finally:
                server.stdin.close()


def measure(folder, url, oid, env, given):
    """Run all of them in turn, so that a change of the machine's load meets all."""
    ours = [sys.executable, "-c", MEASURED, "clone"]
    theirs, file = folder / "theirs", folder / "file"
    by_hand = f"curl -sf -o {file} {url}/large/{oid} && sha256sum {file}"
    took, peaks = {"hyprstream": [], "git-lfs": [], "curl + sha256sum": [], "fsync": []}, []
    tiny = seconds([*ours, f"{url}/tiny/.git", "--name", "tiny"], env)[1]
    for _ in range(given.rounds):
        spent, text = seconds([*ours, f"{url}/big/.git", "--name", "big"], env, folder / "models")
        took["hyprstream"].append(spent)
        peaks.append(peak(text))
        took["git-lfs"].append(seconds(["git", "clone", "-q", f"{url}/big/.git", str(theirs)], env, theirs)[0])
        took["curl + sha256sum"].append(seconds(["sh", "-c", by_hand], env)[0])
        took["fsync"].append(synced(file))
    medians = {what: statistics.median(times) for what, times in took.items()}
    for what, median in medians.items():
        rate, best, worst = given.size / median, min(took[what]), max(took[what])
        print(f"{what:18}{median:7.2f} s  {rate:7.0f} MB/s  ({best:.2f} to {worst:.2f} s)")
    for peer in ("git-lfs", "curl + sha256sum"):
        print(f"time as a multiple of {peer:18}{medians['hyprstream'] / medians[peer]:6.2f}")
    print(f"peak memory {statistics.median(peaks) / 1000:.0f} MB, for a tiny repository {peak(tiny) / 1000:.0f} MB")


def peak(text):
    """Kilobytes."""
    return int(re.search(r"^peak (\d+)$", text, re.M)[1])


if __name__ == "__main__":
    main()
