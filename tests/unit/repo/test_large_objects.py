import hashlib
import os
import threading
import time
from contextlib import suppress

import pytest

from hyprstream_core.errors import BadObject
from hyprstream_core.interfaces.storage import Pointer
from hyprstream_core.repo.files.incomplete import MAX_AGE, UNNEEDED_AGE, drop_abandoned
from hyprstream_core.repo.files.large_objects import FileSink, has_content
from hyprstream_core.repo.layout import Layout

DATA = b"weights" * 100
GOOD = Pointer(hashlib.sha256(DATA).hexdigest(), len(DATA))


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path)


def sink(layout, pointer=GOOD, progress=lambda phase, done: None):
    return FileSink(layout, pointer, progress)


def put(layout, pointer, *chunks, progress=lambda phase, done: None):
    with sink(layout, pointer, progress) as file:
        for chunk in chunks:
            file.write(chunk)


def keep(layout, data):
    """Leave a part as a run that was killed does."""
    layout.incomplete.mkdir(mode=0o700, parents=True, exist_ok=True)
    (layout.incomplete / GOOD.oid).write_bytes(data)


def nothing_left(layout):
    return not [p for p in layout.root.rglob("*") if p.is_file()]


def test_right_content_is_published_read_only_in_git_lfs_layout(layout):
    told = []
    put(layout, GOOD, DATA[:300], DATA[300:], progress=lambda phase, done: told.append((phase, done)))
    path = layout.root / "lfs/objects" / GOOD.oid[:2] / GOOD.oid[2:4] / GOOD.oid
    assert path.read_bytes() == DATA
    assert path.stat().st_mode & 0o777 == 0o444
    assert told == [("content", 0), ("content", 300), ("content", 700)]
    assert has_content(layout, GOOD)
    assert list((layout.root / "lfs/incomplete").iterdir()) == []


@pytest.mark.parametrize("data", [b"", DATA[:-1], DATA + b"x", b"Weights" * 100, DATA * 2])
def test_wrong_content_is_refused_and_leaves_nothing(layout, data):
    with pytest.raises(BadObject) as caught:
        put(layout, GOOD, data)
    assert caught.value.error_code == "lfs.bad_object"
    assert nothing_left(layout)


def test_more_than_announced_stops_at_once(layout):
    told = []
    with pytest.raises(BadObject):
        put(layout, GOOD, DATA, b"x", b"y", progress=lambda phase, done: told.append(done))
    assert told == [0, 700]
    assert nothing_left(layout)


def test_content_that_is_there_stays_the_same_file(layout):
    put(layout, GOOD, DATA)
    before = layout.content(GOOD.oid).stat().st_ino
    put(layout, GOOD)
    assert layout.content(GOOD.oid).stat().st_ino == before
    assert list(layout.incomplete.iterdir()) == []


def test_a_pointer_that_lies_about_the_size_of_what_we_have_is_refused(layout):
    put(layout, GOOD, DATA)
    with pytest.raises(BadObject):
        has_content(layout, Pointer(GOOD.oid, 3))


def test_empty_content_is_content(layout):
    empty = Pointer(hashlib.sha256(b"").hexdigest(), 0)
    put(layout, empty)
    assert has_content(layout, empty)


def test_what_arrived_before_an_error_of_the_sender_is_kept_and_private(layout):
    with suppress(ValueError), sink(layout) as file:
        file.write(DATA[:300])
        raise ValueError("boom")
    part = layout.incomplete / GOOD.oid
    assert part.read_bytes() == DATA[:300]
    assert part.stat().st_mode & 0o777 == 0o600
    assert part.parent.stat().st_mode & 0o777 == 0o700
    assert not has_content(layout, GOOD)


def test_what_was_kept_is_read_again_and_continued(layout):
    keep(layout, DATA[:300])
    told = []
    with sink(layout, progress=lambda phase, done: told.append((phase, done))) as file:
        assert file.offset == 300
        file.write(DATA[300:])
    assert layout.content(GOOD.oid).read_bytes() == DATA
    assert told == [("resume", 300), ("content", 300), ("content", 700)]
    assert list(layout.incomplete.iterdir()) == []


def test_nothing_is_kept_of_an_object_of_which_nothing_has_come(layout):
    with pytest.raises(ValueError, match="boom"), sink(layout):
        raise ValueError("boom")
    assert nothing_left(layout)


def test_wrong_content_after_a_kept_part_deletes_both_and_says_so(layout):
    keep(layout, b"W" + DATA[1:300])
    with pytest.raises(BadObject) as caught, sink(layout) as file:
        file.write(DATA[300:])
    assert "earlier run" in caught.value.remedy
    assert nothing_left(layout)
    put(layout, GOOD, DATA)
    assert has_content(layout, GOOD)


@pytest.mark.parametrize("left", [DATA + b"x", b"x" * len(DATA)], ids=["too long", "whole and wrong"])
def test_a_kept_part_that_cannot_be_the_beginning_is_dropped_at_once(layout, left):
    keep(layout, left)
    with sink(layout) as file:
        assert file.offset == 0
        file.write(DATA)
    assert layout.content(GOOD.oid).read_bytes() == DATA


def test_a_part_that_is_whole_needs_no_more_bytes(layout):
    keep(layout, DATA)
    with sink(layout) as file:
        assert file.offset == len(DATA)
    assert layout.content(GOOD.oid).read_bytes() == DATA


def test_a_restart_forgets_what_was_kept(layout):
    keep(layout, DATA[:300])
    with sink(layout) as file:
        file.restart()
        assert file.offset == 0
        file.write(DATA)
    assert layout.content(GOOD.oid).read_bytes() == DATA


def test_of_two_who_fetch_one_object_the_second_waits_and_finds_it_there(layout):
    told, began = [], threading.Event()

    def watch(phase, done):
        told.append((phase, done))
        began.set()

    def second():
        with sink(layout, progress=watch) as file:
            told.append(("offset", file.offset))

    with sink(layout) as file:
        file.write(DATA[:300])
        thread = threading.Thread(target=second)
        thread.start()
        assert began.wait(10)
        file.write(DATA[300:])
    thread.join(10)
    assert set(told) == {("content", 300), ("content", 700), ("offset", 700)}
    assert list(layout.incomplete.iterdir()) == []


def test_the_second_continues_when_the_first_fails(layout):
    offsets = []

    def second():
        with sink(layout) as file:
            offsets.append(file.offset)
            file.write(DATA[file.offset :])

    thread = threading.Thread(target=second)
    with suppress(ValueError), sink(layout) as file:
        file.write(DATA[:300])
        thread.start()
        time.sleep(0.2)
        raise ValueError("boom")
    thread.join(10)
    assert offsets == [300]
    assert layout.content(GOOD.oid).read_bytes() == DATA


def test_an_object_with_two_names_that_a_kill_left_is_never_written_to(layout):
    put(layout, GOOD, DATA)
    published = layout.content(GOOD.oid).rename(layout.root / "published")
    os.link(published, layout.incomplete / GOOD.oid)
    with sink(layout) as file:
        assert file.offset == 0
        file.write(DATA[:100])
        assert published.read_bytes() == DATA
        file.write(DATA[100:])
    assert published.stat().st_nlink == 1


def test_an_object_that_a_kill_left_finished_but_unpublished_is_published(layout):
    put(layout, GOOD, DATA)
    layout.content(GOOD.oid).rename(layout.incomplete / GOOD.oid)
    with sink(layout) as file:
        assert file.offset == len(DATA)
    assert layout.content(GOOD.oid).stat().st_mode & 0o777 == 0o444


def test_parts_are_dropped_after_a_week_and_sooner_when_nobody_needs_them(layout):
    ages = {"fresh": 0, "yesterday": UNNEEDED_AGE + 9, "needed": UNNEEDED_AGE + 9, "old": MAX_AGE + 9}
    layout.incomplete.mkdir(parents=True)
    for name, age in ages.items():
        (layout.incomplete / name).write_bytes(b"1234")
        os.utime(layout.incomplete / name, (time.time() - age,) * 2)
    assert drop_abandoned(layout.incomplete) == 4
    assert sorted(p.name for p in layout.incomplete.iterdir()) == ["fresh", "needed", "yesterday"]
    assert drop_abandoned(layout.incomplete, {"needed"}) == 4
    assert sorted(p.name for p in layout.incomplete.iterdir()) == ["fresh", "needed"]


def test_a_part_that_somebody_fetches_is_not_dropped_however_old(layout):
    with sink(layout) as file:
        file.write(DATA[:300])
        os.utime(layout.incomplete / GOOD.oid, (0, 0))
        assert drop_abandoned(layout.incomplete) == 0
        file.write(DATA[300:])
    assert has_content(layout, GOOD)
