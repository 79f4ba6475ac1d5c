"""Golden token ids: what the model reads, token by token."""

import pytest

from recbole_genrec.backbone.scratch import build_scratch, train_tokenizer
from recbole_genrec.batches.tokens import append_items, item_context, prepend_examples, template_parts, tokenize_prompt
from recbole_genrec.config.arguments import BackboneArguments
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


TEMPLATES = {
    "continuation": load_template("continuation"),
    "instruction": load_template("instruction"),
    "lists": PromptTemplate(name="lists", version=1, end="eos", lead=" ", item_prefix=" then", prefix="Seen:"),
    "suffixes": PromptTemplate(name="s", version=1, end="|", item_suffix="!", response_prefix="?", item_prefix="; "),
}


def rendered(template, history, target=None):
    return template.render([TITLES[item - 1] for item in history], *([] if target is None else [TITLES[target - 1]]))


@pytest.mark.parametrize("name", TEMPLATES)
def test_examples_stand_before_the_prompt_as_the_template_renders_them(backbone, name):
    template = TEMPLATES[name]
    identifiers, tokens = tokens_of(backbone, template)
    few = prepend_examples(tokens, template, backbone, identifiers, [([2, 3], 1), ([1], 2)])
    (prefix,) = few.prefixes
    assert prefix[0] == backbone.bos_id and (prefix == backbone.bos_id).sum() == 1
    shown = [rendered(template, history, target) for history, target in ([[2, 3], 1], [[1], 2])]
    text = backbone.tokenizer.decode(prefix[1:], skip_special_tokens=True)
    assert text == "".join(f"{example}\n" for example in shown) + template.prefix_text()
    assert few.item_token is tokens.item_token


@pytest.mark.parametrize("name", TEMPLATES)
def test_parts_write_the_prompts_that_the_template_renders(backbone, name):
    template = TEMPLATES[name]
    identifiers, _ = tokens_of(backbone, template)
    parts = template_parts(template, backbone)
    for history in ([], [1], [3, 1, 2]):
        written = parts.write([list(identifiers[item - 1]) for item in history])
        assert backbone.tokenizer.decode(written, skip_special_tokens=True) == rendered(template, history)


def test_more_items_stand_behind_those_of_a_table(backbone):
    template = TEMPLATES["suffixes"]
    identifiers, whole = tokens_of(backbone, template)
    first, rest = (tokenize_prompt(template, backbone, part) for part in (identifiers[:1], identifiers[1:]))
    joined = append_items(first, rest)
    assert joined.item_token.tolist() == whole.item_token.tolist()
    assert joined.item_offset.tolist() == whole.item_offset.tolist()


@pytest.mark.parametrize(("changes", "context"), [
    ({"response_prefix": "?", "item_suffix": "!"}, "?"), ({"item_suffix": "!"}, "!"), ({}, ""),
])  # fmt: skip
def test_an_identifier_is_tokenised_after_what_stands_before_it(changes, context):
    assert item_context(PromptTemplate(name="x", version=1, end="eos", **changes)) == context
