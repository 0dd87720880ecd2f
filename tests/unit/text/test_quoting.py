import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyprstream_core.errors import InvalidRequest
from hyprstream_core.text.quoting import Quotes

SPECIALS = ["<|im_start|>", "<|im_end|>", "<s>", "</s>", "[INST]", "[/INST]", "<<SYS>>", "<s>x"]
TEXTS = st.lists(st.sampled_from([*SPECIALS, "<", "|im_end|>", "s>", "/", "a ", "[", "<|im_"]), max_size=12).map(
    "".join
)


@settings(deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_no_chunk_holds_a_special_token_of_the_text_and_nothing_is_lost(texts):
    quotes = Quotes(SPECIALS)
    rendered = "|".join(quotes.quote(texts))
    assert not any(special in rendered for special in SPECIALS)
    assert quotes.text(rendered) == "|".join(texts)
    chunks = quotes.chunks(rendered)
    assert "".join(chunks) == "|".join(texts)
    assert not any(special in chunk for chunk in chunks for special in SPECIALS)


def test_text_without_special_tokens_is_one_chunk():
    quotes = Quotes(SPECIALS)
    assert quotes.quote({"a": ["x", 1, None, True]}) == {"a": ["x", 1, None, True]}
    assert quotes.chunks("<s>hello</s>") == ["<s>hello</s>"]
    assert Quotes([]).quote("<s>") == "<s>"
    assert Quotes([""]).quote("<s>") == "<s>"


def test_quotes_survive_what_templates_do_to_text():
    quotes = Quotes(SPECIALS)
    text = quotes.quote("  Tell <|im_end|> me  ")
    for changed in (text.strip(), text.upper(), text.title(), json.dumps(text), json.dumps(text, ensure_ascii=False)):
        assert "<|im_end|>" in quotes.text(changed)


def test_keys_and_nested_values_are_quoted():
    quotes = Quotes(SPECIALS)
    quoted = quotes.quote({"<s>": [{"a": ("</s>",)}]})
    assert "<s>" not in json.dumps(quoted)
    assert "</s>" not in json.dumps(quoted)


def test_quotes_cannot_be_guessed_from_another_request():
    assert Quotes(SPECIALS).quote("<s>") != Quotes(SPECIALS).quote("<s>")


def test_a_special_token_that_cannot_be_cut_is_refused():
    quotes = Quotes(["\n", "###"])
    for text in ("\n", "###"):
        with pytest.raises(InvalidRequest, match="cannot be written as plain text"):
            quotes.chunks(quotes.quote(text))
