"""One step's rewards: which term reaches which role, which rows count, and when two methods are the same method."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.config import RewardConfig
from jaxreason.rewards import importance
from jaxreason.rewards.combine import price, score
from jaxreason.rewards.length import Moment
from jaxreason.rewards.methods import METHODS
from jaxreason.rewards.outcome import Outcome
from tests.helpers import TOLERANCE
from tests.reference import rewards as reference
from tests.rewards.cases import chunks_of, random_case, scores_of

MAX_LENGTH = 40
jitted = jax.jit(score, static_argnames=("config", "method", "max_length"))


@pytest.fixture(autouse=True)
def strict_promotion():
    with jax.numpy_dtype_promotion("strict"):
        yield


def seen_of(case, spec) -> Outcome:
    helped = spec.charged == "chunks"
    return Outcome(
        correct=jnp.asarray(case["correct"]),
        gradable=jnp.asarray(case["gradable"]),
        length_y=jnp.asarray(case["y"]),
        length={"reason": jnp.asarray(case["length"])},
        finished={"reason": jnp.asarray(case["finished"])},
        chunks=chunks_of(case) if helped else None,
        scores=scores_of(case) if helped else None,
        frozen_value=jnp.asarray(case["frozen"]) if helped else None,
        contribution=jnp.asarray(case["contribution"]) if spec.measured else None,
        moment=moment_of(case, spec),
        widths=(),
    )


def moment_of(case, spec) -> Moment:
    """What a method reads of the moment: half of the run is done, 10 tokens are asked for, nothing is remembered."""
    shape = case["length"].shape
    memory = None
    if spec.memory is not None:
        memory = jnp.asarray(spec.memory.recall({}, [str(p) for p in range(shape[0])]))
    return Moment(
        progress=jnp.float32(0.5), asked=jnp.full(shape[:1], 10, jnp.int32), memory=memory,
        answer_at=jnp.asarray(case["y"] // 2), closes_at=jnp.asarray(case["y"]), repeats=jnp.zeros(shape, bool),
        prefix_end=jnp.asarray(case["y"] // 2), teacher=jnp.zeros((*shape, 4)),
    )  # fmt: skip


def run(case, preset, config=None, *, ratio=None, alpha=0.5, function=jitted, seed=0):
    spec, config = METHODS[preset], config or RewardConfig()
    return function(
        seen_of(case, spec),
        price(alpha, config),
        ratio or importance.initial_ratio(),
        jax.random.key(seed),
        config=config.shape,
        method=spec,
        max_length=MAX_LENGTH,
    )


def test_guarded_keeps_outcome_and_length_from_the_helpers():
    """Catches the length term reaching a helper, which inflates scores."""
    for role in ("segment", "score"):
        assert METHODS["guarded"].terms[role].outcome == 0
        assert METHODS["guarded"].terms[role].penalty == 0


@pytest.mark.parametrize("function", [jitted, score], ids=["jit", "eager"])
@pytest.mark.parametrize("normalize", ["limit", "group_mean"])
@pytest.mark.parametrize("gate", ["none", "correct"])
def test_phi_one_is_the_plain_length_penalty_to_the_bit(function, normalize, gate):
    """Catches any way in which the essential control differs from the method other than by its importance weights."""
    config = RewardConfig(phi=(1.0,) * 5, normalize_length=normalize, gate=gate)
    ratio = importance.initial_ratio()
    for seed in range(8 if function is jitted else 2):
        case = random_case(seed, problems=5, rollouts=6)
        scma, ratio, keep = run(case, "scma", config, ratio=ratio, alpha=0.3, function=function)
        lp, _, lp_keep = run(case, "lp", config, alpha=0.3, function=function)
        assert np.asarray(scma.total["reason"]).tobytes() == np.asarray(lp.total["reason"]).tobytes()
        assert np.asarray(scma.parts["penalty"]).tobytes() == np.asarray(lp.parts["penalty"]).tobytes()
        assert np.array_equal(keep["reason"], lp_keep["reason"])
    assert not case["finished"].all()
    assert float(importance.ratio_of(ratio)) == 1.0


@given(seed=st.integers(0, 2**31))
def test_scma_against_the_formula(seed):
    """Catches a wrong sign or a term on the wrong role: R = R_acc - alpha f(L), and the own format for each helper."""
    case = random_case(seed)
    config = RewardConfig()
    rewards, _, keep = run(case, "scma", config)
    charged, _, _ = reference.charged_lengths(
        case, phi=config.phi, invalid="running_mean", ratio_sum=0.0, ratio_count=0.0, decay=importance.RATIO_DECAY
    )
    accuracy = case["correct"] & case["gradable"] & case["finished"]
    common = accuracy - 0.5 * np.minimum(1.0, charged / MAX_LENGTH)
    asked = case["finished"] & case["gradable"]
    expected = {
        "reason": common,
        "segment": common - (asked & ~case["segment_valid"]),
        "score": common - (asked & case["segment_valid"] & ~case["score_valid"]),
    }
    expected_keep = {"reason": case["gradable"], "segment": asked, "score": asked & case["segment_valid"]}
    for role in expected:
        np.testing.assert_allclose(rewards.total[role], expected[role], atol=TOLERANCE["sum"])
        assert np.array_equal(keep[role], expected_keep[role])


def test_contribution_pays_the_scorer_for_what_was_measured_and_nothing_else():
    """Catches rows that were not measured taken for perfect ones, and a scorer paid for a chunk's outcome or length.

    By loops: minus the mean over a row's tokens of |score - (1 + 4 min(1, nats / scale))| / 4.
    """
    for seed in range(5):
        case = random_case(seed)
        config = RewardConfig(contribution_scale=6.0)
        rewards, _, keep = run(case, "contribution", config)
        other, _, _ = run({**case, "correct": ~case["correct"]}, "contribution", config, alpha=2.0)
        guarded, _, guarded_keep = run(case, "guarded", config)
        measured = (case["contribution"] >= 0).any(-1)
        assert np.array_equal(keep["score"], guarded_keep["score"] & measured)
        for role in ("reason", "segment"):
            assert np.array_equal(rewards.total[role], guarded.total[role])
            assert np.array_equal(keep[role], guarded_keep[role])
        assert np.array_equal(rewards.total["score"], other.total["score"])
        for i in zip(*np.nonzero(np.asarray(keep["score"])), strict=True):
            gap = tokens = 0.0
            for k in np.flatnonzero((case["scores"][i] > 0) & (case["contribution"][i] >= 0)):
                worth = 1 + 4 * min(1.0, case["contribution"][i][k] / 6.0)
                gap += abs(case["scores"][i][k] - worth) * case["chunk_length"][i][k]
                tokens += case["chunk_length"][i][k]
            expected = -gap / tokens / 4 if case["score_valid"][i] else -1.0
            np.testing.assert_allclose(rewards.total["score"][i], expected, atol=TOLERANCE["sum"])


def test_guarded_totals():
    """Catches the helpers' rewards moving with alpha or with correctness."""
    case = random_case(3)
    rewards, _, _ = run(case, "guarded")
    other, _, _ = run({**case, "correct": ~case["correct"]}, "guarded", alpha=2.0)
    for role in ("segment", "score"):
        assert np.array_equal(rewards.total[role], other.total[role])
    np.testing.assert_array_equal(rewards.total["segment"], rewards.parts["format_segment"])
    np.testing.assert_allclose(
        rewards.total["score"],
        rewards.parts["format_score"] + rewards.parts["agreement"],
        rtol=TOLERANCE["elementwise"],
    )
    assert float(rewards.parts["agreement"].min()) < 0


@pytest.mark.parametrize(
    ("preset", "roles"), [("frozen", {"reason"}), ("grpo", {"reason"}), ("shuffled", {"reason", "segment", "score"})]
)
def test_only_trained_roles_come_out(preset, roles):
    """Catches a frozen helper that is updated after all."""
    rewards, _, keep = run(random_case(1), preset)
    assert set(rewards.total) == set(keep) == roles


def test_grpo_is_the_outcome():
    """Catches a penalty that leaks into the control without one."""
    case = random_case(2)
    rewards, _, _ = run(case, "grpo", alpha=9.0)
    assert np.array_equal(rewards.total["reason"], case["correct"] & case["gradable"] & case["finished"])


def test_truncation_uses_the_whole_completion():
    """Catches |y| compared with L_T instead of the completion's length, and a target of 0 taken literally."""
    case = random_case(4)
    rewards, _, _ = run(case, "truncation", RewardConfig(target_length=20), alpha=9.0)
    right = case["correct"] & case["gradable"] & case["finished"]
    assert np.array_equal(rewards.total["reason"], right & (case["length"] <= 20))
    rewards, _, _ = run(case, "truncation", RewardConfig(target_length=0))
    assert np.array_equal(rewards.total["reason"], right)


def test_shuffled_scores_move_the_penalty_but_not_the_agreement():
    """Catches scorers judged on permuted scores."""
    case = random_case(5)
    plain, _, _ = run(case, "guarded")
    shuffled, _, _ = run(case, "shuffled")
    assert not np.array_equal(plain.parts["penalty"], shuffled.parts["penalty"])
    assert np.array_equal(plain.parts["agreement"], shuffled.parts["agreement"])


def test_shared_format_reaches_every_role():
    """Catches `share_format` that forgets the reasoner, or counts a role's own term twice."""
    case = random_case(6)
    own, _, _ = run(case, "scma")
    shared, _, _ = run(case, "scma", RewardConfig(share_format=True))
    both = own.parts["format_segment"] + own.parts["format_score"]
    for role in ("reason", "segment", "score"):
        np.testing.assert_allclose(shared.total[role], own.total["reason"] + both, atol=TOLERANCE["elementwise"])


def test_require_eos_off_takes_the_text_as_it_is():
    """Catches a cut answer counted as wrong where the configuration says otherwise."""
    case = {**random_case(7), "gradable": np.ones((3, 4), bool)}
    rewards, _, _ = run(case, "grpo", RewardConfig(require_eos=False))
    assert np.array_equal(rewards.total["reason"], case["correct"])


@given(seed=st.integers(0, 2**31), order=st.permutations(range(4)))
def test_permuting_rollouts_permutes_rewards(seed, order):
    """Catches rows that read each other's helpers."""
    case = random_case(seed)
    rewards, _, _ = run(case, "guarded")
    moved, _, _ = run({name: x[:, np.array(order)] for name, x in case.items()}, "guarded")
    for role, total in rewards.total.items():
        np.testing.assert_allclose(moved.total[role], total[:, np.array(order)], atol=TOLERANCE["elementwise"])


@pytest.mark.parametrize("preset", ["scma", "guarded"])
def test_more_chunk_slots_change_nothing(preset):
    """Catches padding chunks that are scored, counted or centred on."""
    case = random_case(8)
    wide = dict(case)
    for name in ("chunk_length", "characters", "scores", "frozen"):
        wide[name] = np.pad(case[name], ((0, 0), (0, 0), (0, 3)))
    wide["chunk_id"] = np.where(case["chunk_id"] == 5, 8, case["chunk_id"])
    for config in (RewardConfig(), RewardConfig(centred_phi=True), RewardConfig(unit="characters")):
        narrow_rewards, _, _ = run(case, preset, config)
        wide_rewards, _, _ = run(wide, preset, config)
        for role, total in narrow_rewards.total.items():
            np.testing.assert_allclose(wide_rewards.total[role], total, atol=TOLERANCE["elementwise"])


def test_nothing_is_ever_not_finite():
    """Catches 0/0 where every helper failed, every text is empty, or nothing was graded."""
    case = random_case(9)
    nothing = {name: np.zeros_like(x) for name, x in case.items()}
    for preset in METHODS:
        for config in (RewardConfig(), RewardConfig(normalize_length="group_mean", unit="characters")):
            for empty in (nothing, {**nothing, "finished": case["finished"], "gradable": case["gradable"]}):
                rewards, ratio, _ = run(empty, preset, config)
                assert all(np.isfinite(x).all() for x in jax.tree.leaves((rewards, ratio)))


def test_a_new_alpha_does_not_retrace():
    """Catches alpha treated as a constant: its warm-up would compile every step anew."""
    traces = []

    @functools.wraps(score)
    def counted(*arrays, **static):
        traces.append(1)
        return score(*arrays, **static)

    function = jax.jit(counted, static_argnames=("config", "method", "max_length"))
    for alpha in (0.1, 0.2):
        run(random_case(0), "scma", RewardConfig(alpha=0.2), alpha=alpha, function=function)
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("preset", "missing", "expected"),
    [
        ("scma", {"chunks": None}, "chunks, scores: expected"),
        ("guarded", {"frozen_value": None}, "frozen_value: expected"),
        ("contribution", {"contribution": None}, "contribution: expected what the chunks contribute"),
        ("shuffled", {}, "key: expected a random key"),
    ],
)
def test_missing_inputs_are_named(preset, missing, expected):
    """Catches a method silently losing a term."""
    spec = METHODS[preset]
    seen = dataclasses.replace(seen_of(random_case(0), spec), **missing)
    with pytest.raises(ValueError, match=expected):
        score(
            seen, price(0.1, RewardConfig()), importance.initial_ratio(), None,
            config=RewardConfig(), method=spec, max_length=MAX_LENGTH,
        )  # fmt: skip
