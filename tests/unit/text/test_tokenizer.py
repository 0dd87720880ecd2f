import json
import struct
import threading
import time
import unicodedata

import pytest
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Raw

from hyprstream_core.config import Limits
from hyprstream_core.errors import BadObject, InvalidRequest, UnsupportedModel
from hyprstream_core.text.normaliser_growth import FACTORS, check_growth
from hyprstream_core.text.tokenizer import Tokenizer, special_tokens


@pytest.fixture
def raw():
    tokenizer = Raw(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        ["hello world"] * 3,
        trainers.BpeTrainer(vocab_size=270, initial_alphabet=alphabet, special_tokens=["<s>", "<|end|>"]),
    )
    tokenizer.add_tokens([AddedToken("<think>", special=False, normalized=False)])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return tokenizer


@pytest.fixture
def folder(raw, tmp_path):
    raw.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_encodes_and_decodes(folder, raw):
    tokenizer = Tokenizer.load(folder, Limits())
    ids = tokenizer.encode("hello <think>wörld<|end|>")
    assert ids == raw.encode("hello <think>wörld<|end|>").ids
    assert ids[0] == 0
    assert tokenizer.decode(ids) == "hello <think>wörld"
    assert tokenizer.vocab_size == raw.get_vocab_size()
    assert tokenizer.special_ids == {0, 1}


def test_special_tokens_are_added_only_when_asked(folder):
    tokenizer = Tokenizer.load(folder, Limits())
    assert tokenizer.encode("hello") == [0, *tokenizer.encode("hello", add_special_tokens=False)]


def test_ids_outside_the_vocabulary_have_no_text(folder):
    tokenizer = Tokenizer.load(folder, Limits())
    assert tokenizer.decode([*tokenizer.encode("hello"), 10**6, -1, 2**40]) == "hello"
    assert tokenizer.token_bytes(10**6) == tokenizer.token_bytes(-1) == tokenizer.token_bytes(2**40) == b""


def test_truncation_and_padding_of_the_file_are_switched_off(raw, tmp_path):
    raw.enable_truncation(2)
    raw.enable_padding(length=64)
    raw.save(str(tmp_path / "tokenizer.json"))
    text = "hello world hello world"
    assert Tokenizer.load(tmp_path, Limits()).decode(Tokenizer.load(tmp_path, Limits()).encode(text)) == text


def test_special_tokens_are_read_in_both_spellings(tmp_path):
    config = {"bos_token": {"content": "<s>", "lstrip": False}, "eos_token": "</s>", "pad_token": None}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"eos_token": "other", "unk_token": "<unk>"}))
    assert special_tokens(tmp_path, Limits()) == {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


@pytest.mark.parametrize(
    ("content", "said"), [(b"{", "not valid JSON"), (b"[]", "expected an object"), (b"[" * 100_000, "not valid JSON")]
)
def test_a_broken_list_of_special_tokens_says_what_is_wrong(tmp_path, content, said):
    (tmp_path / "special_tokens_map.json").write_bytes(content)
    with pytest.raises(BadObject, match=said):
        special_tokens(tmp_path, Limits())


def test_a_model_without_tokenizer_is_refused_with_a_remedy(tmp_path):
    with pytest.raises(UnsupportedModel, match=r"no tokenizer\.json") as caught:
        Tokenizer.load(tmp_path, Limits())
    assert "save_pretrained" in caught.value.remedy


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a tokenizer"),
        (b"{", "not a tokenizer"),
        (b"[]", "not a tokenizer"),
        (b'{"model": {}}', "not a tokenizer"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[" * 100_000, "not a tokenizer"),
        (b'{"version":' * 100_000, "not a tokenizer"),
        (b'{"version":"1.0","added_tokens":[{"id":9999999999}]}', "not a tokenizer"),
    ],
)
def test_a_broken_tokenizer_says_what_is_wrong(tmp_path, content, said):
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(BadObject, match=said):
        Tokenizer.load(tmp_path, Limits())


def test_case_032_a_tokenizer_beyond_its_limit_is_refused(folder):
    with pytest.raises(BadObject, match="larger than 100 bytes"):
        Tokenizer.load(folder, Limits(json_file_bytes=100))


def charsmap(replacement):
    """sentencepiece's table with one entry, "a": a double array trie of two nodes, and the text."""
    trie = [0] * 256
    trie[0] = 1 << 10
    trie[1 ^ ord("a")] = ord("a") | 1 << 8 | 1 << 10
    trie[1 ^ ord("a") ^ 1] = 1 << 31
    return normalizers.Precompiled(struct.pack("<257I", 1024, *trie) + replacement.encode() + b"\0")


def test_the_table_of_these_tests_does_what_they_say():
    assert charsmap("b" * 20_000).normalize_str("xa") == "x" + "b" * 20_000


GROWING = [
    charsmap("b" * 20_000),
    charsmap("é" * 37),
    normalizers.Sequence([normalizers.NFKD(), normalizers.Replace("x", "b" * 32)]),
    normalizers.Sequence([normalizers.Replace("i", "İ"), normalizers.Lowercase()] * 10),
    normalizers.Sequence([normalizers.NFC()] * 9),
    normalizers.Replace(Regex("^|a"), "b" * 36),
    normalizers.Replace("a", "b" * 1000),
    normalizers.Sequence([normalizers.Replace("a", "aa")] * 30),
    normalizers.Replace(Regex("x*"), "b" * 40),
    normalizers.Prepend("b" * 40),
]


@pytest.mark.parametrize("normalizer", GROWING, ids=range(len(GROWING)))
def test_case_032_a_normaliser_that_grows_text_is_refused(raw, normalizer):
    raw.normalizer = normalizer
    with pytest.raises(BadObject, match="lengthens text"):
        Tokenizer(raw.to_str())


def test_normalisers_of_real_models_are_accepted(raw):
    real = [
        charsmap("b" * 18),
        normalizers.Sequence([charsmap("b" * 18), normalizers.Replace(Regex(" {2,}"), "▁")]),
        normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()]),
        normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]),
        normalizers.NFC(),
        normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]),
        normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip()]),
        normalizers.BertNormalizer(),
    ]
    for normalizer in real:
        raw.normalizer = normalizer
        assert Tokenizer(raw.to_str()).encode("hello")


FACTOR_OF = {
    "NFC": normalizers.NFC(),
    "NFD": normalizers.NFD(),
    "NFKC": normalizers.NFKC(),
    "NFKD": normalizers.NFKD(),
    "Lowercase": normalizers.Lowercase(),
    "BertNormalizer": normalizers.BertNormalizer(strip_accents=False),
    "StripAccents": normalizers.StripAccents(),
    "Nmt": normalizers.Nmt(),
    "ByteLevel": normalizers.ByteLevel(),
}


@pytest.mark.parametrize("kind", FACTOR_OF)
def test_no_character_grows_beyond_the_factor_of_its_normaliser(kind):
    normalizer = FACTOR_OF[kind]
    every = (chr(c) for c in range(0x110000))
    characters = [c for c in every if unicodedata.category(c) not in ("Cs", "Cn", "Co")]
    assert max(len(normalizer.normalize_str(c)) for c in characters) <= FACTORS[kind]


def test_a_normaliser_that_nobody_knows_is_refused():
    with pytest.raises(BadObject, match="'Twice' is not known"):
        check_growth('{"type": "Twice"}')


def test_case_032_a_regular_expression_that_never_ends_is_an_error_of_the_model(raw):
    split = pre_tokenizers.Split(Regex("(a+)+$"), "isolated")
    raw.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer = Tokenizer(raw.to_str())
    with pytest.raises(BadObject, match="the model's tokenizer failed"):
        tokenizer.encode("a" * 1000 + "!")
    assert tokenizer.encode("hello")


def test_case_032_merges_that_go_round_end(raw):
    record = json.loads(raw.to_str())
    record["model"]["vocab"] |= {"ab": 1000, "ba": 1001}
    record["model"]["merges"] = [["a", "b"], ["b", "a"]]
    tokenizer = Tokenizer(json.dumps(record))
    assert tokenizer.decode(tokenizer.encode("ab" * 10_000)) == "ab" * 10_000


def test_case_004_a_linked_tokenizer_is_refused(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "tokenizer.json").symlink_to(folder / "tokenizer.json")
    with pytest.raises(BadObject, match="expected a plain file"):
        Tokenizer.load(other, Limits())


def test_case_004_a_pipe_in_place_of_a_tokenizer_does_not_block(tmp_path):
    import os

    os.mkfifo(tmp_path / "tokenizer.json")
    with pytest.raises(BadObject):
        Tokenizer.load(tmp_path, Limits())


def test_a_lone_surrogate_is_refused(folder):
    with pytest.raises(InvalidRequest, match="surrogate"):
        Tokenizer.load(folder, Limits()).encode("\ud800")


def test_encoding_leaves_other_threads_running(folder):
    tokenizer = Tokenizer.load(folder, Limits())
    text = "hello world " * 60_000
    worker = threading.Thread(target=tokenizer.encode, args=(text,))
    worker.start()
    ticks = 0
    while worker.is_alive():
        time.sleep(0.001)
        ticks += 1
    assert ticks > 20
