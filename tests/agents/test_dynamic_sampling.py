"""Dynamic sampling of answers that are right or wrong as a test has it: what is replaced, how often, and the bound."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from jaxreason.agents import dynamic_sampling
from jaxreason.agents.episode import Episode
from jaxreason.config import load
from jaxreason.data.problems import Problem
from jaxreason.grading.pool import Grades
from jaxreason.tasks.reading import Reasoning
from jaxreason.types import HostRollout, PromptBatch, on_host

G, T, L = 2, 4, 3
NONE, SOME, ALL = (False, False), (False, True), (True, True)


def config(**settings):
    return load(None, ["--grpo.dynamic_sampling=true", *(f"--grpo.{name}={value}" for name, value in settings.items())])


def episode(rows: list[int], of: list, **changed) -> Episode:
    """Groups of the data's rows; every array and list says which row it is of."""
    row_N = np.repeat(rows, G)
    right = np.array([of[row] for row in rows]).reshape(-1)
    shape = (len(rows), G)
    rollout = HostRollout(
        tokens=np.broadcast_to(row_N.reshape(*shape, 1), (*shape, T)).astype(np.int32),
        length=np.array([[row + 1] * G for row in rows], np.int32),
        logp=np.zeros((*shape, T), np.float32),
        finished=changed.get("finished", np.ones(shape, bool)),
    )
    prompt = on_host(PromptBatch, tokens=np.array([[row] * L for row in rows]), length=np.array(rows) + 1)
    return Episode(
        problems=[Problem(str(row), "?", "1") for row in rows],
        prompts={"reason": prompt},
        rollouts={"reason": rollout},
        reasonings=[Reasoning(str(row), [row], [0], None) for row in row_N.tolist()],
        grades=Grades(right, changed.get("gradable", np.ones(len(right), bool)), [f"of {row}" for row in row_N]),
        labels=[None] * len(right),
    )


def fill(of: list, P: int, conf, position: int = 0, easy: float = 0.0):
    """The filled episode and the numbers and rows of every further batch."""
    asked = []

    def rows(first, count):
        return [Problem(str(row), "?", "1") for row in range(first, first + count)]

    def answer(some, first):
        ids = [int(problem.id) for problem in some]
        asked.append((first, ids))
        return episode(ids, of)

    stream: Any = SimpleNamespace(rows=rows, num_problems=len(of))
    filler = dynamic_sampling.filler(stream, position, conf, easy)
    assert filler is not None
    return filler(episode([*range(position, position + P)], of), answer), asked


def test_groups_without_spread_are_replaced_by_the_problems_that_follow():
    """Catches an array or list that is put together in another order than the others, a row of the data skipped or met
    twice, and draws by a number that was used before."""
    of = [ALL, SOME, NONE, SOME, NONE, SOME, SOME, SOME, SOME]
    found, asked = fill(of, 4, config())
    assert asked == [(4, [4, 5, 6, 7])], "2 of 4 had spread, so 4 more for 2"
    rows = [1, 3, 5, 6]
    assert [int(problem.id) for problem in found.problems] == rows
    assert found.rollouts["reason"].tokens[:, 0, 0].tolist() == rows
    assert (found.rollouts["reason"].length[:, 1] - 1).tolist() == rows
    assert np.asarray(found.prompts["reason"].tokens)[:, 0].tolist() == rows
    assert np.asarray(found.prompts["reason"].length).tolist() == [row + 1 for row in rows]
    assert [reasoning.ids for reasoning in found.reasonings] == [[row] for row in rows for _ in range(G)]
    assert found.grades.status == [f"of {row}" for row in rows for _ in range(G)]
    assert found.grades.correct.tolist() == [False, True] * 4
    assert len(found.labels) == 8
    did = found.sampled
    assert did is not None
    assert (did.batches, did.groups, did.without_spread) == (2, 8, 0)
    assert did.replaced == 3, "0, 2 and 4; 7 had spread and is met again: the next step begins at 4 + 3"
    assert did.accuracy == pytest.approx((2 + 5) / 16), "of all eight groups"
    assert did.tokens_left_out == G * (1 + 3 + 5 + 8)


def test_the_next_step_begins_where_this_one_ended():
    of = [ALL, SOME, NONE, SOME, NONE, SOME, SOME, SOME, SOME]
    first, _ = fill(of, 4, config())
    second, asked = fill(of, 1, config(), position=4 + first.sampled.replaced)
    assert not asked
    assert [problem.id for problem in second.problems] == ["7"]


def test_a_batch_that_has_spread_everywhere_is_left_as_it_is():
    found, asked = fill([SOME] * 3, 3, config())
    assert not asked
    assert [problem.id for problem in found.problems] == ["0", "1", "2"]
    assert dynamic_sampling.metrics(found.sampled) == {
        "reason/num_gen_batches": 1,
        "reason/groups_sampled": 3,
        "reason/groups_replaced": 0,
        "reason/groups_without_spread": 0,
        "reason/groups_all_right": 0,
        "reason/easy_share": 0.0,
        "reason/sampled_accuracy": 0.5,
    }
    stream: Any = SimpleNamespace(num_problems=3)
    assert dynamic_sampling.filler(stream, 0, load(None, [])) is None, "off by default"


def test_a_curriculum_lets_groups_in_that_are_all_right():
    """Catches more of them than their share, those that are all wrong, and one let in that counts as missing."""
    of = [ALL, ALL, NONE, SOME, ALL, SOME, SOME, SOME]
    found, asked = fill(of, 4, config(), easy=0.25)
    assert asked == [(4, [4, 5, 6, 7])], "two of four were enough so far"
    assert [problem.id for problem in found.problems] == ["0", "3", "5", "6"]
    did = found.sampled
    assert did is not None
    assert (did.all_right, did.without_spread, did.replaced, did.easy_share) == (1, 0, 3, 0.25)
    found, _ = fill(of, 4, config(), easy=0.2)
    assert [problem.id for problem in found.problems] == ["3", "5", "6", "7"], "a fifth of four is none"


def test_the_bound_ends_it_with_what_was_found():
    """Catches a loop without end where no problem has spread, and a batch that shrinks."""
    of = [ALL, NONE, NONE, SOME, ALL, NONE, NONE, NONE, SOME, SOME]
    found, asked = fill(of, 2, config(max_num_gen_batches=3))
    assert [rows for _, rows in asked] == [[2, 3], [4, 5]]
    assert [problem.id for problem in found.problems] == ["0", "3"], "the first without spread makes up for it"
    assert (found.sampled.batches, found.sampled.without_spread, found.sampled.replaced) == (3, 1, 4)
    # No more than one pass through the data, whatever the bound.
    found, asked = fill([NONE] * 5, 2, config(max_num_gen_batches=50))
    assert [rows for _, rows in asked] == [[2, 3], [4]]
    assert (found.sampled.groups, found.sampled.without_spread) == (5, 2)
    found, asked = fill(of, 2, config(max_num_gen_batches=1))
    assert (asked, found.sampled.without_spread) == ([], 2)


def test_spread_is_among_answers_that_count():
    """A grader that broke, or an answer that is masked, must not pass for a wrong one."""
    of = [SOME, SOME, SOME]
    gradable = np.array([True, True, False, True, True, False])
    assert dynamic_sampling.spread(episode([0, 1, 2], of, gradable=gradable), config()).tolist() == [True, False, False]
    finished = np.array([[True, True], [False, True], [True, False]])
    cut = episode([0, 1, 2], of, finished=finished)
    assert dynamic_sampling.spread(cut, config()).tolist() == [True, True, False], "what is right but cut is wrong"
    masked = dynamic_sampling.spread(cut, config(mask_truncated_completions="true"))
    assert masked.tolist() == [True, False, False]
