import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyprstream_core.errors import RefError
from hyprstream_core.repo.refs import RESERVED, ModelRef, check_name, check_ref, default_name

PARTS = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True).filter(lambda p: p not in RESERVED)
NAMES = st.one_of(PARTS, st.tuples(PARTS, PARTS).map("/".join))
REFS = st.lists(st.from_regex(r"[A-Za-z0-9_+][A-Za-z0-9_+-]{0,10}", fullmatch=True), min_size=1, max_size=4).map(
    "/".join
)


@given(NAMES, st.none() | REFS)
def test_what_is_written_is_read_again(name, ref):
    written = str(ModelRef(name, ref))
    assert ModelRef.parse(written) == ModelRef(name, ref)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_and_reading_is_stable(text):
    refusal = None
    try:
        parsed = ModelRef.parse(text)
    except RefError as error:
        refusal = error
    if refusal is None:
        assert ModelRef.parse(str(parsed)) == parsed
        assert parsed.name == parsed.name.lower()
        assert parsed.name.isascii()
    else:
        assert refusal.message.isprintable()


@given(NAMES)
def test_case_does_not_matter_in_names_and_does_in_refs(name):
    assert ModelRef.parse(f"{name.upper()}:Main") == ModelRef(name, "Main")


@pytest.mark.parametrize(
    "name",
    ["", "a" * 101, "a/b/c", "/a", "a/", "a//b", ".", "..", ".a", "a..b", "a.", "-a", "_a", "a b", "a\n", "a\0", "ａ",
     "é", "a\u200cb", "a%2e", "a:b", "a.git", "a.GIT", "x/y.git", "a.lock", "a\\b", "~", "*", "a\u0130"],
)  # fmt: skip
def test_names_that_could_be_mistaken_are_refused(name):
    with pytest.raises(RefError) as caught:
        check_name(name)
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("word", sorted(RESERVED))
def test_reserved_words_are_refused_as_any_part(word):
    for name in (word, word.upper(), f"org/{word}", f"{word}/model"):
        with pytest.raises(RefError):
            check_name(name)


@pytest.mark.parametrize("name", ["a", "qwen3-0.6b", "Qwen/Qwen3-0.6B", "a_b", "0", "a" * 100, "listing", "x.y.z"])
def test_ordinary_names_are_taken_in_lower_case(name):
    assert check_name(name) == name.lower()


REF_EXAMPLES = [
    "main", "feature/x", "v1.0", "a+b", "x" * 200, "HEAD2", "a/b/c/d", "ä", "a@b", "a{b", "@a", "deadbeef", "a,b", "#1",
    "a=b", "(x)", "", "/a", "a/", "a//b", ".a", "a/.b", "a..b", "a.lock", "a.lock/b", "a.", "a b", "a~1", "a^",
    "a:b", "a?", "a*",
    "a[", "a\\b", "a@{1}", "-a", "a\tb", "a\x7f",
]  # fmt: skip


@pytest.mark.parametrize("ref", REF_EXAMPLES)
def test_refs_are_judged_as_stock_git_judges_branches(ref):
    git = subprocess.run(["git", "check-ref-format", "--branch", ref], capture_output=True, check=False).returncode == 0
    try:
        check_ref(ref)
        ours = True
    except RefError:
        ours = False
    assert ours == git


def test_refs_of_absurd_length_are_refused():
    for ref in ("x" * 513, "x" * 256, "/".join(["x" * 100] * 6)):
        with pytest.raises(RefError):
            check_ref(ref)


def test_a_url_is_no_reference_and_the_remedy_says_clone():
    with pytest.raises(RefError) as caught:
        ModelRef.parse("demo://chat")
    assert "clone" in caught.value.remedy


def test_a_colon_without_a_ref_is_refused():
    with pytest.raises(RefError, match="is empty"):
        ModelRef.parse("model:")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://huggingface.co/Qwen/Qwen3-0.6B", "qwen3-0.6b"),
        ("https://h/a/b.git", "b"),
        ("https://h/a/b.git/", "b"),
        ("https://h/a/b?x=1#y", "b"),
        ("file:///srv/models/Tiny/.git", "tiny"),
        ("demo://chat", "chat"),
    ],
)
def test_the_default_name_is_the_last_part_of_the_url(url, name):
    assert default_name(url) == name


def test_a_url_without_a_usable_last_part_asks_for_a_name():
    with pytest.raises(RefError) as caught:
        default_name("https://h/a/list")
    assert "--name" in caught.value.remedy
