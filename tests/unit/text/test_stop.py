import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from hyprstream_core.text.stop import StopStrings

LETTERS = st.text(alphabet="ab", max_size=30)


def run(stops: list[str], pieces: list[str]) -> tuple[str, str | None]:
    watch = StopStrings(stops)
    given_out = []
    for piece in pieces:
        given_out.append(watch.feed(piece))
        if watch.matched is not None:
            return "".join(given_out), watch.matched
    return "".join([*given_out, watch.finish()]), None


def naive(stops: list[str], text: str) -> tuple[str, str | None]:
    for end in range(1, len(text) + 1):
        complete = sorted((s for s in stops if text[:end].endswith(s)), key=len, reverse=True)
        if complete:
            return text[: end - len(complete[0])], complete[0]
    return text, None


@settings(deadline=None)
@given(
    stops=st.lists(st.text(alphabet="ab", min_size=1, max_size=5), max_size=4),
    text=LETTERS,
    cuts=st.lists(st.integers(0, 30), max_size=8),
)
def test_the_result_is_that_of_the_whole_text_however_it_is_cut(stops, text, cuts):
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[a:b] for a, b in itertools.pairwise(edges)]
    assert run(stops, pieces) == naive(stops, text)
    assert run(stops, list(text)) == naive(stops, text)


def naive_after(stops, text, least):
    """Only what is completed by a character after the first ``least`` counts."""
    for end in range(least + 1, len(text) + 1):
        complete = sorted((s for s in stops if text[:end].endswith(s)), key=len, reverse=True)
        if complete:
            return complete[0]
    return None


@settings(deadline=None)
@given(
    stops=st.lists(st.text(alphabet="ab", min_size=1, max_size=5), max_size=4),
    text=LETTERS,
    least=st.integers(0, 12),
)
def test_what_begins_before_it_may_end_counts_when_it_ends_later(stops, text, least):
    watch, out = StopStrings(stops), ""
    for i, letter in enumerate(text):
        out += watch.feed(letter, may_end=i >= least)
        if watch.matched is not None:
            break
    expected = naive_after(stops, text, least)
    assert watch.matched == expected
    assert text.startswith(out + expected) if expected else out + watch.finish() == text


def test_only_a_possible_prefix_is_held_back():
    watch = StopStrings(["\n\nUser:"])
    assert watch.feed("hello\n") == "hello"
    assert watch.feed("\nUs") == ""
    assert watch.feed("e x") == "\n\nUse x"
    assert watch.finish() == ""


def test_without_stop_strings_nothing_is_held_back():
    assert StopStrings().feed("abc") == "abc"
    assert StopStrings([""]).feed("abc") == "abc"


def test_nothing_is_given_out_after_a_match():
    watch = StopStrings(["END"])
    assert watch.feed("a END b") == "a "
    assert watch.matched == "END"
    assert watch.feed("more") == ""
    assert watch.finish() == ""
