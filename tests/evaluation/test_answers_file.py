"""The rows beside an evaluation against its table: whoever counts again must find the same."""

import dataclasses
import json

import numpy as np
import pytest

from jaxreason.agents import reasoner, rows
from jaxreason.evaluation import graders
from jaxreason.grading.pool import Grades, Pool
from jaxreason.types import HostRollout
from tests import runs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    return runs.warm(tmp_path_factory)


def test_the_table_can_be_counted_again_from_the_rows(warm, tmp_path, monkeypatch, capsys):
    """A cut answer whose text held the right box was right in the file and wrong in the table."""
    reason, read = reasoner.sample, reasoner.read_answers

    def cut(*arguments, **named):
        asked, rollout = reason(*arguments, **named)
        return asked, dataclasses.replace(rollout, finished=rollout.finished.at[::2].set(False))

    def all_right(*arguments):
        found = read(*arguments)
        return found._replace(grades=found.grades._replace(correct=np.ones_like(found.grades.correct)))

    monkeypatch.setattr(reasoner, "sample", cut)
    monkeypatch.setattr(reasoner, "read_answers", all_right)
    output = tmp_path / "x.json"
    assert runs.main(["evaluate", str(warm), "--output", str(output)]) == 0
    told = capsys.readouterr().out
    found = json.loads(output.read_text())
    written = [json.loads(line) for line in output.with_suffix(".jsonl").read_text().splitlines()]
    assert {row["mode"] for row in written} == {"sampled", "greedy"}
    for mode, table in (("sampled", found["table"]), ("greedy", found["table"]["greedy"])):
        mine = [row for row in written if row["mode"] == mode]
        assert np.mean([row["exact_match"] for row in mine]) == pytest.approx(table["accuracy"])
        assert 0 < table["accuracy"] <= 0.5
        for source, part in table["by_source"].items():
            of_source = [row["exact_match"] for row in mine if row["doc"]["source"] == source]
            assert np.mean(of_source) == pytest.approx(part["accuracy"])
        right = sum(row["exact_match"] for row in mine)
        strings = sum(row["exact_match_string"] for row in mine)
        differs = sum(row["exact_match_string"] != row["exact_match"] for row in mine)
        assert found["graders"][mode] == {
            "exact_match": {"answers": len(mine), "right": right, "differs": 0},
            "exact_match_string": {"answers": len(mine), "right": strings, "differs": differs},
        }
        line = f"{mode}: {right} of {len(mine)} answers right; by string comparison {strings} ({differs} judged"
        assert line in told
        assert not any(row["exact_match_string"] for row in mine if row["finish_reason"] == "length")


@pytest.mark.parametrize(("require_eos", "expected"), [(True, [1, 0, 0, 0]), (False, [1, 1, 0, 0])])
def test_a_cut_answer_counts_as_the_reward_counts_it(require_eos, expected):
    grades = Grades(np.array([True, True, False, False]), np.ones(4, bool), ["ok"] * 4)
    finished_PG = np.array([[True, False], [True, False]])
    names = [field.name for field in dataclasses.fields(HostRollout)]
    rollout = HostRollout(**dict.fromkeys(names, np.zeros((2, 2))) | {"finished": finished_PG})
    found = rows.counted_right(rollout, grades, require_eos=require_eos)
    assert found.shape == (2, 2)
    assert found.reshape(-1).tolist() == [bool(x) for x in expected]


def test_three_graders_of_the_same_answers():
    """Would catch verdicts in another order, a cut answer that only one grader calls wrong, a bomb that hangs."""
    predictions = ["1/2", "2+2", "4", None, "7^{7^{7^{7}}}", "4"]
    counted = np.array([True, True, True, True, True, False])
    with Pool(num_workers=1, timeout_s=1.0) as pool:
        found = graders.judge(predictions, ["0.5", "4", "4", "4", "4", "4"], counted, pool)
    assert [row["exact_match_string"] for row in found] == [0, 0, 1, 0, 0, 0]
    assert [row["exact_match_math_verify"] for row in found] == [1, 1, 1, 0, 0, 0]
    ours = [{"exact_match": right} | row for right, row in zip([1, 0, 1, 0, 0, 0], found, strict=True)]
    assert graders.disagreement(ours) == {
        "exact_match": {"answers": 6, "right": 2, "differs": 0},
        "exact_match_string": {"answers": 6, "right": 1, "differs": 1},
        "exact_match_math_verify": {"answers": 6, "right": 3, "differs": 1},
    }
