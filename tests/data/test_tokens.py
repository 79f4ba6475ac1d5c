"""Golden token ids: what the model reads, token by token."""

import pytest

from recbole_genrec.arguments import BackboneArguments
from recbole_genrec.backbone.scratch import build_scratch, train_tokenizer
from recbole_genrec.data.tokens import item_context, tokenize_prompt
from recbole_genrec.errors import GenRecError
from recbole_genrec.prompt.template import PromptTemplate, load_template

TITLES = ["Alien", "Alien Nation", "Toy Story"]
MADE_OF = ["Alien", "Toy"]  # the tokenizer knows these words and no others


@pytest.fixture(scope="module")
def backbone():
    return build_scratch(BackboneArguments(scratch_vocab_size=300), MADE_OF)


def tokens_of(backbone, template):
    context = item_context(template)
    identifiers = [tuple(backbone.encode(template.lead + title, context)) for title in TITLES]
    return identifiers, tokenize_prompt(template, backbone, identifiers)


def pieces(backbone, ids):
    return backbone.tokenizer.convert_ids_to_tokens(list(ids))


def test_continuation_in_tokens(backbone):
    identifiers, tokens = tokens_of(backbone, load_template("continuation"))
    assert [pieces(backbone, identifier) for identifier in identifiers] == [
        ["Alien"],
        ["Alien", "Ġ", "N", "a", "t", "i", "o", "n"],
        ["Toy", "Ġ", "S", "t", "o", "r", "y"],
    ]
    assert identifiers == [(263,), (263, 223, 48, 67, 86, 75, 81, 80), (264, 223, 53, 86, 81, 84, 91)]
    assert [pieces(backbone, prefix) for prefix in tokens.prefixes] == [["<s>"]]
    assert pieces(backbone, [tokens.end]) == ["Ċ"]
    assert pieces(backbone, tokens.item_token[tokens.item_offset[1] : tokens.item_offset[2]]) == ["Alien", "Ċ"]
    assert tokens.item_offset[:2].tolist() == [0, 0]
    assert (tokens.between, tokens.response.tolist(), tokens.continues) == (0, [], True)


def test_instruction_in_tokens(backbone):
    template = load_template("instruction")
    identifiers, tokens = tokens_of(backbone, template)
    assert pieces(backbone, identifiers[0]) == ["Ġ", "Alien"]
    assert len(tokens.prefixes) == len(template.instructions) > 1
    for number, prefix in enumerate(tokens.prefixes):
        assert prefix[0] == backbone.bos_id
        assert backbone.tokenizer.decode(prefix[1:]) == template.prefix_text(number)
    assert tokens.end == backbone.eos_id
    assert pieces(backbone, tokens.item_token[: tokens.between]) == [","]
    assert backbone.tokenizer.decode(tokens.response) == template.response_prefix
    assert not tokens.continues


def test_the_scratch_tokenizer_is_the_same_every_time():
    corpus = ["The Return of the Jedi", "The Return of the King", "The Return"] * 3
    first, second = (train_tokenizer(corpus, 280) for _ in range(2))
    assert first.get_vocab() == second.get_vocab()
    assert first.tokenize("The Return of the King") == ["TheĠReturnĠofĠtheĠKi", "ng"]  # merges cross spaces


@pytest.mark.parametrize("title", ["</s>", "<s> Heat", "a<pad>b", "<|endoftext|>", "é日本", "\x00", "'s 'll", "  two"])
def test_titles_are_plain_text(backbone, title):
    ids = backbone.encode(title, "\n")
    assert set(ids).isdisjoint(backbone.tokenizer.all_special_ids)
    assert backbone.tokenizer.decode(ids) == title


def test_an_end_of_several_tokens_is_refused(backbone):
    template = PromptTemplate(name="long", version=1, end=" The End")
    with pytest.raises(GenRecError, match="'end'.*one token"):
        tokens_of(backbone, template)
