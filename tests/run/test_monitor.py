"""The alarms, replayed over published collapses and over the helpers' own ways of failing."""

import collections
import csv
import json
from pathlib import Path

import numpy as np
import pytest

from jaxreason.config import MonitorConfig
from jaxreason.run import monitor

CURVES = Path(__file__).parent / "art_curves.csv"
COLUMNS = {
    "entropy": monitor.ENTROPY,
    "p_pos": monitor.POSITIVE_SHARE,
    "len_pos": monitor.LENGTH_RIGHT,
    "len_neg": monitor.LENGTH_WRONG,
}


def _replay(rows, *, limit=160, target=0, window=20, through_json=False, **settings):
    """First step at which each kind of warning was given."""
    state, first = {}, {}
    for row in rows:
        state, warnings = monitor.observe(
            state, row, MonitorConfig(window=window), limit=limit, target=target, **settings
        )
        if through_json:
            state = json.loads(json.dumps(state, allow_nan=False))
        for warning in warnings:
            kind = warning.split(": ")[1]
            first.setdefault("D2" if warning.endswith("or stop") else kind, row["step"])
    return first


def _curves():
    runs = collections.defaultdict(list)
    with CURVES.open() as file:
        for row in csv.DictReader(line for line in file if not line.startswith("#")):
            values = {COLUMNS[name]: float(row[name]) for name in COLUMNS if row[name]}
            runs[row["run"]].append({"step": int(row["step"]), **values})
    return runs


@pytest.mark.parametrize(
    ("run", "limit", "expected"),
    [
        ("Truncate", 16384, {}),
        ("Kimi", 16384, {"A": 90, "C": 110, "E": 390}),
        ("-I", 16384, {"A": 130, "C": 80, "D": 320, "D2": 330, "E": 330}),
        ("-L&C", 16384, {"D": 680}),
        ("-L&C-S&I", 16384, {"A": 240, "C": 270, "D": 450, "D2": 460, "E": 470}),
        ("-L&C-L&I", 16384, {"A": 260, "D": 150, "D2": 180, "E": 690, "F": 390}),
        ("S=4", 4096, {"D": 510, "D2": 580}),
        ("S=16", 4096, {"A": 300, "D": 220, "D2": 260, "E": 450}),
    ],
)
def test_alarms_come_when_the_published_runs_collapse_and_not_in_healthy_ones(run, limit, expected):
    """Steps as replayed from the curves one point at a time; a window of two points may come one point later.

    S=4 crosses the length threshold at a single point, which the window must smooth away.
    """
    found = _replay(_curves()[run], limit=limit, target=4096)
    assert found.keys() == expected.keys()
    for sign, step in expected.items():
        assert step <= found[sign] <= step + 10, sign


def test_entropy_that_falls_because_answers_become_right_is_no_sign():
    """Catches the alarm that a healthy first run used to end with: 0.62 to 0.97 right, and answers vary less."""
    learning = {
        "reason__entropy": lambda s: 0.4 - 0.003 * s,
        "reason__reward__positive_share": lambda s: 0.6 + 0.004 * s,
    }
    assert not _replay(_steps(90, **learning))
    stuck = learning | {"reason__reward__positive_share": lambda s: min(0.6 + 0.004 * s, 0.7) - 0.0001 * s}
    assert _replay(_steps(90, **stuck)).keys() == {"C"}


@pytest.mark.parametrize("problems", [12, 128])
def test_the_noise_of_few_problems_is_no_sign_and_a_collapse_in_it_is_one(problems):
    """Catches alarms that a steady run of 12 problems a step sets off, as healthy ones of the quickstart's size did,
    and a guard against them behind which a collapse stays unseen. The share is of problems that are right with 0.7 or,
    from step 150 on, ever less often; right answers have 30 tokens or, from then on, ever more."""
    late = {"A": 0, "E": 0}
    for seed in range(20):
        draw = np.random.default_rng(seed)
        worse = np.clip(np.arange(201) - 150, 0, None) / 50
        share = draw.binomial(problems, 0.7 * (1 - 0.8 * worse)) / problems
        length = draw.normal(30 * (1 + 1.5 * worse), 12 / problems**0.5)
        row = {"reason__reward__positive_share": share, "reason__completions__mean_length_right": length}
        found = _replay(_steps(200, **{name: each.__getitem__ for name, each in row.items()}), limit=208, window=10)
        assert found.keys() == {"A", "E"}
        assert min(found.values()) > 150, f"seed {seed}"
        late = {sign: max(late[sign], found[sign]) for sign in late}
    assert max(late.values()) <= (185 if problems == 12 else 165), late


def test_memory_survives_a_checkpoint():
    """A resumed run must not forget the best it had, nor warn again of what it already said."""
    rows = _curves()["-L&C-L&I"]
    assert _replay(rows, limit=16384, target=4096, through_json=True) == _replay(rows, limit=16384, target=4096)


def test_the_state_that_went_in_is_not_changed():
    before, _ = monitor.observe({}, {"step": 1, monitor.ENTROPY: 1.0}, MonitorConfig(), limit=10)
    kept = json.dumps(before)
    monitor.observe(before, {"step": 2, monitor.ENTROPY: 2.0}, MonitorConfig(), limit=10)
    assert json.dumps(before) == kept


def _steps(n, **series):
    """Rows of n steps; each series a function of the step. `__` in a name stands for a slash."""
    return [{"step": s, **{k.replace("__", "/"): f(s) for k, f in series.items()}} for s in range(1, n + 1)]


def test_a_low_start_asks_for_easier_problems():
    found = _replay(_steps(30, reason__reward__positive_share=lambda s: 0.2 + 0.01 * s))
    assert found.keys() == {"B"}


def test_inflation_is_a_gap_that_lasts():
    """One noisy evaluation of the frozen scorer is no inflation."""
    assert not _replay(_steps(60, score__live_minus_frozen=lambda s: 2.0 if s == 30 else 0.1))
    found = _replay(_steps(60, score__live_minus_frozen=lambda s: 0.02 * s))
    assert found.keys() == {"score inflation"}
    assert 34 <= found["score inflation"] <= 37  # the mean of the last 20 steps passes 0.5 at step 35


def test_needless_chunks_scored_high_are_inflation_only_where_they_rise():
    """A scorer that was always wrong about them is a bad start, not a drift."""
    assert not _replay(_steps(60, score__needless_high=lambda s: 0.4))
    assert _replay(_steps(60, score__needless_high=lambda s: 0.1 + 0.01 * s)).keys() == {"score inflation"}


@pytest.mark.parametrize(
    ("chunks", "length", "merging"),
    [
        (lambda s: 8 - 0.06 * s, lambda s: 80 - 0.6 * s, False),  # fewer since shorter: what training is for
        (lambda s: max(1.0, 8 - 0.1 * s), lambda s: 80.0, True),
        (lambda s: 1.0, lambda s: 20.0, False),  # there never were any
    ],
)
def test_merging_is_fewer_chunks_for_the_same_text(chunks, length, merging):
    rows = _steps(90, segment__chunks=chunks, reason__completions__mean_length=length)
    assert ("merging" in _replay(rows)) is merging


WORKING = {monitor.ONE_CHUNK: 0.1, monitor.SPREAD: 0.9, monitor.PLACE: 0.2, monitor.SEGMENT_VALID: 1.0}


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        (monitor.ONE_CHUNK, 1.0, "agents.chunk_length"),  # as on the first released checkpoint that was tried
        (monitor.SPREAD, 0.0, "reward.preset=lp"),
        (monitor.PLACE, -0.9, "warmup.chains"),
        (monitor.SEGMENT_VALID, 0.1, "agents.decoding=constrained"),
        (monitor.SCORE_VALID, 0.1, "agents.decoding=constrained"),
    ],
)
def test_helpers_that_do_nothing_are_named_at_the_first_step(name, value, field):
    """And again neither at the second, nor where they work."""
    config = MonitorConfig(window=20)
    state, warnings = monitor.observe({}, {"step": 1, **WORKING, name: value}, config, limit=160)
    assert len(warnings) == 1
    assert field in warnings[0]
    assert monitor.observe(state, {"step": 2, **WORKING, name: value}, config, limit=160)[1] == []
    assert monitor.observe({}, {"step": 1, **WORKING}, config, limit=160)[1] == []
    # A later step alone is noise; a window is not.
    assert not _replay([{"step": s, **WORKING, **({name: value} if s == 30 else {})} for s in range(1, 60)])


def test_helpers_that_come_to_nothing_later_are_named_as_well():
    rows = [{"step": s, **WORKING, monitor.SPREAD: max(0.0, 0.9 - 0.03 * s)} for s in range(1, 80)]
    assert 30 <= _replay(rows)["idle helpers"] <= 50


@pytest.mark.parametrize("role", ["segment", "score"])
def test_helpers_that_stop_answering_are_named(role):
    rows = _steps(60, **{f"{role}__valid": lambda s: 0.98 if s < 30 else 0.6})
    (kind,) = _replay(rows)
    assert kind.startswith(f"valid answers of the {role} role fell to 0.8")


def test_what_is_not_finite_is_named_at_once_and_what_was_not_counted_is_not():
    state, warnings = monitor.observe(
        {},
        {"step": 1, "loss": float("nan"), "grad_norm": float("inf"), monitor.LENGTH_WRONG: None},
        MonitorConfig(),
        limit=10,
    )
    assert [w.partition(";")[0] for w in warnings] == ["step 1: not a finite number: grad_norm, loss"]
    _, warnings = monitor.observe(state, {"step": 2, "loss": float("nan")}, MonitorConfig(), limit=10)
    assert warnings == []
    json.dumps(state, allow_nan=False)


def test_a_sign_is_said_once_and_again_only_after_it_was_gone():
    """A line a step for the rest of the run would hide every other warning."""
    entropy = [1.0] * 20 + [0.2] * 40 + [1.0] * 60 + [0.2] * 40
    state, said = {}, []
    for step, value in enumerate(entropy, start=1):
        row = {"step": step, monitor.ENTROPY: value}
        state, warnings = monitor.observe(state, row, MonitorConfig(window=10), limit=10)
        said += [step] * len(warnings)
    assert len(said) == 2
    assert 20 < said[0] <= 30
    assert 120 < said[1] <= 130


def test_wrong_answers_at_the_limit_are_a_sign_only_where_the_target_is_below_it():
    rows = _steps(60, reason__completions__mean_length_wrong=lambda s: min(160.0, 100.0 + 2 * s))
    assert _replay(rows, limit=160, target=80).keys() == {"F"}
    assert not _replay(rows, limit=160, target=0)


def test_alpha_cancels_where_groups_are_all_right_and_divided_by_their_deviation():
    """An alpha sweep under such a division looks flat, and nothing else in the log says why."""
    rows = _steps(60, reason__frac_all_correct=lambda s: 0.01 * s, reason__rewards__penalty__mean=lambda s: 0.2)
    found = _replay(rows, scaled=True)
    assert found.keys() == {"alpha cancels"}
    assert 59 <= found["alpha cancels"] <= 60  # the mean of the last 20 steps passes 0.5
    assert not _replay(rows, scaled=False)
    assert not _replay([row | {monitor.PENALTY: 0.0} for row in rows], scaled=True), "no length is penalised"


def _budget_steps(tokens, alpha, target=50.0):
    return _steps(120, budget__tokens=tokens, budget__alpha=alpha, budget__target=lambda s: target)


def test_a_budget_out_of_reach_is_said():
    """The multiplier at its ceiling, or lengths that no longer fall; not while they fall, nor once they are there."""
    found = _replay(_budget_steps(lambda s: 80.0 - 0.01 * s, lambda s: min(16.0, 0.5 * s)), ceiling=16.0)
    assert found.keys() == {"budget"}
    assert 46 <= found["budget"] <= 50  # alpha is at 16 from 32 on, its mean over 20 steps nearly so from 47
    ready = _replay(_budget_steps(lambda s: 80.0 - 0.01 * s, lambda s: 16.0), ceiling=16.0)
    assert 30 <= ready["budget"] <= 32  # a window after the mean has stood since step 11
    stalled = _replay(_budget_steps(lambda s: 80.0 - 0.01 * s, lambda s: 2.0), ceiling=16.0)
    assert 50 <= stalled["budget"] <= 52  # the mean stands since step 11, two windows
    late = _replay(_budget_steps(lambda s: 80.0 - 0.3 * s if s < 60 else 62.0, lambda s: 16.0), ceiling=16.0)
    assert late["budget"] >= 80  # not while there was far to go
    assert not _replay(_budget_steps(lambda s: 51.0 if s < 40 else 54.0, lambda s: 16.0), ceiling=16.0)  # met before
    assert not _replay(_budget_steps(lambda s: max(52.0, 100.0 - 0.6 * s), lambda s: 2.0), ceiling=16.0)
    assert not _replay(_budget_steps(lambda s: 45.0, lambda s: 0.0), ceiling=16.0)


@pytest.mark.parametrize(
    ("none", "cut", "says"),
    [
        (
            0.98,
            0.1,
            "no answer found in 98% of the completions, 10% cut at sampling.max_completion_length=160; read",
        ),
        (1.0, 0.75, "100% of the completions, 75% cut at sampling.max_completion_length=160; raise"),
        (
            0.25,
            0.0,
            "25% of the completions, 0% cut at sampling.max_completion_length=160; the answers",
        ),
    ],
)
def test_a_first_step_without_any_reward_says_why(none, cut, says):
    """Catches the silence in which a model that never boxes its answers trained on nothing."""
    row = {"step": 1, monitor.POSITIVE_SHARE: 0.0, monitor.NO_ANSWER: none, monitor.CUT: cut}
    state, (warning,) = monitor.observe({}, row, MonitorConfig(), limit=160)
    assert says in warning
    assert monitor.observe(state, row | {"step": 2}, MonitorConfig(), limit=160)[1] == []


def test_a_first_step_with_one_reward_says_nothing():
    row = {"step": 1, monitor.POSITIVE_SHARE: 0.01, monitor.NO_ANSWER: 0.9, monitor.CUT: 0.9}
    assert monitor.observe({}, row, MonitorConfig(), limit=160)[1] == []


def _stages(rows, window=20):
    state, found = {}, {}
    for row in rows:
        state, _ = monitor.observe(state, row, MonitorConfig(window=window), limit=16384, target=4096)
        if "stage" in state:
            found.setdefault(state["stage"], row["step"])
    return found


@pytest.mark.parametrize(("run", "begins"), [("Truncate", 300), ("-L&C", 270), ("S=4", 140), ("S=16", 100)])
def test_the_second_stage_begins_where_the_published_lengths_settle(run, begins):
    """The authors put it at 150 to 300 on policy with 8 rollouts, and earlier with more updates a batch."""
    rows = []
    for row in _curves()[run]:
        if {monitor.POSITIVE_SHARE, monitor.LENGTH_RIGHT, monitor.LENGTH_WRONG} <= row.keys():
            share = row[monitor.POSITIVE_SHARE]
            length = share * row[monitor.LENGTH_RIGHT] + (1 - share) * row[monitor.LENGTH_WRONG]
            rows.append({"step": row["step"], monitor.LENGTH: length})
    found = _stages(rows)
    assert found[1] < found[2]
    assert begins <= found[2] <= begins + 10


@pytest.mark.parametrize(
    ("length", "begins"),
    [
        (lambda s: 100.0, None),  # never fell: nothing was adapted
        (lambda s: 100.0 - s / 2, None),  # still falls
        (lambda s: max(100.0 - 2 * s, 40.0), 80),  # from 40 at step 30; a window of 20 later all is 40, and 40 steps on
        (lambda s: 40.0 + 60.0 * (s < 10) + 20.0 * (s > 100), 60),  # what has begun is not taken back
    ],
)
def test_stages_by_hand(length, begins):
    found = _stages(_steps(120, reason__completions__mean_length=length))
    assert found.get(2) is None if begins is None else abs(found[2] - begins) <= 10


def test_with_dynamic_sampling_a_collapse_shows_in_what_was_sampled():
    """The groups that are kept have right and wrong answers whatever the policy does."""
    hidden = {
        "reason__reward__positive_share": lambda s: 0.5,
        "reason__sampled_accuracy": lambda s: 0.7 - 0.005 * s,
    }
    assert _replay(_steps(60, **hidden)).keys() == {"A"}
