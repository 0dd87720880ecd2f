"""Large files over HTTP: cut, refused, redirected, interrupted, killed, and continued where they broke off."""

import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest

from hyprstream_core.config import CloneSettings
from hyprstream_core.errors import BadObject, DiskFull, RemoteError

SIZE = 3_000_000
CHUNK = 1 << 18


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr("hyprstream_core.builtin.downloads.FIRST_PAUSE", 0.01)


@pytest.fixture
def data():
    return random.randbytes(SIZE)


@pytest.fixture
def hosted(git_server, make_repo, data):
    """A server with a repository of one large file; (server, clone URL, oid)."""
    repo = make_repo("big")
    oid = repo.large("model.safetensors", data)
    repo.commit()
    git_server.large[oid] = data
    return git_server, f"{git_server.url}/big/.git", oid


def part(store, oid):
    return store._space.layout.incomplete / oid


def content(store, name="m"):
    return (store.model(name).worktrees()[0].path / "model.safetensors").read_bytes()


def keep(store, oid, data):
    """What a run that was cut off leaves."""
    part(store, oid).parent.mkdir(parents=True, exist_ok=True)
    part(store, oid).write_bytes(data)


def gets(server):
    return [headers.get("Range") for _, path, headers in server.seen if path.startswith("/large/")]


def test_a_connection_that_breaks_off_is_continued_in_the_same_run(store, hosted, data, referee):
    server, url, oid = hosted
    server.cuts = [1_000_000, 500_000]
    store.clone(url, name="m")
    assert content(store) == data
    assert gets(server) == [None, "bytes=1000000-", "bytes=1500000-"]
    assert server.sent[oid] == SIZE
    assert not part(store, oid).exists()
    referee(store)


def test_what_a_failed_run_has_kept_is_continued_by_the_next(store, hosted, data, referee):
    server, url, oid = hosted
    server.cuts, server.cut = [1_000_000], {oid: 0}
    with pytest.raises(RemoteError) as caught:
        store.clone(url, name="m")
    assert caught.value.error_code == "lfs.incomplete"
    assert "'model.safetensors'" in caught.value.message
    assert "broke off; 1.0MB of 3.0MB are kept" in caught.value.message
    assert caught.value.remedy == "run the same command again: it continues there"
    assert len(gets(server)) == 6, "five attempts that brought nothing"
    assert store.registered() == []
    assert part(store, oid).read_bytes() == data[:1_000_000]
    server.cut.clear()
    store.clone(url, name="m")
    assert content(store) == data
    assert server.sent[oid] == SIZE
    referee(store)


def test_a_server_that_does_not_say_how_much_it_sends_is_continued_all_the_same(store, hosted, data):
    server, url, oid = hosted
    server.has_length, server.cuts = False, [1_000_000]
    store.clone(url, name="m")
    assert content(store) == data
    assert server.sent[oid] == SIZE


@pytest.mark.parametrize("ranges", ["ignored", "shifted", "refused"])
def test_a_server_without_proper_ranges_sends_all_of_it_again(store, hosted, data, ranges):
    server, url, _ = hosted
    server.ranges, server.cuts = ranges, [1_000_000]
    store.clone(url, name="m")
    assert content(store) == data


@pytest.mark.parametrize("ranges", ["ignored", "shifted", "refused"])
def test_a_server_without_ranges_that_always_breaks_off_at_one_place_is_given_up(store, hosted, ranges):
    server, url, oid = hosted
    server.ranges, server.cut = ranges, {oid: 1_000_000}
    with pytest.raises(RemoteError) as caught:
        store.clone(url, name="m")
    assert caught.value.error_code == "lfs.incomplete"


def test_other_bytes_after_a_cut_are_refused_and_the_next_run_starts_anew(store, hosted, data):
    server, url, oid = hosted
    server.ranges, server.cuts = "unlike", [1_000_000]
    with pytest.raises(BadObject) as caught:
        store.clone(url, name="m")
    assert caught.value.error_code == "lfs.bad_object"
    assert not part(store, oid).exists()
    assert store.registered() == []
    store.clone(url, name="m")
    assert content(store) == data


def test_a_part_that_was_damaged_on_disk_is_refused_deleted_and_fetched_anew(store, hosted, data):
    _, url, oid = hosted
    keep(store, oid, bytes(1_000_000))
    with pytest.raises(BadObject) as caught:
        store.clone(url, name="m")
    assert "earlier run" in caught.value.remedy
    store.clone(url, name="m")
    assert content(store) == data


def test_a_server_whose_object_has_another_size_is_refused_and_the_part_survives(store, hosted, data):
    server, url, oid = hosted
    keep(store, oid, data[:1000])
    for wrong in (data[:2000], data + b"x", b"<html>log in</html>"):
        server.large[oid] = wrong
        with pytest.raises(BadObject) as caught:
            store.clone(url, name="m")
        assert caught.value.error_code == "lfs.bad_object"
        assert f"{len(wrong):,} bytes" in caught.value.message
    assert part(store, oid).read_bytes() == data[:1000]


def test_a_server_that_sends_more_than_it_may_is_refused_and_nothing_is_kept(store, hosted, data):
    server, url, oid = hosted
    server.has_length, server.large[oid] = False, data + b"x"
    with pytest.raises(BadObject):
        store.clone(url, name="m")
    assert not part(store, oid).exists()


def test_a_busy_server_is_asked_again(store, hosted, data):
    server, url, _ = hosted
    server.statuses = [503, 429, 500]
    store.clone(url, name="m")
    assert content(store) == data


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_place_that_has_expired_is_asked_for_again(store, hosted, data, status):
    server, url, _ = hosted
    server.cuts, server.statuses = [1_000_000], [200, status]
    store.clone(url, name="m")
    assert content(store) == data
    assert len([path for _, path, _ in server.seen if path.endswith("/objects/batch")]) == 2


@pytest.mark.parametrize(("status", "code"), [(403, "remote.unauthorized"), (404, "lfs.missing")])
def test_a_place_that_stays_expired_is_given_up(store, hosted, status, code):
    server, url, _ = hosted
    server.statuses = [status] * 9
    with pytest.raises(RemoteError) as caught:
        store.clone(url, name="m")
    assert caught.value.error_code == code
    assert len(server.statuses) == 7


def test_a_refusal_that_does_not_pass_is_an_error_at_once(store, hosted):
    server, url, _ = hosted
    server.statuses = [400] * 9
    with pytest.raises(RemoteError, match="answers 400"):
        store.clone(url, name="m")
    assert len(server.statuses) == 8


def test_a_remote_that_falls_silent_after_a_cut_is_given_up_in_time(new_store, hosted):
    server, url, _ = hosted
    server.cuts, server.silences = [1_000_000], [0, 2]
    store = new_store(clone=CloneSettings(timeout=0.3))
    with pytest.raises(RemoteError) as caught:
        store.clone(url, name="m")
    assert caught.value.error_code == "remote.timeout"
    assert "1.0MB of 3.0MB are kept" in caught.value.message
    assert len(gets(server)) == 2


def test_a_remote_that_falls_silent_in_the_middle_is_asked_again(new_store, hosted, data):
    server, url, oid = hosted
    server.rate = 100_000  # a piece, and then nothing for longer than anybody waits
    keep(new_store(), oid, data[:-200_000])
    store = new_store(clone=CloneSettings(timeout=0.3))
    store.clone(url, name="m")
    assert content(store) == data
    assert len(gets(server)) > 1


def test_redirects_are_followed_also_when_continuing(store, hosted, data, git_server, tmp_path):
    server, url, oid = hosted
    elsewhere = type(git_server)(tmp_path)
    try:
        elsewhere.large[oid], elsewhere.cuts = data, [1_000_000]
        server.moved["/large/"] = elsewhere.url
        store.clone(url, name="m")
        assert content(store) == data
        assert elsewhere.sent[oid] == SIZE
    finally:
        elsewhere.close()


def test_a_redirect_that_never_ends_is_an_error(store, hosted):
    server, url, _ = hosted
    server.moved["/large/"] = server.url
    with pytest.raises(RemoteError) as caught:
        store.clone(url, name="m")
    assert caught.value.error_code == "remote.limit"


def test_case_013_what_the_batch_api_wants_to_be_sent_goes_to_its_own_place_only(store, hosted, data, tmp_path):
    server, url, oid = hosted
    elsewhere = type(server)(tmp_path)
    try:
        elsewhere.large[oid] = data
        server.header = {"Authorization": "RemoteAuth canary", "X-Ticket": "canary"}
        server.moved["/large/"] = elsewhere.url
        store.clone(url.replace("http://", "http://alice:canary@"), name="m")
        asked = next(headers for _, path, headers in server.seen if path.startswith("/large/"))
        assert (asked["Authorization"], asked["X-Ticket"]) == ("RemoteAuth canary", "canary")
        assert elsewhere.seen
        assert "canary" not in str(elsewhere.seen)
    finally:
        elsewhere.close()


def test_two_who_fetch_one_object_at_once_fetch_it_once(new_store, hosted, data):
    server, url, oid = hosted
    server.rate = 5_000_000
    stores = [new_store(), new_store()]
    threads = [
        threading.Thread(target=store.clone, args=(url,), kwargs={"name": f"m{number}"})
        for number, store in enumerate(stores)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [m.name for m in stores[0].registered()] == ["m0", "m1"]
    assert content(stores[0], "m0") == content(stores[0], "m1") == data
    assert server.sent[oid] == SIZE


@pytest.fixture
def several(git_server, make_repo):
    """A server with six large files; (server, clone URL, content by oid)."""
    repo = make_repo("several")
    large = [random.randbytes(300_000) for _ in range(6)]
    oids = {repo.large(f"shard-{number}.safetensors", blob): blob for number, blob in enumerate(large)}
    repo.commit()
    git_server.large |= oids
    return git_server, f"{git_server.url}/several/.git", oids


def test_several_files_are_fetched_at_once(store, several):
    server, url, oids = several
    server.rate = 1_000_000
    told = []
    store.clone(url, name="m", progress=lambda phase, done, total: told.append((phase, done, total)))
    assert max(server.at_once) == 3
    assert ("fetch", 6, 1_800_000) in told
    assert ("content", 1_800_000, 1_800_000) in told
    counted = [done for phase, done, _ in told if phase == "content"]
    assert counted == sorted(counted)
    for oid, blob in oids.items():
        assert store._space.layout.content(oid).read_bytes() == blob


def test_when_one_of_several_fails_the_others_stop_and_what_has_arrived_is_kept(store, several):
    server, url, oids = several
    server.rate = 200_000
    bad = next(iter(oids))
    server.large[bad] = b"?" * 300_000
    server.cuts = []
    began = time.monotonic()
    with pytest.raises(BadObject):
        store.clone(url, name="m")
    assert time.monotonic() - began < 5
    assert not part(store, bad).exists()
    server.rate, server.large[bad] = 0, oids[bad]
    store.clone(url, name="m")
    for oid, blob in oids.items():
        assert store._space.layout.content(oid).read_bytes() == blob
        if oid != bad:
            assert server.sent[oid] < 300_000 + 3 * CHUNK


CHILD = """
import sys
from pathlib import Path
from hyprstream_core.config import Settings
from hyprstream_core.plugins import Plugins, installed
from hyprstream_core.services.store import open_store
store = open_store(Settings(models_dir=Path(sys.argv[1])), Plugins([c for c in installed() if c.name == "builtin"]))
store.clone(sys.argv[2], name="m")
"""


def clone_in_a_process(tmp_path, url):
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path / "models"), url], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def wait_for_bytes(server, oid, count):
    deadline = time.monotonic() + 30
    while server.sent[oid] < count and time.monotonic() < deadline:
        time.sleep(0.005)
    assert server.sent[oid] >= count


def test_downloads_killed_at_random_moments_are_continued_and_nothing_half_made_is_listed(
    store, hosted, data, tmp_path, referee
):
    server, url, oid = hosted
    server.rate = 4_000_000
    kills = 4
    for _ in range(kills):
        wanted = server.sent[oid] + random.randrange(100_000, 400_000)
        process = clone_in_a_process(tmp_path, url)
        wait_for_bytes(server, oid, wanted)
        process.kill()
        process.communicate()
        assert store.registered() == []
        assert not store._space.layout.content(oid).exists()
    kept = part(store, oid).stat().st_size
    assert kept > kills * 100_000 / 2
    server.rate = 0
    store.clone(url, name="m")
    assert content(store) == data
    assert gets(server)[-1] == f"bytes={kept}-"
    referee(store)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_downloads_killed_at_thirty_random_times_are_continued(store, hosted, data, tmp_path, referee):
    server, url, _ = hosted
    server.rate = 2_000_000
    for _ in range(30):
        process = clone_in_a_process(tmp_path, url)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(random.uniform(0.3, 1.5))
        process.kill()
        process.communicate()
        for model in store.registered():
            assert content(store, model.name) == data
            store.remove(model.name)
    server.rate = 0
    store.clone(url, name="m")
    assert content(store) == data
    referee(store)


@pytest.mark.parametrize("number", [1, 6])
def test_an_interrupt_ends_a_download_at_once_and_keeps_what_has_arrived(store, several, hosted, tmp_path, number):
    server, several_url, oids = several
    _, one_url, one = hosted
    url, watched = (several_url, next(iter(oids))) if number > 1 else (one_url, one)
    server.rate = 100_000
    process = clone_in_a_process(tmp_path, url)
    wait_for_bytes(server, watched, 60_000)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, errors = process.communicate(timeout=20)
    assert time.monotonic() - began < 4
    assert b"KeyboardInterrupt" in errors
    assert list(store._space.layout.incomplete.iterdir())
    assert store.registered() == []


def test_content_that_cannot_fit_is_refused_before_a_byte_is_fetched_and_parts_count(
    new_store, hosted, data, monkeypatch
):
    server, url, oid = hosted
    store = new_store(clone=CloneSettings(worktree_driver="hardlink"))
    usage = type("Usage", (), {"free": SIZE - 1})
    monkeypatch.setattr("hyprstream_core.repo.disk.durable.shutil.disk_usage", lambda path: usage)
    with pytest.raises(DiskFull) as caught:
        store.clone(url, name="m")
    assert caught.value.details["needed"] == SIZE
    assert server.sent[oid] == 0
    keep(store, oid, data[:1_000_000])
    usage.free = SIZE - 900_000
    store.clone(url, name="m")
    assert content(store) == data


@pytest.mark.parametrize("driver", ["copy", "hardlink"])
def test_space_is_asked_for_the_worktree_too_where_its_driver_copies(new_store, hosted, monkeypatch, driver):
    _, url, _ = hosted
    store = new_store(clone=CloneSettings(worktree_driver=driver))
    usage = type("Usage", (), {"free": SIZE + 100_000})
    monkeypatch.setattr("hyprstream_core.repo.disk.durable.shutil.disk_usage", lambda path: usage)
    if driver == "hardlink":
        store.clone(url, name="m")
        return
    with pytest.raises(DiskFull) as caught:
        store.clone(url, name="m")
    assert caught.value.details["needed"] == 2 * SIZE


def test_stock_git_lfs_does_not_mind_what_has_begun_to_arrive(store, make_repo, data):
    repo = make_repo("big")
    repo.run("lfs", "install", "--local", "--skip-smudge")
    repo.run("lfs", "track", "*.safetensors")
    repo.write("model.safetensors", data)
    repo.commit()
    oid = hashlib.sha256(data).hexdigest()
    [worktree] = store.clone(str(repo.path), name="m").worktrees()
    other = "ab" * 32
    for name in (oid, other):
        keep(store, name, b"begun")
    for arguments in (["fsck"], ["prune"], ["ls-files"], ["pull"]):
        done = subprocess.run(["git", "lfs", *arguments], cwd=worktree.path, capture_output=True, check=False)
        assert done.returncode == 0, done
    for name in (oid, other):
        assert part(store, name).read_bytes() == b"begun"
    assert content(store) == data


def test_removing_a_model_collects_old_parts_that_nobody_needs(store, hosted, model_repo, data):
    _, url, oid = hosted
    store.clone(url, name="m")
    store.clone(str(model_repo.path), name="other")
    for name in (oid, "ab" * 32):
        keep(store, name, b"begun")
        os.utime(part(store, name), (time.time() - 2 * 86400,) * 2)
    store.remove("other")
    assert [p.name for p in store._space.layout.incomplete.iterdir()] == [oid]


def cut_places(number):
    places = sorted(random.sample(range(1, SIZE), number))
    return [end - start for start, end in zip([0, *places], places, strict=False)]


def test_case_017_a_transfer_cut_at_ten_random_bytes_is_continued_in_one_run(store, hosted, data):
    server, url, oid = hosted
    server.cuts = cut_places(10)
    store.clone(url, name="m")
    assert content(store) == data
    assert server.sent[oid] <= SIZE + 10 * CHUNK


def cut_in_many_runs(store, hosted, data, number):
    server, url, oid = hosted
    for cut in cut_places(number):
        server.cuts, server.cut = [cut], {oid: 0}
        with pytest.raises(RemoteError):
            store.clone(url, name="m")
        assert store.registered() == []
    server.cuts, server.cut = [], {}
    store.clone(url, name="m")
    assert content(store) == data
    assert server.sent[oid] <= SIZE + number * CHUNK


def test_case_017_a_transfer_cut_at_random_bytes_is_continued_by_later_runs(store, hosted, data):
    cut_in_many_runs(store, hosted, data, 10)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("ranges", ["honoured", "ignored", "shifted", "refused", "unlike"])
def test_case_017_a_transfer_cut_at_twenty_random_bytes_is_right_or_refused(store, hosted, data, ranges):
    server, url, oid = hosted
    if ranges == "honoured":
        cut_in_many_runs(store, hosted, data, 20)
        return
    server.ranges, refusals = ranges, 0
    server.cuts = [random.randrange(1, SIZE) for _ in range(20)]
    while not store.registered():
        with contextlib.suppress(BadObject, RemoteError):
            store.clone(url, name="m")
            break
        assert not store._space.layout.content(oid).exists()
        refusals += 1
        assert refusals < 50
    assert content(store) == data
