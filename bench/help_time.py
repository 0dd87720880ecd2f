"""How long ``hyprstream --help`` takes, against the interpreter's own start in the same run."""

import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 20
LIMIT = 0.3


def seconds(command):
    """Median wall time of a command over ROUNDS runs."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main():
    """Print both medians and their ratio."""
    program = Path(sys.executable).with_name("hyprstream")
    hyprstream = str(program) if program.exists() else shutil.which("hyprstream")
    if hyprstream is None:
        sys.exit("hyprstream is not installed: make install")
    subprocess.run([hyprstream, "--help"], check=True, stdout=subprocess.DEVNULL)  # byte code is compiled now
    ours, bare = seconds([hyprstream, "--help"]), seconds([sys.executable, "-c", "pass"])
    print(f"hyprstream --help  {ours * 1000:6.1f} ms  (target: under {LIMIT * 1000:.0f} ms)")
    print(f"python -c pass     {bare * 1000:6.1f} ms")
    print(f"ratio              {ours / bare:6.1f}")


if __name__ == "__main__":
    main()
