import json
import math
from pathlib import Path

import pytest

from hyprstream_core import model_files
from hyprstream_core.errors import BadObject, WeightsError


def test_what_is_not_there_is_none(tmp_path):
    assert model_files.read_text(tmp_path / "x", 10) is None
    assert model_files.read_object(tmp_path / "x", 10) is None


def test_case_004_no_reader_follows_a_link(tmp_path):
    (tmp_path / "real").write_text("{}")
    (tmp_path / "link").symlink_to("real")
    for read in (model_files.read_text, model_files.read_object):
        with pytest.raises(WeightsError, match="expected a plain file"):
            read(tmp_path / "link", 10)


def test_a_folder_in_a_files_place_is_refused_and_leaves_nothing_open(tmp_path):
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with pytest.raises(BadObject, match="expected a plain file"):
            model_files.read_text(tmp_path, 10, BadObject)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("name", ["\ud800", "a\0b", "x" * 300])
def test_a_name_that_no_file_can_have_is_refused(tmp_path, name):
    with pytest.raises(WeightsError):
        model_files.open_plain(tmp_path / name)


@pytest.mark.parametrize(
    ("value", "number"),
    [(1, 1.0), (0.5, 0.5), (-(10**300), -1e300)],
)
def test_numbers(value, number):
    assert model_files.finite(value) == number


@pytest.mark.parametrize("value", [10**400, -(10**400), math.inf, math.nan, True, "1", None, [1]])
def test_what_is_no_finite_number(value):
    assert model_files.finite(value) is None


def test_names_are_cut_and_can_be_sent():
    config = {"architectures": ["x" * 10**6, "\ud800", 3] + ["n"] * 10**5, "dtype": "\ud800" * 10**5}
    names = model_files.architectures(config)
    assert len(names) == model_files.MAX_NAMES
    json.dumps([*names, model_files.dtype(config)], ensure_ascii=False).encode()
    assert max(map(len, names)) <= model_files.NAME_CHARS
    assert model_files.architectures({"architectures": "x"}) == ()
    assert model_files.dtype({"torch_dtype": "bfloat16"}) == "bfloat16"
