import mmap

import pytest

from hyprstream_core.errors import BadObject
from hyprstream_core.repo.workspace import interrupts_first


def interrupted_while_a_mapped_file_is_looked_into(path):
    with (
        path.open("rb") as file,
        interrupts_first(),
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
    ):
        view = memoryview(mapped)  # closing the map fails with BufferError
        raise KeyboardInterrupt(view)


def interrupted_and_taken_for_something_else():
    with interrupts_first():
        try:
            try:
                raise KeyboardInterrupt
            finally:
                raise BufferError("cannot close exported pointers exist")
        except Exception as error:
            raise BadObject("damaged") from error


def failed():
    with interrupts_first():
        raise BadObject("damaged")


def test_an_interrupt_wins_over_what_fails_while_it_is_unwound(tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 4096)
    with pytest.raises(KeyboardInterrupt):
        interrupted_while_a_mapped_file_is_looked_into(tmp_path / "file")


def test_an_interrupt_wins_over_the_error_that_it_was_taken_for():
    with pytest.raises(KeyboardInterrupt):
        interrupted_and_taken_for_something_else()


def test_an_interrupt_that_was_dealt_with_before_changes_no_error():
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        with pytest.raises(BadObject):
            failed()
