"""Views are made with the storage filters that are installed, and made again when there are more."""

import hashlib

import pytest

from hyprstream_core.interfaces.storage import ContentFilter, Pointer, StorageFilter
from hyprstream_core.repo.parts import Parts
from hyprstream_core.repo.store import Store

CONTENT = b"weights" * 1000
POINTER = b"other store: " + hashlib.sha256(CONTENT).hexdigest().encode() + b"\n"


class Other(ContentFilter):
    """A plugin's filter: its content is always the same."""

    def parse(self, blob):
        return Pointer(blob.split()[-1].decode(), len(CONTENT))

    def fetch(self, pointers, source, write):
        for pointer in pointers:
            with write(pointer) as sink:
                sink.write(CONTENT)


OTHER = StorageFilter("other", sniff=b"other store: ", load="other")


@pytest.fixture
def store_with(tmp_path):
    """store_with(filters…) → the same store, opened while these are installed."""
    from hyprstream_core.plugins import Plugins, installed, load

    builtin = Plugins([c for c in installed() if c.name == "builtin"])

    def make(*filters):
        parts = Parts(
            transports=builtin.git_transports(),
            filters=[*builtin.storage_filters(), *filters],
            drivers=builtin.worktree_drivers(),
            load=lambda path: Other if path == "other" else load(path),
        )
        return Store(tmp_path / "models", parts)

    return make


@pytest.fixture
def repo(make_repo):
    made = make_repo("pointers")
    made.write("model.safetensors", POINTER)
    made.commit()
    return made


def view(store):
    return store.snapshot(store.resolve("m"))


def test_a_view_made_while_a_filter_was_missing_is_made_again_once_it_is_there(store_with, repo, referee):
    store_with().clone(str(repo.path), name="m")
    assert (view(store_with()) / "model.safetensors").read_bytes() == POINTER
    folder = view(store_with(OTHER))
    assert (folder / "model.safetensors").read_bytes() == CONTENT
    assert view(store_with()) == folder
    assert (folder / "model.safetensors").read_bytes() == CONTENT, "a filter that is gone again spoils nothing"
    assert not any((folder.parents[2] / ".staging").iterdir())


def test_a_view_is_made_once_for_the_same_filters(store_with, repo):
    store_with(OTHER).clone(str(repo.path), name="m")
    made = view(store_with(OTHER)).stat().st_ino
    assert view(store_with(OTHER)).stat().st_ino == made
    assert view(store_with()).stat().st_ino == made


def test_a_view_of_which_nothing_is_known_is_made_again(store_with, repo):
    store = store_with(OTHER)
    store.clone(str(repo.path), name="m")
    folder = view(store)
    sidecar = folder.with_name(folder.name + ".json")
    for damage in (sidecar.unlink, lambda: sidecar.write_bytes(b"{")):
        made = folder.stat().st_ino
        damage()
        assert view(store) == folder
        assert folder.stat().st_ino != made
        assert (folder / "model.safetensors").read_bytes() == CONTENT


def test_content_of_a_filter_that_is_missing_is_not_collected(store_with, repo, make_repo):
    other = make_repo("plain")
    other.write("config.json", "{}")
    other.commit()
    store = store_with(OTHER)
    store.clone(str(repo.path), name="m")
    store.clone(str(other.path), name="x")
    content = store._space.layout.content(hashlib.sha256(CONTENT).hexdigest())
    store_with().remove("x")
    assert content.is_file()
    store_with(OTHER).remove("m")
    assert not content.exists()


def test_a_damaged_model_keeps_no_other_from_being_removed(store_with, repo, make_repo):
    other = make_repo("plain")
    other.write("config.json", "{}")
    other.commit()
    store = store_with(OTHER)
    store.clone(str(repo.path), name="m")
    store.clone(str(other.path), name="x")
    loose = store.model("m").git_dir / "objects/aa" / ("b" * 38)
    loose.parent.mkdir(exist_ok=True)
    loose.write_bytes(b"junk")
    store.remove("x")
    assert [model.name for model in store.registered()] == ["m"]
    assert store._space.layout.content(hashlib.sha256(CONTENT).hexdigest()).is_file()
