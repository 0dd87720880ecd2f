import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Raw

from hyprstream_core.text.detokenise import ByteDetokeniser, WindowDetokeniser, detokeniser
from hyprstream_core.text.tokenizer import Tokenizer

CORPUS = ["the quick brown fox jumps over the lazy dog", "hello  world, grüße €5 😀 日本語 👩‍👩‍👧", "a b c\n\n\tx"] * 5


def byte_level() -> Tokenizer:
    raw = Raw(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, special_tokens=["<|end|>"])
    raw.train_from_iterator(CORPUS, trainer)
    raw.add_tokens([AddedToken("<think>", special=False, normalized=False)])
    return Tokenizer(raw.to_str())


def metaspace() -> str:
    """As sentencepiece models are converted: Metaspace words, bytes as a fallback, a space before the first word."""
    raw = Raw(models.BPE(byte_fallback=True, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    raw.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(), decoders.Fuse()])
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=tokens)
    raw.train_from_iterator(["the quick brown fox", "hello world, a b c"] * 5, trainer)
    source = raw.to_str()
    for byte in range(256):  # bytes are ordinary tokens of a sentencepiece vocabulary
        source = source.replace(f'"content":"<0x{byte:02X}>","single_word"', f'"content":"[drop{byte}]","single_word"')
    return _without_dropped(source)


def llama2() -> Tokenizer:
    """The older conversion: a normaliser writes the spaces, the decoder drops the first."""
    record = json.loads(METASPACE_SOURCE)
    prepend, spaces = (
        {"type": "Prepend", "prepend": "▁"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    )
    record["normalizer"] = {"type": "Sequence", "normalizers": [prepend, spaces]}
    record["pre_tokenizer"] = None
    back = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    record["decoder"] = {"type": "Sequence", "decoders": [back, {"type": "ByteFallback"}, {"type": "Fuse"}, strip]}
    return Tokenizer(json.dumps(record))


def _without_dropped(source: str) -> str:
    record = json.loads(source)
    record["added_tokens"] = [t for t in record["added_tokens"] if not t["content"].startswith("[drop")]
    return json.dumps(record)


BYTE_LEVEL = byte_level()
METASPACE_SOURCE = metaspace()
METASPACE = Tokenizer(METASPACE_SOURCE)
LLAMA2 = llama2()
TOKENIZERS = pytest.mark.parametrize(
    "tokenizer", [BYTE_LEVEL, METASPACE, LLAMA2], ids=["byte-level", "metaspace", "llama2"]
)
SENTENCEPIECE = pytest.mark.parametrize("tokenizer", [METASPACE, LLAMA2], ids=["metaspace", "llama2"])


def pieces(tokenizer: Tokenizer, ids: list[int], cuts: list[int]) -> list[str]:
    stream = detokeniser(tokenizer)
    edges = [0, *sorted(cut % (len(ids) + 1) for cut in cuts), len(ids)]
    return [*(stream.feed(ids[a:b]) for a, b in itertools.pairwise(edges)), stream.finish()]


def test_the_right_detokeniser_is_chosen():
    assert isinstance(detokeniser(BYTE_LEVEL), ByteDetokeniser)
    assert isinstance(detokeniser(METASPACE), WindowDetokeniser)


@TOKENIZERS
@settings(deadline=None)
@given(text=st.text(max_size=60), cuts=st.lists(st.integers(0, 200), max_size=12))
def test_joined_pieces_equal_decoding_at_once(tokenizer, text, cuts):
    ids = tokenizer.encode(text)
    assert "".join(pieces(tokenizer, ids, cuts)) == tokenizer.decode(ids)
    assert "".join(pieces(tokenizer, ids, list(range(len(ids))))) == tokenizer.decode(ids)


@settings(deadline=None, max_examples=300)
@given(ids=st.lists(st.integers(0, BYTE_LEVEL.vocab_size + 5), max_size=60), cuts=st.lists(st.integers(0, 80)))
def test_byte_level_is_exact_for_any_ids(ids, cuts):
    stream = detokeniser(BYTE_LEVEL)
    assert "".join(stream.feed([index]) for index in ids) + stream.finish() == BYTE_LEVEL.decode(ids)
    assert "".join(pieces(BYTE_LEVEL, ids, cuts)) == BYTE_LEVEL.decode(ids)


WORDS = [i for i in range(METASPACE.vocab_size) if not (METASPACE.token(i) or "").startswith("<0x")]


@SENTENCEPIECE
@settings(deadline=None, max_examples=300)
@given(ids=st.lists(st.sampled_from(WORDS), max_size=40))
def test_sentencepiece_is_exact_for_any_ids_that_are_not_bytes(tokenizer, ids):
    assert "".join(pieces(tokenizer, ids, list(range(len(ids))))) == tokenizer.decode(ids)


@TOKENIZERS
def test_no_piece_holds_half_a_character(tokenizer):
    ids = tokenizer.encode("x 😀 € 👩‍👩‍👧 日本語 y")
    stream = detokeniser(tokenizer)
    assert not any("\ufffd" in stream.feed([index]) for index in ids)
    assert stream.finish() == ""


@TOKENIZERS
def test_a_character_that_never_completes_comes_at_the_end(tokenizer):
    ids = tokenizer.encode("ok 😀")[:-1]
    stream = detokeniser(tokenizer)
    text = stream.feed(ids)
    assert "\ufffd" not in text
    assert text + stream.finish() == tokenizer.decode(ids)


@SENTENCEPIECE
def test_the_space_before_the_first_word_is_dropped_and_others_are_kept(tokenizer):
    ids = tokenizer.encode("the fox the")
    parts = [part for part in pieces(tokenizer, ids, list(range(len(ids)))) if part]
    assert parts[0].startswith("t")
    assert "".join(parts) == "the fox the"


@TOKENIZERS
def test_invalid_bytes_for_ever_do_not_pile_up(tokenizer):
    byte = next(i for i in range(tokenizer.vocab_size) if tokenizer.token(i) in ("<0xE2>", "â"))
    stream = detokeniser(tokenizer)
    given_out = "".join(stream.feed([byte]) for _ in range(500))
    assert 450 <= len(given_out) <= 500
    assert set(given_out) == {"\ufffd"}


def test_special_tokens_have_no_text():
    ids = [*BYTE_LEVEL.encode("a"), *BYTE_LEVEL.encode("<|end|>"), *BYTE_LEVEL.encode("<think>b")]
    assert detokeniser(BYTE_LEVEL).feed(ids) == "a<think>b"
