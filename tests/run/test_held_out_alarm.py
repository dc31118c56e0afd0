"""Alarm G: accuracy that was lost and does not come back, as evaluations tell it."""

import json

import numpy as np
import pytest

from jaxreason.config import MonitorConfig
from jaxreason.run import held_out_alarm, monitor
from tests import runs

ADAPTING, SETTLED = False, True


def _first(accuracies, settled_from=2, problems=504):
    """Number of the evaluation that sets it off, 0 for the one before training; None where none does."""
    points = []
    for n, accuracy in enumerate(accuracies):
        points.append((n, accuracy, problems, n >= settled_from))
        if held_out_alarm.sign(points):
            return n
    return None


@pytest.mark.parametrize(
    ("accuracies", "settled_from", "expected"),
    [
        ([0.65, 0.52, 0.47, 0.50, 0.49, 0.50], 2, 4),  # became short and wrong, and stayed so
        ([0.64, 0.53, 0.46, 0.48, 0.52, 0.70, 0.81], 3, None),  # the dip that is earned back
        ([0.65, 0.49, 0.47, 0.49, 0.57, 0.91], 3, None),
        ([0.64, 0.62, 0.63, 0.60, 0.55, 0.56, 0.53], 2, 6),  # slowly
        ([0.65, 0.45, 0.45, 0.45, 0.45], 9, None),  # lengths are still being adapted
        ([0.65, 0.65, 0.64, 0.65, 0.63, 0.65], 1, None),  # noise
        ([0.6, 0.9, 0.7, 0.71, 0.7], 1, 4),  # what was lost may have been won before
    ],
)
def test_a_fall_that_stays_is_an_alarm_and_a_dip_is_none(accuracies, settled_from, expected):
    assert _first(accuracies, settled_from) == expected


@pytest.mark.parametrize("problems", [128, 512])
def test_noise_of_the_evaluated_problems_is_no_alarm_and_a_fall_in_it_is_one(problems):
    """Catches a threshold that the best of many noisy evaluations crosses, as one of two standard errors did in every
    seventh run: of 200 runs of 20 evaluations of a policy that stays as it is, in five at most. One that falls from
    0.65 to 0.35 gives it within seven evaluations, nearly always."""
    steady = falls = 0
    for seed in range(200):
        draw = np.random.default_rng(seed)
        steady += _first(draw.binomial(problems, 0.65, 20) / problems, 0, problems) is not None
        after = np.where(np.arange(20) < 5, 0.65, 0.35)
        falls += _first(draw.binomial(problems, after) / problems, 0, problems) in range(7, 12)
    assert steady <= 5
    assert falls >= 194


def test_an_evaluation_is_noted_once_with_the_stage_it_was_made_in():
    """Catches a resumed run that counts an evaluation twice, and one that counts its base after later ones."""
    table = {"accuracy": 0.5, "problems": 10}
    state = held_out_alarm.noted({}, 0, table)
    state = held_out_alarm.noted(state | {"stage": 2}, 40, table)
    assert state["evaluated"] == [(0, 0.5, 10, ADAPTING), (40, 0.5, 10, SETTLED)]
    for step in (0, 40):
        assert held_out_alarm.noted(state, step, table) == state


def test_the_monitor_gives_it_after_the_evaluation_and_once():
    low = {"accuracy": 0.3, "problems": 500}
    state = held_out_alarm.noted({}, 0, {"accuracy": 0.6, "problems": 500})
    given = []
    for step in range(1, 61):
        state, _ = monitor.observe(state, {"step": step}, MonitorConfig(), limit=10)
        state = json.loads(json.dumps(state | {"stage": 2}))
        given += [step] * ("G" in state["new"])
        if step % 10 == 0:
            state = held_out_alarm.noted(state, step, low)
    assert given == [31]


def test_a_masking_that_is_known_to_collapse_is_named_at_the_launch(tmp_path, capsys):
    """It is the earliest sign there is: when metrics show it, half of the accuracy is gone."""
    for masking, named in (("-I", True), ("-L&C", False)):
        runs.train(tmp_path / masking, f"--reward.masking={masking}", "--data.task=math", "--data.train=/nowhere")
        assert ("accuracy collapsed" in " ".join(capsys.readouterr().out.split())) is named
