"""The scorer is shown the right scores: where they stand, what they are, and that nothing that was sampled moves."""

import dataclasses
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.agents import lessons
from jaxreason.agents.alignment import Scoring
from jaxreason.agents.constraints import digit_tokens, score_constraint, score_places, segment_constraint
from jaxreason.agents.episode import Episode
from jaxreason.agents.parsing import parse_scores
from jaxreason.config import AgentsConfig, GRPOConfig, RewardConfig
from jaxreason.data.tokenizer import text_of
from jaxreason.grpo.batch import shapes
from jaxreason.grpo.learner import Learner, Packing
from jaxreason.grpo.signal import LESSON, signal
from jaxreason.rewards.importance import initial_ratio
from jaxreason.rewards.methods import METHODS
from jaxreason.rewards.outcome import Outcome
from jaxreason.types import Chunks, HostRollout, PromptBatch, Scores, UpdateBatch
from tests.agents.stand_in import marked
from tests.helpers import TOLERANCE

P, G, K = 2, 2, 3
COUNTS = [[3, 2], [1, 3]]
NATS = np.array([[[0.8, 7.2, 3.0], [9.0, 0.0, -1.0]], [[-1.0] * 3] * 2], np.float32)  # the second problem: not measured
SCALE = 8.0  # so these are worth 1.4, 4.6, 2.5 and 5, 1


def _drawn(constraint, tokenizer, rng) -> list[tuple[list[int], list[list[int]]]]:
    """Tokens of each row and what the machine allowed at each."""
    rows = []
    for token, step in zip(np.asarray(constraint.token), np.asarray(constraint.next), strict=True):
        state, ids, allowed = 0, [], []
        while not ids or ids[-1] != tokenizer.eos_id:
            edge = rng.choice(np.flatnonzero(token[state] >= 0).tolist())
            ids.append(int(token[state, edge]))
            allowed.append(token[state].tolist())
            state = int(step[state, edge])
        rows.append((ids, allowed))
    return rows


@pytest.fixture
def played():
    """An episode of which the scorer's half is there."""
    tokenizer = marked()
    constraint = score_constraint([n for row in COUNTS for n in row], tokenizer, AgentsConfig(max_chunks=K))
    rows = _drawn(constraint, tokenizer, random.Random(1))
    T = max(len(ids) for ids, _ in rows) + 2
    tokens, length = np.zeros((P * G, T), np.int32), np.zeros(P * G, np.int32)
    candidates, value = np.full((P * G, T, 5), -1, np.int32), np.zeros((P * G, K), np.int32)
    for n, (ids, allowed) in enumerate(rows):
        tokens[n, : len(ids)], length[n] = ids, len(ids)
        candidates[n, : len(ids)] = allowed
        found, cause = parse_scores(text_of(ids[:-1], tokenizer), COUNTS[n // G][n % G])
        assert cause == "ok"
        value[n, : len(found)] = found
    rollout = HostRollout(
        tokens=tokens.reshape(P, G, T),
        length=length.reshape(P, G),
        logp=np.full((P, G, T), -0.5, np.float32),
        finished=np.ones((P, G), bool),
        candidates=candidates.reshape(P, G, T, 5),
    )
    scoring = Scoring(Scores(value=value.reshape(P, G, K), valid=np.ones((P, G), bool)), ["ok"] * P * G)
    asked = PromptBatch(tokens=np.full((P * G, 4), 9, np.int32), length=np.full(P * G, 2, np.int32))
    other = dataclasses.replace(rollout, candidates=None)
    episode = Episode(
        problems=[], reasonings=[], grades=None, prompts={"score": asked},
        rollouts={"reason": other, "score": rollout}, scoring=scoring,
    )  # fmt: skip
    return episode, tokenizer


def _learner(seen: list) -> Learner:
    """Its reference calls a token's own number a log-probability."""

    def reference(params, packed: UpdateBatch):
        seen.append(packed)
        return packed.tokens.astype(np.float32)

    packing = Packing(shapes(((P * G, 40),), row_length=40, micro_batch_rows=2), 5, False)
    return Learner("", ("score",), lambda *_: None, reference, packing)


def test_the_right_scores_stand_where_scores_were_drawn(played):
    """Catches a score of one place off, another row's, one that no longer parses, and stale log-probabilities."""
    episode, tokenizer = played
    seen = []
    before = jax.tree.map(np.copy, episode.rollouts["score"])
    ((role, shown),) = lessons.corrected(episode, NATS, SCALE, _learner(seen), None, digit_tokens(tokenizer)).items()
    after = shown.rollout
    assert role == "score"
    jax.tree.map(np.testing.assert_array_equal, episode.rollouts["score"], before)
    worth = {(0, 0): [1.4, 4.6, 2.5], (0, 1): [5.0, 1.0]}
    corrections = 0
    for p, g in np.ndindex(P, G):
        ids = after.tokens[p, g, : after.length[p, g]].tolist()
        found, cause = parse_scores(text_of(ids[:-1], tokenizer), COUNTS[p][g])
        assert cause == "ok"
        if (p, g) in worth:
            drawn = episode.scoring.scores.value[p, g].tolist()
            for was, now, right in zip(drawn, found, worth[p, g], strict=False):
                assert now == (round(right) if abs(right - was) >= 2 else was)
                corrections += now != was
            np.testing.assert_array_equal(after.logp[p, g, : len(ids)], ids)
            for token, allowed in zip(ids, after.candidates[p, g], strict=False):
                assert token in allowed  # what the update restricts it to
        else:
            np.testing.assert_array_equal(after.tokens[p, g], before.tokens[p, g])
            np.testing.assert_array_equal(after.logp[p, g], before.logp[p, g])
    assert corrections >= 2
    assert len(seen) == 1


def test_free_decoding_is_left_alone(played):
    """There nobody knows which token is a score."""
    episode, tokenizer = played
    free = {"score": dataclasses.replace(episode.rollouts["score"], candidates=None)}
    episode = dataclasses.replace(episode, rollouts=free)
    assert lessons.corrected(episode, NATS, SCALE, _learner([]), None, digit_tokens(tokenizer)) == {}


def test_places_of_a_helper_that_also_segments():
    """Catches a border of chunks taken for a score."""
    tokenizer = marked()
    y = [tokenizer.intern(p) for p in (b"a", b"b", b"c")]
    constraint = segment_constraint([y], tokenizer, max_tokens=3, scored=True)
    ((ids, allowed),) = _drawn(constraint, tokenizer, random.Random(1))
    wide = np.full((1, 1, len(ids), 5), -1, np.int32)
    for t, edges in enumerate(allowed):
        wide[0, 0, t, : len(edges)] = edges
    places = score_places(wide, digit_tokens(tokenizer), 4)[0, 0]
    digits = {ids[0] for ids in tokenizer.encode_batch(list("12345"))}
    at = [t for t, token in enumerate(ids) if token in digits]
    assert [places[t] for t in at] == list(range(len(at)))
    assert (np.delete(places, at) == 4).all()


def test_scores_are_made_likelier_and_nothing_else(played):
    """Catches an advantage on the tokens between the scores, or on rows that were not measured."""
    episode, tokenizer = played
    rollout = episode.rollouts["score"]
    T, flat = rollout.tokens.shape[2], jnp.ones((P, G), bool)
    there = np.arange(K) < np.array(COUNTS)[..., None]
    seen = Outcome(
        correct=flat,
        gradable=flat,
        length_y=jnp.full((P, G), 6, jnp.int32),
        length={"reason": jnp.full((P, G), T), "segment": jnp.full((P, G), T), "score": jnp.asarray(rollout.length)},
        finished=dict.fromkeys(("reason", "segment", "score"), flat),
        chunks=Chunks(
            chunk_id=jnp.zeros((P, G, T), jnp.int32),
            length=jnp.asarray(there * 2, jnp.int32),
            characters=jnp.asarray(there * 4, jnp.int32),
            mask=jnp.asarray(there),
            valid=flat,
        ),
        scores=jax.tree.map(jnp.asarray, episode.scoring.scores),
        frozen_value=jnp.asarray(there * 3.0, jnp.float32),
        contribution=jnp.asarray(NATS),
        widths=tuple((role, T) for role in ("reason", "segment", "score")),
        score_at=jnp.asarray(score_places(rollout.candidates, digit_tokens(tokenizer), K)),
    )
    _, advantages, _ = signal(
        seen,
        jnp.float32(0.4),
        initial_ratio(),
        jax.random.key(0),
        reward=RewardConfig(preset="contribution"),
        grpo=GRPOConfig(),
        method=METHODS["contribution"],
        max_length=T,
    )
    found = np.asarray(advantages.token["score"])
    assert advantages.keep["score"].tolist() == [[True, True], [False, False]]
    for p, g in np.ndindex(P, G):
        drawn = (rollout.candidates[p, g] >= 0).sum(-1) == 5
        np.testing.assert_allclose(found[p, g], LESSON * drawn * (p == 0), atol=TOLERANCE["elementwise"])
