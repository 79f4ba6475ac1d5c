import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_genrec.errors import GenRecError
from recbole_genrec.prompt.template import PromptTemplate, Segment, available_templates, load_template

TEMPLATES = [load_template(name) for name in available_templates()]
titles = st.lists(st.text(max_size=8), max_size=4)


def test_continuation_is_one_title_a_line():
    template = load_template("continuation")
    assert template.render(["Heat (1995)", "Fargo"]) == "Heat (1995)\nFargo\n"
    assert template.render(["Heat (1995)", "Fargo"], "Se7en") == "Heat (1995)\nFargo\nSe7en\n"
    assert template.render([]) == ""
    assert template.item_suffix == template.end and not template.ends_with_token


def test_instruction_has_instruction_input_and_response():
    template = load_template("instruction")
    assert template.render(["Heat (1995)", "Fargo"], "Se7en") == (
        "### Instruction:\n"
        "Given the items that a user has chosen so far, from the oldest to the latest, name the item that this user "
        "will choose next.\n\n"
        "### Input: Heat (1995), Fargo\n\n"
        "### Response: Se7en"
    )
    assert len(set(template.instructions)) == 4
    for number, instruction in enumerate(template.instructions):
        assert template.render(["Heat"], instruction=number).startswith(
            f"### Instruction:\n{instruction}\n\n### Input: Heat"
        )
    assert template.ends_with_token


def test_every_shipped_template_loads():
    assert available_templates() == [
        "continuation",
        "continuation-rated",
        "continuation-user",
        "instruction",
        "wordings",
        "wordings-user",
    ]
    for name in available_templates():
        template = load_template(name)
        assert template.name == name and template.version >= 1


@given(history=titles, target=st.none() | st.text(max_size=8))
def test_rendered_text_is_its_segments_in_order(history, target):
    for template in TEMPLATES:
        segments = template.segments(history, target)
        assert [segment.text for segment in segments if segment.kind == "item"] == history
        assert [segment.text for segment in segments if segment.kind == "target"] == (
            [] if target is None else [target]
        )
        assert template.render(history, target) == "".join(
            (template.lead if kind in ("item", "target") else "") + text for kind, text in segments
        )
        assert template.render(history, target).startswith(template.render(history))


def test_segments_name_their_kind():
    template = PromptTemplate(
        "t", 1, "eos", prefix="<", lead=" ", item_prefix=",", item_suffix=";", response_prefix=">"
    )
    assert template.segments(["a", "b"], "c") == [
        Segment("prefix", "<"),
        Segment("item", "a"),
        Segment("item_suffix", ";"),
        Segment("item_prefix", ","),
        Segment("item", "b"),
        Segment("item_suffix", ";"),
        Segment("response_prefix", ">"),
        Segment("target", "c"),
        Segment("end", ""),
    ]
    assert template.render(["a", "b"], "c") == "< a;, b;> c"


def test_values_of_interactions_stand_around_their_items():
    template = PromptTemplate("t", 1, "\n", item_prefix="{gap}: ", item_suffix=" ({stars} stars, {gap})\n")
    assert (template.value_fields, template.value_columns, template.tells_gap) == (("gap", "stars"), ("stars",), True)
    values = [{"stars": "4"}, {"stars": "5", "gap": "at once"}, {"gap": "a day later"}, {}]
    assert template.render(list("abcd"), "e", values=values) == (
        "a (4 stars)\nat once: b (5 stars, at once)\na day later: c (a day later)\n: d\ne\n"
    )
    assert template.render(["a", "b"]) == "a\n: b\n"
    assert load_template("continuation").value_fields == ()


@pytest.mark.parametrize("key", ["lead", "response_prefix", "end"])
def test_values_elsewhere_are_refused(key):
    with pytest.raises(GenRecError, match=f"{key!r} has the field .rating.*'item_suffix' alone"):
        PromptTemplate(**{"name": "t", "version": 1, "end": "eos", key: "{rating}"})


def test_braces_in_titles_and_instructions_are_text():
    template = PromptTemplate("t", 1, "\n", instructions=("{x} {instruction}",), prefix="{instruction} {y}\n")
    assert template.render(["{instruction}"]) == "{x} {instruction} {y}\n{instruction}"


def test_a_template_loads_from_a_path(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text('version: 3\nend: "|"\nlead: "~"\n', encoding="utf-8")
    assert load_template(str(path)) == PromptTemplate("mine", 3, "|", lead="~")
    assert load_template(path).render(["a"], "b") == "~a~b|"


def test_templates_are_frozen_and_hashable():
    template = load_template("instruction")
    assert hash(template) == hash(load_template("instruction"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        template.lead = ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("version: 1\nend: eos\nsufix: x\n", r"mine\.yaml.*'sufix'.*Known:.*item_suffix"),
        ("version: 1\n", r"mine\.yaml lacks the key 'end'"),
        ("end: eos\n", r"mine\.yaml lacks the key 'version'"),
        ("version: one\nend: eos\n", "'version' must be a whole number"),
        ("version: 1\nend: ''\n", "'end' .*cannot be empty"),
        ("version: 1\nend: eos\nlead: 3\n", "'lead' must be text"),
        ("version: 1\nend: eos\ninstructions: pick\n", "'instructions' must be a list"),
        ("version: 1\nend: eos\ninstructions: [1]\n", "every one of 'instructions'"),
        ("version: 1\nend: eos\ninstructions: [pick]\n", "go together"),
        ("version: 1\nend: eos\nprefix: '{instruction}'\n", "go together"),
        ("- version\n", "'key: value'"),
        ("version: [\n", r"mine\.yaml, line 2: not valid YAML"),
    ],
)
def test_bad_files_are_refused(tmp_path, content, message):
    path = tmp_path / "mine.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(GenRecError, match=message):
        load_template(path)


def test_unknown_templates_list_the_known_ones(tmp_path):
    with pytest.raises(
        GenRecError,
        match=r"'instructions'. Did you mean 'instruction'\? Known: continuation, continuation-rated, ",
    ):
        load_template("instructions")
    with pytest.raises(
        GenRecError,
        match=r"none\.yaml does not exist. Shipped: continuation, continuation-rated, ",
    ):
        load_template(tmp_path / "none.yaml")


def test_users_stand_before_the_history():
    template = load_template("continuation-user")
    assert template.names_user and template.user_lead == " " and template.around_user() == ("Chosen by", ":\n")
    assert template.prefix_text(user="a 24 year old") == "Chosen by a 24 year old:\n"
    assert template.prefix_text() == "Chosen by:\n"
    assert not load_template("continuation").names_user
    wordings = load_template("wordings-user")
    assert [wordings.prefix_text(number, "me") for number in range(2)] == [
        "What me has chosen, the oldest title first:\n",
        "Titles in the order in which they were chosen by me:\n",
    ]
    worded = wordings.worded(wordings.held_out[0])
    assert worded.prefix_text(0, "me") == "A history of me, from its beginning:\n" and worded.held_out == ()
