"""The decode loop against full forward passes, the trainer's log-probabilities and hand-made constraints."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.ops import logprob
from jaxreason.policy import api
from jaxreason.sampling import methods
from jaxreason.sampling.engine import generate
from jaxreason.sampling.query import Decoding, Query
from jaxreason.types import Constraint, Lift, PromptBatch
from tests.helpers import TOLERANCE
from tests.sampling.tiny import TINY, params_of

P, G, L, T = 2, 3, 5, 8
PAD, EOS = 148, (3, 40)
PROMPTS = PromptBatch(
    tokens=np.random.default_rng(0).integers(0, 150, (P, L)).astype(np.int32), length=np.array([5, 2], np.int32)
)
FULL = np.full((P, G), T, np.int32)


def _generate(seed=0, temperature=1.0, limit=FULL, constraint=None, eos=(-1,), params=None, prompts=PROMPTS, **static):
    query = Query(prompts=prompts, limit=np.asarray(limit, np.int32), constraint=constraint)
    how = Decoding(**{"config": TINY, "max_completion_length": T, "pad_id": PAD, "eos_ids": eos} | static)
    rollout = generate(params or params_of(), query, jax.random.key(seed), jnp.float32(temperature), how)
    return jax.tree.map(np.asarray, rollout)


_full_logits = jax.jit(api.logits, static_argnames="config")


def _rows(rollout):
    """Prompt and completion of every row from place 0 on, and where the completion starts."""
    rows = np.zeros((P * G, L + T), np.int32)
    start = np.repeat(PROMPTS.length, G)
    for n in range(P * G):
        p, g = divmod(n, G)
        rows[n, : start[n]] = PROMPTS.tokens[p, L - start[n] :]
        rows[n, start[n] : start[n] + T] = rollout.tokens[p, g]
    return rows, np.broadcast_to(np.arange(L + T, dtype=np.int32), rows.shape), np.ones_like(rows), start


def _trainer_logp(rollout, temperature=1.0, transform=logprob.unchanged, lift=None):
    rows, positions, segments, start = _rows(rollout)
    candidates = None
    if rollout.candidates is not None:
        A = rollout.candidates.shape[-1]
        candidates = np.full((*rows.shape, A), -1, np.int32)
        for n in range(P * G):
            candidates[n, start[n] : start[n] + T] = rollout.candidates.reshape(P * G, T, A)[n]
    score = jax.jit(functools.partial(api.token_logp, config=TINY, temperature=temperature, transform=transform))
    logp, _ = score(params_of(), rows, positions, segments, candidates, lift)
    logp = np.stack([np.asarray(logp)[n, start[n] : start[n] + T] for n in range(P * G)]).reshape(P, G, T)
    return np.where(np.arange(T) < rollout.length[..., None], logp, 0.0)


def _machine():
    """Pick 7 or 9, then 11 is forced, then any of 9, 20 and the end (3), which loops or ends."""
    token = np.full((P * G, 4, 3), -1, np.int32)
    following = np.zeros_like(token)
    token[:, 0, :2] = 7, 9
    following[:, 0] = 1
    token[:, 1, 0] = 11
    following[:, 1] = 2
    token[:, 2] = 9, 20, 3
    following[:, 2] = 2, 0, 3
    token[:, 3, 0] = 3
    following[:, 3] = 3
    return Constraint(token=token, next=following)


@pytest.mark.parametrize("temperature", [0.7, 1.0])
@pytest.mark.parametrize("filters", [{}, {"top_p": 0.8, "top_k": 40, "min_p": 0.01}])
def test_logp_is_what_the_trainer_computes(temperature, filters):
    """The ratio of a first update is 1: catches a temperature or filter that only one of the two applies."""
    method = methods.Method(**filters)
    rollout = _generate(temperature=temperature, method=method, eos=EOS)
    want = _trainer_logp(rollout, temperature, methods.transform(method))
    np.testing.assert_allclose(rollout.logp, want, atol=TOLERANCE["sum"], rtol=TOLERANCE["sum"])
    if filters:
        plain = _trainer_logp(rollout, temperature)
        assert np.abs(rollout.logp - plain).max() > 1e-3, "the filters removed nothing, so nothing was tested"


@pytest.mark.parametrize("filters", [{}, {"top_k": 1}])
def test_constrained_logp_is_what_the_trainer_computes(filters):
    """Catches candidates recorded one place off, or after the machine has moved on, and filters that reach them."""
    method = methods.Method(**filters)
    rollout = _generate(temperature=0.7, constraint=_machine(), eos=EOS, method=method)
    want = _trainer_logp(rollout, 0.7, methods.transform(method))
    np.testing.assert_allclose(rollout.logp, want, atol=TOLERANCE["sum"])


def test_a_lifted_token_is_as_likely_for_the_trainer():
    """Catches a lift that only one of the two adds, on one side of the temperature, or to a token that is certain."""
    drawn = {}
    for tag, logit in ((9, 0.0), (9, 4.0), (9, -4.0), (11, 4.0)):
        lift = Lift(token=np.full(P * G, tag, np.int32), logit=np.full(P * G, logit, np.float32))
        machine = dataclasses.replace(_machine(), lift=lift)
        drawn[tag, logit] = [_generate(seed=seed, temperature=0.7, constraint=machine) for seed in range(8)]
        for rollout in drawn[tag, logit]:
            want = _trainer_logp(rollout, 0.7, lift=Lift(token=np.int32(tag), logit=np.float32(logit)))
            np.testing.assert_allclose(rollout.logp, want, atol=TOLERANCE["sum"])
    nines = {key: sum(int((rollout.tokens == 9).sum()) for rollout in some) for key, some in drawn.items()}
    assert nines[9, -4.0] < nines[9, 0.0] < nines[9, 4.0]
    for forced, plain in zip(drawn[11, 4.0], drawn[9, 0.0], strict=True):  # 11 is forced wherever it can be drawn
        np.testing.assert_array_equal(forced.tokens, plain.tokens)
        np.testing.assert_allclose(forced.logp, plain.logp, atol=TOLERANCE["sum"])


def test_the_constraint_is_obeyed_and_forced_tokens_are_certain():
    """Follows the machine by hand over 20 seeds; catches an empty slot drawn, a state that lags by one."""
    machine = _machine()
    lengths = set()
    for seed in range(20):
        rollout = _generate(seed=seed, constraint=machine, eos=(3,))
        for n in range(P * G):
            p, g = divmod(n, G)
            state, length = 0, rollout.length[p, g]
            lengths.add(int(length))
            for t in range(length):
                allowed = machine.token[n, state]
                np.testing.assert_array_equal(rollout.candidates[p, g, t], allowed)
                edge = allowed.tolist().index(rollout.tokens[p, g, t])
                if (allowed >= 0).sum() == 1:
                    assert rollout.logp[p, g, t] == 0
                else:
                    assert rollout.logp[p, g, t] < 0
                state = machine.next[n, state, edge]
            assert (rollout.candidates[p, g, length:] == -1).all()
            assert rollout.finished[p, g] == (rollout.tokens[p, g, length - 1] == 3)
    assert len(lengths) > 2


def test_greedy_is_the_argmax_of_full_forward_passes():
    """Catches a cache that drifts from the full pass, and a key that is not ignored."""
    rollout = _generate(temperature=0.0)
    np.testing.assert_array_equal(rollout.tokens, _generate(seed=1, temperature=0.0).tokens)
    rows, positions, segments, start = _rows(rollout)
    completion = np.zeros((P * G, T), np.int32)
    for t in range(T):
        for n in range(P * G):  # nothing but what was chosen here stands behind the prompt
            rows[n, start[n] :] = 0
            rows[n, start[n] : start[n] + t] = completion[n, :t]
        logits = np.asarray(_full_logits(params_of(), rows, positions, segments, config=TINY))
        completion[:, t] = logits[np.arange(P * G), start + t - 1].argmax(-1)
    np.testing.assert_array_equal(rollout.tokens.reshape(P * G, T), completion)
    np.testing.assert_allclose(rollout.logp, _trainer_logp(rollout), atol=TOLERANCE["sum"])


def test_first_tokens_follow_the_softmax():
    """Chi-square over 4,000 rows against the full forward pass, at a fixed seed, 9 bins.

    A correct sampler would fail at one seed in 10,000. Catches a temperature not applied, or applied twice.
    """
    G = 2000
    rollout = _generate(limit=np.ones((P, G)), temperature=0.7, max_completion_length=2, eos=(-1,))
    tokens = np.zeros((P, L + T), np.int32)
    for p in range(P):
        tokens[p, : PROMPTS.length[p]] = PROMPTS.tokens[p, L - PROMPTS.length[p] :]
    positions = np.broadcast_to(np.arange(L + T, dtype=np.int32), tokens.shape)
    logits = np.asarray(_full_logits(params_of(), tokens, positions, np.ones_like(tokens), config=TINY), np.float64)
    for p in range(P):
        weight = np.exp(logits[p, PROMPTS.length[p] - 1] / 0.7)
        probability = weight / weight.sum()
        likeliest = np.argsort(-probability)[:8]
        expected = np.append(probability[likeliest], 1 - probability[likeliest].sum()) * G
        seen = np.array([(rollout.tokens[p, :, 0] == v).sum() for v in likeliest])
        seen = np.append(seen, G - seen.sum())
        assert ((seen - expected) ** 2 / expected).sum() < 31.83  # upper 1e-4 point at 8 degrees of freedom
    assert (rollout.length == 1).all()
    assert (rollout.tokens[:, :, 1] == PAD).all()


def test_ends_limits_and_what_stands_behind_them():
    """Catches a length without its end token, a token past the limit, a row of limit 0 that writes, two end ids."""
    limit = np.array([[0, 1, T], [T, 4, T]])
    ended = {True: 0, False: 0}
    for seed in range(8):
        free = _generate(seed=seed, temperature=3.0)
        rollout = _generate(seed=seed, temperature=3.0, limit=limit, eos=tuple(range(40)))
        for p in range(P):
            for g in range(G):
                tokens, length = rollout.tokens[p, g], rollout.length[p, g]
                ends = [t for t in range(limit[p, g]) if free.tokens[p, g, t] < 40]
                assert length == (ends[0] + 1 if ends else limit[p, g])
                assert rollout.finished[p, g] == bool(ends)
                ended[bool(ends)] += 1
                # A row's draws are its own, so those of the free run are the same until it ends.
                np.testing.assert_array_equal(tokens[:length], free.tokens[p, g, :length])
                np.testing.assert_allclose(rollout.logp[p, g, :length], free.logp[p, g, :length], atol=1e-5)
                assert (tokens[length:] == PAD).all()
                assert (rollout.logp[p, g, length:] == 0).all()
    assert min(ended.values()) > 5


def test_the_loop_stops_when_every_row_is_done(monkeypatch):
    """Counts the steps really taken: catches a loop that runs on over finished rows to the end of its room."""
    steps = []

    def counted(*args, **kwargs):
        jax.debug.callback(lambda: steps.append(1))
        return decode(*args, **kwargs)

    decode = api.decode
    monkeypatch.setattr(api, "decode", counted)
    # A limit of its own, so that this program is traced anew and none of the others counts.
    rollout = _generate(limit=[[3, 0, 2], [1, 3, 2]], max_completion_length=T + 1)
    jax.effects_barrier()
    assert len(steps) == 3
    np.testing.assert_array_equal(rollout.length, [[3, 0, 2], [1, 3, 2]])


def test_same_key_same_tokens_another_key_others():
    """Two draws from these distributions agree with a chance of 0.06 on average, so two rows of 8 with one of 1e-10.

    Catches a key that is not used, and one shared by the rows of a group.
    """
    first, again, other = _generate(seed=1), _generate(seed=1), _generate(seed=2)
    chex.assert_trees_all_equal(first, again)
    assert (first.tokens != other.tokens).any(-1).all()
    for p in range(P):
        assert len({tuple(row) for row in first.tokens[p].tolist()}) == G


def test_each_step_draws_anew():
    """A policy of zeros is uniform over 150 tokens, so 8 equal tokens in a row have odds of 150**-7.

    Catches one key used for every step: a row would then repeat its first token for ever.
    """
    rollout = _generate(params=jax.tree.map(jnp.zeros_like, params_of()))
    assert (rollout.tokens != rollout.tokens[:, :, :1]).any(-1).all()
    np.testing.assert_allclose(rollout.logp, -np.log(150), atol=TOLERANCE["sum"])


def test_a_group_does_not_depend_on_the_other_prompts():
    """Catches prompts that read each other's cache; greedy, since without a number a prompt draws by its place."""
    both = _generate(temperature=0.0)
    others = PromptBatch(tokens=PROMPTS.tokens[1:], length=PROMPTS.length[1:])
    one = _generate(temperature=0.0, prompts=others, limit=FULL[1:])
    np.testing.assert_array_equal(one.tokens[0], both.tokens[1])


def test_new_data_does_not_compile_again():
    """Catches a value that has become static: limits, key, temperature and machine all change during a run."""
    _generate(seed=0, constraint=_machine())
    _generate(seed=0)
    size = generate._cache_size()
    _generate(seed=3, temperature=0.3, limit=[[1, 2, 3], [0, 5, 6]])
    machine = _machine()
    _generate(seed=4, constraint=Constraint(token=machine.token + (machine.token > 3), next=machine.next))
    assert generate._cache_size() == size
