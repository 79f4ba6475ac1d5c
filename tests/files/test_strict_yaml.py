"""YAML that is ambiguous, dangerous or wrong is refused with its line; all other YAML is what PyYAML makes of it."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_genrec.errors import GenRecError
from recbole_genrec.files.strict_yaml import MOST_VALUES, YamlProblem, load_yaml, read_yaml_file

BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcde", "bcdef")
)


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2", 4, "the key 'c' is given twice"),
        ("[{x: 1}, {x: 1, x: 2}]", 1, "the key 'x' is given twice"),
        (BOMB, 5, f"more than {MOST_VALUES:,} values, its aliases unfolded"),
        ("a: &a\n  b: *a", 1, "a value that holds itself"),
        ("a: 1\nb: 2020-13-45", 2, "'2020-13-45' is not a value of type 'timestamp'"),
        ("a: !!int x", 1, "'x' is not a value of type 'int'"),
        ("a: !!bool x", 1, "'x' is not a value of type 'bool'"),
        ("a: !!timestamp x", 1, "'x' is not a value of type 'timestamp'"),
        ("a: " + "9" * 5000, 1, "is not a value of type 'int'"),
        ("a: !!python/object/apply:os.system ['true']", 1, "could not determine a constructor"),
        ("? [a, b]\n: 1", 1, "found unhashable key"),
        ("a: [1\n", 2, "expected ',' or ']'"),
        ("[" * 3000, None, "nested too deeply"),
        ("a: \x00", None, "special characters are not allowed"),
    ],
)
def test_what_is_refused(tmp_path, text, line, problem):
    with pytest.raises(YamlProblem, match=problem) as raised:
        load_yaml(text)
    assert raised.value.line == line
    (tmp_path / "mine.yaml").write_text(text, "utf-8")
    place = "" if line is None else f", line {line}"
    with pytest.raises(GenRecError, match=f"mine.yaml{place}: not valid YAML: .*{problem}"):
        read_yaml_file(tmp_path / "mine.yaml")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(values)
def test_other_values_are_those_of_pyyaml(value):
    text = yaml.safe_dump(value, allow_unicode=True)
    assert load_yaml(text) == yaml.safe_load(text)


def test_aliases_and_merges_stay(tmp_path):
    text = "base: &base {a: 1, b: 2}\nmine:\n  <<: *base\n  b: 3\nagain: *base\n"
    assert load_yaml(text) == {"base": {"a": 1, "b": 2}, "mine": {"a": 1, "b": 3}, "again": {"a": 1, "b": 2}}
    (tmp_path / "mark.yaml").write_bytes(b"\xef\xbb\xbf" + text.encode())  # as editors on Windows write it
    assert read_yaml_file(tmp_path / "mark.yaml") == load_yaml(text)
    assert load_yaml("") is None


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / "mine.yaml").write_bytes("a: 1".encode("utf-16"))
    with pytest.raises(GenRecError, match="mine.yaml' is not UTF-8 text"):
        read_yaml_file(tmp_path / "mine.yaml")
    with pytest.raises(GenRecError, match="Cannot read prompt file .*other.yaml'"):
        read_yaml_file(tmp_path / "other.yaml", "prompt file ")
