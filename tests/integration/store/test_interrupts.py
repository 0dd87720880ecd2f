"""Ctrl-C at any moment of a clone: an interrupt, whatever else fails while it is unwound, and nothing is left."""

import gc
import os
import random
import sys

import pytest


@pytest.fixture
def repo(make_repo):
    """Packed, with a large and many small blobs."""
    made = make_repo("packed")
    for number in range(5):
        made.write(f"file{number}", os.urandom(3000))
    made.write("big", b"abc" * 50_000)
    made.commit()
    made.run("repack", "-adq")
    return made


def clone(store, repo, phase, stop):
    """Clone, and be interrupted at the ``stop``-th call or return once ``phase`` has begun; how many there were."""
    count = begun = 0

    def strike(_frame, _event, _arg):
        nonlocal count
        count += 1
        if count == stop:
            sys.setprofile(None)
            raise KeyboardInterrupt

    def progress(name, _done, _total):
        nonlocal begun
        if name == phase and not begun:
            begun = 1
            sys.setprofile(strike)

    before = sys.getprofile()
    try:
        store.clone(str(repo.path), name="m", progress=progress, publishing=lambda: sys.setprofile(None))
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # interrupts in the library's __del__
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("phase", ["git", "index", "check", "checkout"])
def test_an_interrupt_is_an_interrupt_and_leaves_nothing(store, repo, referee, phase):
    store.clone(str(repo.path), name="warm")
    total = clone(store, repo, phase, 0)
    store.remove("m")
    for stop in random.sample(range(1, total), 12):
        try:
            clone(store, repo, phase, stop)
        except KeyboardInterrupt:
            assert [m.name for m in store.registered()] == ["warm"]
        else:  # it struck where Python swallows exceptions, in a __del__
            store.remove("m")
    gc.collect()  # what the library had open is complained of here, not in another test
    store.clone(str(repo.path), name="m")
    referee(store)
