"""Released columns against hand-written rows of the same form."""

import json

import pyarrow
import pytest
from pyarrow import parquet

from jaxreason.cli import main
from jaxreason.data.problems import Problem, read_jsonl
from jaxreason.data.released import convert

GSM8K = {
    "question": "A box holds 12 jars. How many jars do 100 boxes hold?",
    "answer": "Each holds 12.\nSo 100*12=<<100*12=1200>>1200 jars.\n#### 1,200",
}
DEEPSCALER = {"problem": "What is $\\frac{1}{2}+\\frac{1}{2}$?", "answer": "1", "solution": "They add up to 1."}
MATH = {"problem": "Factor.", "solution": "", "answer": "(x-1)^2", "subject": "Algebra", "level": 2, "unique_id": "t/1"}


def test_gsm8k_keeps_the_result_alone(tmp_path):
    """A comma, or the worked solution, left in the answer would make every right completion wrong."""
    file = tmp_path / "train.jsonl"
    file.write_text(json.dumps(GSM8K) + "\n\n" + json.dumps({**GSM8K, "answer": "#### -3"}) + "\n")
    first, second = convert(file, "gsm8k/train").problems
    assert first == Problem("gsm8k/train/1", GSM8K["question"], "1200", "gsm8k/train", {})
    assert (second.id, second.answer) == ("gsm8k/train/2", "-3")


def test_the_columns_of_math(tmp_path):
    """One array of JSON, as DeepScaleR comes; a number as answer; rows without an answer are counted, not asked."""
    file = tmp_path / "deepscaler.json"
    rows = [DEEPSCALER, {**DEEPSCALER, "answer": 7}, {**DEEPSCALER, "answer": ""}, {**DEEPSCALER, "answer": None}, MATH]
    file.write_text(json.dumps(rows, indent=2))
    found = convert(file, "deepscaler")
    assert found.empty == [3, 4]
    assert [p.answer for p in found.problems] == ["1", "7", "(x-1)^2"]
    assert found.problems[2].id == "t/1"
    assert found.problems[2].meta == {"subject": "Algebra", "level": 2}


def test_parquet_is_read(tmp_path):
    """The form in which openai/gsm8k lies on the hub."""
    parquet.write_table(pyarrow.Table.from_pylist([GSM8K, GSM8K]), tmp_path / "train.parquet")
    assert [p.answer for p in convert(tmp_path / "train.parquet", "gsm8k").problems] == ["1200", "1200"]


def test_the_command_writes_what_a_run_reads(tmp_path, capsys):
    file, to = tmp_path / "train.jsonl", tmp_path / "gsm8k.jsonl"
    file.write_text(json.dumps(GSM8K))
    assert main(["data", "convert", str(file), "--source", "gsm8k/train", "--to", str(to)]) == 0
    assert [p.answer for p in read_jsonl(to)] == ["1200"]
    assert "1 problems of gsm8k/train written" in capsys.readouterr().out
    assert main(["data", "convert", str(file), "--to", str(to)]) == 2
    assert "is there already" in capsys.readouterr().err


BAD = [
    ("x.jsonl", json.dumps({"question": "1+1?", "answer": "2"}), "expected it to end in `####`"),
    ("x.jsonl", json.dumps({"prompt": "1+1?", "answer": "2"}), ":1: expected the columns of GPQA"),
    ("x.jsonl", "[1]", "row 1: expected an object of columns, got int"),
    ("x.jsonl", "{", "syntax error"),
    ("x.jsonl", "", "expected at least one problem"),
    ("x.parquet", "no", "expected a Parquet file"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD)
def test_what_cannot_be_converted_is_said(tmp_path, name, content, message):
    file = tmp_path / name
    file.write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        convert(file, "s")
    assert str(file) in str(error.value)


@pytest.mark.parametrize("name", ["none.jsonl", "none.parquet"])
def test_a_file_that_is_not_there(tmp_path, name):
    with pytest.raises(ValueError, match="No such file"):
        convert(tmp_path / name, "s")
