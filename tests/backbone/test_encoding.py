"""Texts as tokens: many at once against one by one, by the tokenizer alone."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import ByT5Tokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from recbole_genrec.backbone.backbone import Backbone
from recbole_genrec.backbone.scratch import train_tokenizer
from tests.builders import SPECIAL, byte_tokenizer

CORPUS = [
    "The Return of the Jedi",
    "The Return of the King",
    "Toy Story (1995)",
    " user 12",
    "123456789",
    "xa xa xray",
]


def pieces_with_spaces():
    """A unigram vocabulary that writes a space before the text, as SentencePiece does, and joins it with letters."""
    pieces = [*SPECIAL.values(), *("\u2581" + letter for letter in "aTx"), "\u2581", *map(chr, range(33, 127))]
    tokenizer = Tokenizer(models.Unigram([(piece, -len(piece)) for piece in pieces], unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL)


#: a scratch model's own, bytes, pieces that know where a text begins, and one in plain Python.
TOKENIZERS = {
    "scratch": lambda: train_tokenizer(CORPUS, 400),
    "bytes": byte_tokenizer,
    "pieces": pieces_with_spaces,
    "python": ByT5Tokenizer,
}
#: what tokenizers stumble over: look-alikes of special tokens, whole and in parts, spaces, and no text.
odd = st.sampled_from(
    ["</s>", "<s>", "<pad>", "<unk>", "<", "s>", "/", " ", "  ", "\n", "\t", "\x00", "\u2581", "Ġ", "é"]
)
texts = st.one_of(
    st.lists(st.one_of(odd, st.text(max_size=3), st.sampled_from(CORPUS)), max_size=5).map("".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
)


@pytest.fixture(scope="module", params=TOKENIZERS)
def backbone(request):
    tokenizer = TOKENIZERS[request.param]()
    shape = {"hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1}
    return Backbone(LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **shape)), tokenizer)


def alone(backbone, text):
    """The tokens of a text, look-alikes of special tokens cut after their first character; the oracle."""
    tokenizer = backbone.tokenizer
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
    if special.isdisjoint(ids):
        return ids
    for token in sorted(tokenizer.all_special_tokens, key=len, reverse=True):
        if token in text and len(token) > 1:
            pieces = [token[1:] + piece + token[0] for piece in text.split(token)]
            pieces[0], pieces[-1] = pieces[0][len(token) - 1 :], pieces[-1][:-1]
            return [index for piece in pieces for index in alone(backbone, piece)]
    return [index for index in ids if index not in special]


def one_by_one(backbone, text, context):
    """A text as it stands after ``context``, where the context keeps its own tokens."""
    before, both = alone(backbone, context), alone(backbone, context + text)
    return both[len(before) :] if text and both[: len(before)] == before else alone(backbone, text) if text else []


@given(
    st.lists(texts.filter(lambda text: "\0" not in text), max_size=6), st.sampled_from(["", "x", " ", "\n", ",", "("])
)
@example(["", "</s>", "a</s>b", "", "a", "a", " a"], "x")
@example([], "x")
def test_many_texts_have_the_tokens_of_each_alone(backbone, several, context):
    found = backbone.encode_many(several, context)
    assert found == [one_by_one(backbone, text, context) for text in several]
    assert found == [backbone.encode(text, context) for text in several]
    assert len({id(ids) for ids in found}) == len(found)  # a caller may change one
    assert all(set(backbone._special_ids).isdisjoint(ids) for ids in found)


def test_the_tokenizer_is_asked_once_or_twice(backbone, monkeypatch):
    calls, tokenizer = [], backbone.tokenizer

    def counted(*args, **kwargs):
        calls.append(args)
        return tokenizer(*args, **kwargs)

    monkeypatch.setattr(backbone, "tokenizer", counted)
    backbone.encode_many(CORPUS * 100, "x")
    assert len(calls) <= 2
