"""The file format: what is written is read back, and a bad line is named."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.data.problems import Problem, ask_for_tokens, line_numbers, read_jsonl, write_jsonl

GOOD = {"id": "a", "question": "1+1?", "answer": "2"}
text = st.text(st.characters(exclude_categories=["Cs"]))
filled = text.filter(str.strip)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=5,
)
problems = st.builds(Problem, filled, filled, filled, text, st.dictionaries(text, json_values, max_size=3))


@given(st.lists(problems, min_size=1, max_size=5, unique_by=lambda p: p.id))
def test_round_trip(tmp_path_factory, written):
    """Would catch a lost field, ASCII escapes gone wrong, or lines cut at U+2028 and other odd line ends."""
    path = tmp_path_factory.mktemp("jsonl") / "x.jsonl"
    write_jsonl(written, path)
    assert read_jsonl(path) == written
    assert [p.name for p in path.parent.iterdir()] == ["x.jsonl"]


def test_optional_fields_blank_lines_and_byte_order_mark(tmp_path):
    """Would catch a required `source`, or an editor's byte-order mark taken for a syntax error."""
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b"\r\n\n")
    assert read_jsonl(path) == [Problem("a", "1+1?", "2", "", {})]


def test_problems_know_their_lines(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(f"\n{json.dumps(GOOD)}\n \n\n{json.dumps({**GOOD, 'id': 'b'})}")
    assert line_numbers(path) == [2, 5]


BAD_LINES = {
    "{": "expected a JSON object, got a syntax error",
    "[1]": "expected a JSON object, got list",
    json.dumps({"question": "q", "answer": "1"}): "field id: expected a string, got no such field",
    json.dumps({**GOOD, "id": 3}): "field id: expected a string, got 3; put it in quotes",
    json.dumps({**GOOD, "answer": 2}): "field answer: expected a string, got 2",
    json.dumps({**GOOD, "answer": " "}): "field answer: expected some text, got ' '",
    json.dumps({**GOOD, "source": None}): "field source: expected a string, got None",
    json.dumps({**GOOD, "meta": [1]}): r"field meta: expected an object, got \[1\]",
    json.dumps({**GOOD, "solution": "x"}): "field solution: expected only id, .*put it inside meta",
    json.dumps({**GOOD, "id": "b", "answer": "\ud800"}): "field answer: expected Unicode text",
    json.dumps(GOOD): "field id: expected an id of its own, got 'a' as in line 1",
}


@pytest.mark.parametrize("line", BAD_LINES)
def test_bad_line_is_named(tmp_path, line):
    """Would catch an error without the place, or a bad row that slips through."""
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(GOOD) + "\n" + line + "\n")
    with pytest.raises(ValueError, match=BAD_LINES[line]) as caught:
        read_jsonl(path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert "\n" not in str(caught.value)


def test_files_without_problems(tmp_path):
    """Would catch an empty training set that fails only inside the loop."""
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "latin.jsonl").write_bytes(b'{"id": "\xe4"}')
    with pytest.raises(ValueError, match="empty file"):
        read_jsonl(tmp_path / "empty.jsonl")
    with pytest.raises(ValueError, match="JSONL file of problems, got No such file"):
        read_jsonl(tmp_path / "missing.jsonl")
    with pytest.raises(ValueError, match=r"latin.jsonl:1: expected UTF-8, got byte 0xe4"):
        read_jsonl(tmp_path / "latin.jsonl")


def test_writing_what_could_not_be_read_is_refused(tmp_path):
    """Would catch a file that breaks only when it is read."""
    good = Problem("a", "q", "1")
    for bad, message in (
        ([], "at least one"),
        ([good, good], "'a' twice"),
        ([Problem("b", "", "1")], "field question"),
        ([Problem("b", "q", "\ud800")], "expected U"),
    ):
        with pytest.raises(ValueError, match=message):
            write_jsonl(bad, tmp_path / "x.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_a_problem_can_ask_for_tokens(tmp_path):
    """Catches a draw that depends on the order, a number of the data that is drawn anew, and one that is no number."""
    some = [Problem(str(n), "q", "a") for n in range(200)] + [Problem("own", "q", "a", meta={"target_tokens": 7})]
    asked = ask_for_tokens(some, 10, 12, seed=3)
    found = {problem.id: problem.meta["target_tokens"] for problem in asked}
    assert found.pop("own") == 7
    assert set(found.values()) == {10, 11, 12}
    again = ask_for_tokens(some[::-1], 10, 12, seed=3)
    assert {problem.id: problem.meta["target_tokens"] for problem in again} == found | {"own": 7}
    assert [p.meta for p in ask_for_tokens(some, 10, 12, seed=4)] != [p.meta for p in asked]
    file = tmp_path / "x.jsonl"
    for bad in ("60", 0, True, 2.5):
        file.write_text(json.dumps(GOOD | {"meta": {"target_tokens": bad}}))
        with pytest.raises(ValueError, match=r"x.jsonl:1: field meta.target_tokens: expected a whole number of at le"):
            read_jsonl(file)
