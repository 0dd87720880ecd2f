"""The error tree: codes, records, remedies."""

import inspect
import pickle
import re

import pytest

from hyprstream_core import errors
from hyprstream_core.errors import HyprstreamError, InternalError, UnsafeTree, from_record

TYPES = [t for t in vars(errors).values() if inspect.isclass(t) and issubclass(t, HyprstreamError)]


def drawn_parents(drawing):
    """Class → its parent, of the lines of a tree whose levels are four characters each."""
    found, above = {}, [None]
    for line in drawing.splitlines():
        if match := re.fullmatch(r"    ((?:[│ ]   )*)(├── |└── )?([A-Z]\w+)(?:  .*)?", line):
            level = len(match[1]) // 4 + bool(match[2])
            del above[level + 1 :]
            assert match[3] not in found, f"{match[3]} is drawn twice"
            found[match[3]] = above[level]
            above.append(match[3])
    return found


def test_the_drawn_tree_is_the_real_one():
    real = {t.__name__: t.__base__.__name__ for t in TYPES} | {"HyprstreamError": None}
    assert drawn_parents(errors.__doc__) == real


def test_a_tree_drawn_otherwise_would_be_noticed():
    drawing = """
    Base
    ├── One    a line
    │   └── Two
    │       └── Three
    └── Four
    Each error
    """
    assert drawn_parents(drawing) == {"Base": None, "One": "Base", "Two": "One", "Three": "Two", "Four": "Base"}


def test_every_type_has_its_own_stable_code():
    codes = [t.code for t in TYPES]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z_]+(\.[a-z_]+)?", code) for code in codes)


@pytest.mark.parametrize("kind", TYPES)
def test_an_error_survives_its_record_and_pickling(kind):
    error = kind("got 3, expected 4", remedy="add one", code="x.y", param="count", got=3)
    for copy in (from_record(error.to_record()), pickle.loads(pickle.dumps(error))):
        assert type(copy) is kind
        assert copy.to_record() == error.to_record()
        assert str(copy) == "got 3, expected 4 (add one)"


def test_an_unknown_type_in_a_record_becomes_an_internal_error():
    for name in ("SystemExit", "builtins.eval", "Mapping", None, 3):
        error = from_record({"type": name, "code": "c", "message": "m"})
        assert type(error) is InternalError
        assert (error.error_code, error.message) == ("c", "m")


def test_a_class_made_elsewhere_is_never_rebuilt_from_a_record():
    class Foreign(UnsafeTree):
        pass

    assert type(from_record(Foreign("m").to_record())) is InternalError


def test_the_class_code_counts_unless_the_instance_refines_it():
    assert UnsafeTree("m").error_code == "repo.bad_tree"
    assert UnsafeTree("m", code="repo.unsafe_path").error_code == "repo.unsafe_path"
