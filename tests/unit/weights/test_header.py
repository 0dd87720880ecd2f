"""Lying safetensors files are refused before anything is allocated."""

import json
import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from hyprstream_core.config import Limits
from hyprstream_core.errors import WeightsError
from hyprstream_core.weights.header import read_header
from hyprstream_core.weights.index import open_index
from hyprstream_core.weights.loader import TORCH_DTYPES, _map, _view


def write(path, header, data=b""):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + data)
    return path


def entry(shape, start, stop, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


LIES = {
    "overlap": ({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, 12),
    "hole": ({"a": entry([1], 0, 4), "b": entry([1], 8, 12)}, 12),
    "extra bytes": ({"a": entry([1], 0, 4)}, 8),
    "beyond the end": ({"a": entry([4], 0, 16)}, 8),
    "shape and bytes differ": ({"a": entry([3], 0, 8)}, 8),
    "overflowing product": ({"a": entry([2**62, 2**62], 0, 8)}, 8),
    "negative": ({"a": entry([-1], 0, 4)}, 4),
    "bad dtype": ({"a": entry([1], 0, 4, "F33")}, 4),
    "no shape": ({"a": {"dtype": "F32", "data_offsets": [0, 4]}}, 4),
    "not an object": ([1, 2], 0),
}


@pytest.mark.parametrize("lie", LIES)
def test_case_022_a_lying_header_is_refused(tmp_path, lie):
    header, size = LIES[lie]
    with pytest.raises(WeightsError):
        read_header(write(tmp_path / "model.safetensors", header, bytes(size)), Limits())


def test_case_022_a_duplicate_name_is_refused(tmp_path):
    raw = b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
    with pytest.raises(WeightsError, match="twice"):
        read_header(write(tmp_path / "x", raw, b"1"), Limits())


@pytest.mark.parametrize("length", [0, 2**63, 10_000])
def test_case_022_a_header_length_that_does_not_fit_is_refused(tmp_path, length):
    path = tmp_path / "x"
    path.write_bytes(struct.pack("<Q", length) + b"{}")
    with pytest.raises(WeightsError, match="does not fit"):
        read_header(path, Limits())


def test_case_022_a_deep_header_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="not JSON"):
        read_header(write(tmp_path / "x", b"[" * 100_000), Limits())


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200))
def test_random_bytes_are_refused_like_the_library_does(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("fuzz") / "x"
    path.write_bytes(data)
    try:
        expected = load_file(path)
    except (SafetensorError, OSError):
        with pytest.raises(WeightsError):
            read_header(path, Limits())
    else:
        assert set(read_header(path, Limits())) == set(expected)


def test_what_the_library_writes_is_read_back_without_a_copy(tmp_path):
    """Tensors are views into the mapping: what is written to one shows there (and not in the file)."""
    tensors = {
        "a": torch.randn(3, 5),
        "b": torch.randn(7).bfloat16(),
        "c": torch.arange(4),
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 3),
    }
    path = tmp_path / "model.safetensors"
    save_file(tensors, path)
    mapped = _map(path)
    for name, found in read_header(path, Limits()).items():
        assert TORCH_DTYPES[found.dtype] == tensors[name].dtype
        view = _view(mapped, found)
        torch.testing.assert_close(view, tensors[name])
        if found.num_bytes:
            view.fill_(1)
            assert mapped[found.offset : found.offset + found.num_bytes] == bytes(
                torch.ones_like(tensors[name]).reshape(-1).view(torch.uint8)
            )
    torch.testing.assert_close(load_file(path)["a"], tensors["a"])


def shards(tmp_path, count, tensors_each=3):
    """A model of ``count`` files with as many tensors each."""
    weight_map = {}
    for i in range(count):
        names = [f"t{i}.{k}" for k in range(tensors_each)]
        save_file({name: torch.zeros(1) for name in names}, tmp_path / f"{i}.safetensors")
        weight_map |= dict.fromkeys(names, f"{i}.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return tmp_path


def test_limits_are_those_of_the_whole_model(tmp_path):
    folder = shards(tmp_path, 4)
    header = int.from_bytes((folder / "0.safetensors").read_bytes()[:8], "little")
    assert len(open_index(folder, Limits(safetensors_tensors=12, safetensors_header_bytes=5 * header)).tensors) == 12
    with pytest.raises(WeightsError, match="tensors in this model"):
        open_index(folder, Limits(safetensors_tensors=11))
    with pytest.raises(WeightsError, match="headers of"):
        open_index(folder, Limits(safetensors_header_bytes=3 * header))


@pytest.mark.parametrize("dtype", ["x" * 10**6, ["F32"], {"a": 1}, "\ud800"])
def test_messages_stay_short_and_can_be_sent_whatever_a_header_says(tmp_path, dtype):
    name = "\ud800" + "n" * 10**6
    header = {name: {"dtype": dtype, "shape": [1], "data_offsets": [0, 4]}}
    with pytest.raises(WeightsError) as caught:
        read_header(write(tmp_path / "x", header, bytes(4)), Limits())
    assert len(caught.value.message) < 500
    caught.value.message.encode()


def test_case_004_weights_behind_a_link_are_not_read(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "real.safetensors")
    (tmp_path / "model.safetensors").symlink_to("real.safetensors")
    with pytest.raises(WeightsError, match="expected a plain file"):
        open_index(tmp_path, Limits())


def test_case_020_pickles_are_refused_unread(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(WeightsError) as caught:
        open_index(tmp_path, Limits())
    assert caught.value.error_code == "weights.unsafe_format"


@pytest.mark.parametrize("name", ["../other/model.safetensors", "a/b.safetensors", "model.bin", "x\0.safetensors"])
def test_case_025_an_index_that_points_elsewhere_is_refused(tmp_path, name):
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(WeightsError, match="not the name of a safetensors file"):
        open_index(tmp_path, Limits())


def test_case_025_an_index_of_too_many_shards_is_refused(tmp_path):
    weight_map = {f"t{i}": f"{i}.safetensors" for i in range(10_000)}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(WeightsError, match="10000 files"):
        open_index(tmp_path, Limits())


def test_an_index_that_contradicts_its_files_is_refused(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "one.safetensors")
    index = {"weight_map": {"a": "one.safetensors", "b": "one.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsError, match="'b'"):
        open_index(tmp_path, Limits())


@pytest.mark.parametrize("text", ["version https://pointers.example/v1\nsize 7\n", "a", "größer\r\n\tx"])
def test_a_short_text_in_the_place_of_weights_is_taken_for_a_pointer(tmp_path, text):
    path = tmp_path / "model.safetensors"
    path.write_text(text)
    with pytest.raises(WeightsError, match="looks like a pointer file") as caught:
        read_header(path, Limits())
    assert caught.value.remedy == "is a storage plugin missing? see: hyprstream plugins"


@pytest.mark.parametrize("content", [b"", b"\0" * 8, b"\xff" * 40, b"text " * 4000])
def test_what_is_no_short_text_is_not_taken_for_a_pointer(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        read_header(path, Limits())
    assert "pointer" not in caught.value.message
