"""The lift of a new chunk, against the chunks that are then drawn."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.agents import calibration, constraints, episode
from jaxreason.agents.boundaries import places
from jaxreason.agents.roles import segment_limit
from jaxreason.config import AgentsConfig, Config, ModelConfig, SamplingConfig
from jaxreason.policy import api
from jaxreason.sampling.engine import generate
from jaxreason.sampling.query import Decoding, Query
from tests.agents.stand_in import marked

MODEL = ModelConfig(
    vocab_size=128, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
    num_key_value_heads=1, head_dim=8, initializer_range=0.6,
)  # fmt: skip
N, STEPS, A_STEP = 12, 10, 4


@pytest.fixture(scope="module")
def params():
    return jax.jit(lambda: api.init(jax.random.key(0), MODEL))()


def rows(tokenizer) -> list[list[int]]:
    """Texts of ten lines of four tokens."""
    rng = np.random.default_rng(0)
    letters = [tokenizer.intern(bytes([c])) for c in b"abcdefgh"]
    end = tokenizer.intern(b"\n")
    return [[t for _ in range(STEPS) for t in [*rng.choice(letters, A_STEP - 1), end]] for _ in range(N)]


@pytest.mark.parametrize(("chunk_length", "scored"), [(8, False), (20, False), (10, True), (2, False)])
def test_drawn_chunks_have_the_wanted_length(params, chunk_length, scored):
    """Whatever the odds of the policy's tags are. A length below a line's is not reached: most places stay a choice."""
    tokenizer = marked()
    ys = [[int(t) for t in row] for row in rows(tokenizer)]
    at = [places(y, tokenizer, max_chunks=32) for y in ys]
    assert [int(some.sum()) for some in at] == [STEPS - 1] * N
    sampling = SamplingConfig(temperature=0.8, max_completion_length=STEPS * A_STEP)
    config = Config(
        model=MODEL, agents=AgentsConfig(boundaries="natural", chunk_length=chunk_length), sampling=sampling
    )
    prompts = [[5 + n] for n in range(N)]
    lift = calibration.solve(params, prompts, ys, at, config, tokenizer, scored=scored)
    assert lift == calibration.solve(params, prompts, ys, at, config, tokenizer, scored=scored)
    drawn = chunks(params, prompts, ys, at, lift, config, tokenizer, scored)
    most = 1 + calibration.MOST_PLACES * (STEPS - 1)
    wanted = min(STEPS * A_STEP / chunk_length, most)
    assert abs(drawn.mean() - wanted) < 0.12 * wanted + 3 * drawn.std() / np.sqrt(drawn.size)
    plain = chunks(params, prompts, ys, at, 0.0, config, tokenizer, scored)
    assert abs(plain.mean() - wanted) > 0.15 * wanted, "nothing was to be adjusted"


def chunks(params, prompts, ys, at, lift, config, tokenizer, scored) -> np.ndarray:
    """Chunks of sampled splits, 16 a text."""
    T = int(segment_limit(STEPS * A_STEP, config.agents, tag_tokens=constraints.tag_tokens(tokenizer, scored=scored)))
    machine = constraints.segment_constraint(
        ys, tokenizer, max_tokens=STEPS * A_STEP, scored=scored, places=at, lift=lift
    )
    machine = jax.tree.map(lambda x: np.repeat(x, 16, axis=0), machine)
    asked = episode.helper_sampling.left_pad(prompts, 1, 0)
    query = Query(prompts=asked, limit=np.full((N, 16), T, np.int32), constraint=machine)
    how = Decoding(MODEL, T, tokenizer.eos_ids, 0)
    rollout = generate(params, query, jax.random.key(1), config.sampling.temperature, how)
    assert np.asarray(rollout.finished).all()
    return (np.asarray(rollout.tokens) == tokenizer.intern(b"<seg>")).sum(-1)


def test_nothing_to_split():
    """Texts of one sentence, and texts whose prompt was too long."""
    tokenizer = marked()
    config = Config(model=MODEL, agents=AgentsConfig(boundaries="natural"))
    none, some = np.zeros(3, bool), np.array([False, True, False])
    assert calibration.solve(None, [[1]], [[5, 6, 7]], [none], config, tokenizer) == 0.0
    assert calibration.solve(None, [[]], [[5, 6, 7]], [some], config, tokenizer) == 0.0


def test_odds_are_solved():
    """Against the sum of chances, and within bounds where the sum cannot be had."""
    odds = np.array([-9.0, -2.0, 1.0, 7.0])
    found = calibration.solve_odds(odds, 1.5)
    assert abs((1 / (1 + np.exp(-(odds + found)))).sum() - 1.5) < 1e-9
    assert calibration.solve_odds(odds, 9.0) == pytest.approx(calibration.FURTHEST)


def test_a_split_uses_the_lift_and_keeps_to_its_places(params):
    """The constraint of a calibrated step carries the number; that of an uncalibrated one nothing, so that its
    programs and draws are those of before."""
    tokenizer = marked()
    ys = [[int(t) for t in row] for row in rows(tokenizer)]
    at = [places(y, tokenizer, max_chunks=4) for y in ys]
    machine = constraints.segment_constraint(ys, tokenizer, max_tokens=STEPS * A_STEP, places=at, lift=2.5)
    assert machine.lift is not None
    assert machine.lift.token.tolist() == [tokenizer.intern(b"</seg>")] * N
    assert machine.lift.logit.tolist() == [2.5] * N
    assert ((machine.token >= 0).sum(-1) > 1).sum() == 3 * N
    plain = constraints.segment_constraint(ys, tokenizer, max_tokens=STEPS * A_STEP)
    assert len(jax.tree.leaves(plain)) == 2
    without = dataclasses.replace(machine, lift=None)
    assert jax.tree.structure(without) == jax.tree.structure(plain)
    assert jnp.isfinite(machine.lift.logit).all()
