"""YAML files: what is read, with its lines, and hostile ones that are refused in a sentence."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pylm.config.yaml_file import MOST_BYTES, Mapped, read_yaml
from pylm.errors import ConfigError


def plain(value):
    if isinstance(value, Mapped):
        return {key: plain(item) for key, item in value.values.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def read(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_yaml(path, "c.yaml")


def test_values_and_lines(tmp_path):
    top = read(tmp_path, "# first\na:\n  b: 1e-3\n  c: [1, x, null]\n\n  d: 'null'\ne: {f: yes, g: true}\nh:\n")
    assert plain(top) == {
        "a": {"b": "1e-3", "c": ["1", "x", None], "d": "null"},
        "e": {"f": "yes", "g": True},
        "h": None,
    }
    assert top.lines == {"a": 2, "e": 7, "h": 8}
    assert top.values["a"].lines == {"b": 3, "c": 4, "d": 6}


def test_empty_files_json_and_byte_order_marks(tmp_path):
    assert plain(read(tmp_path, "")) == {} == plain(read(tmp_path, "# nothing\n---\n"))
    assert plain(read(tmp_path, '{"a": {"b": 1}}')) == {"a": {"b": "1"}}
    assert plain(read(tmp_path, b"\xef\xbb\xbfa: 1")) == {"a": "1"}


# a thousand million ones, of nine lists of nine
LAUGHS = "\n".join(["a0: &a0 1"] + [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)])

# JSON is YAML; what a text means is left to the key that it is given to
texts = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"], exclude_characters="\x85\u2028\u2029\ufeff")
)
keys = texts.filter(lambda key: len(json.dumps(key)) < 1000)  # a key of YAML has at most 1,024 characters
values = st.recursive(
    st.none() | st.booleans() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(keys, values, max_size=4))
def test_whatever_json_says_is_read_as_it_is(tmp_path_factory, tree):
    path = tmp_path_factory.mktemp("json") / "c.json"
    path.write_text(json.dumps(tree), encoding="utf-8")
    assert plain(read_yaml(path)) == tree


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: 1\nb: 2\na: 3\n", "c.yaml:3: a is given twice, first on line 1"),
        ("a:\n  b: 1\n  b: 1\n", "c.yaml:3: b is given twice"),
        ("- a\n", r"c.yaml:1: expected sections \(model:, train:, …\), found a list"),
        ("\n\nhello\n", "c.yaml:3: expected sections .* found a single value"),
        ("a: [1\n", "c.yaml:2: not YAML: "),
        ("a: b: c\n", "c.yaml:1: not YAML: mapping values are not allowed here"),
        ("\ta: 1\n", "c.yaml:1: not YAML"),
        ("a: *b\n", "c.yaml:1: not YAML: found undefined alias 'b'"),
        ("a: 1\n---\nb: 2\n", "c.yaml:2: not YAML: but found another document"),
        ("? [a]\n: 1\n", "c.yaml:1: a key must be a word"),
        ("a: !!python/object/apply:os.system ['true']\n", "c.yaml:1: the tag .*python.* has no meaning here"),
        ("a: !!python/name:os.system x\n", "c.yaml:1: the tag"),
        ("a: !mine x\n", "c.yaml:1: the tag !mine has no meaning"),
        (b"a: \xff\n", "c.yaml is not UTF-8 text: byte 3"),
        (b"a: \x00\n", "c.yaml: not YAML: "),
        (r'{"a": "\ud800"}', "c.yaml:1: half a character"),
        ("[" * 5000, "c.yaml"),
        ("a: " + "{b: " * 40 + "1" + "}" * 40, "c.yaml:1: nested more than 20 deep"),
        (b"a: " + b"x" * MOST_BYTES, "too much for a configuration"),
        ("a: &x [*x]\n", "nested more than 20 deep|more than"),
        (LAUGHS, "more than 20000 values once its aliases are followed"),
    ],
)  # fmt: skip
def test_hostile_files_are_refused_in_a_sentence(tmp_path, text, sentence):
    started = time.perf_counter()
    with pytest.raises(ConfigError, match=sentence) as caught:
        read(tmp_path, text)
    assert "\n" not in caught.value.message and len(caught.value.message) < 300
    assert time.perf_counter() - started < 20


@given(st.binary(max_size=200))
def test_no_bytes_make_it_fall(tmp_path_factory, raw):
    path = tmp_path_factory.mktemp("raw") / "c.yaml"
    path.write_bytes(raw)
    try:
        assert isinstance(read_yaml(path), Mapped)
    except ConfigError:
        pass
