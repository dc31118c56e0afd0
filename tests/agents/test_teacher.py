"""The teacher of `crisp`: what it makes of completions, what that teaches, and what is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.agents import teacher
from jaxreason.agents.episode import Episode
from jaxreason.agents.families import family
from jaxreason.config import AgentsConfig, Config, DataConfig, GRPOConfig, ModelConfig, RewardConfig, load
from jaxreason.data.problems import Problem
from jaxreason.grpo.batch import shapes
from jaxreason.grpo.reference import make_reference
from jaxreason.grpo.signal import signal
from jaxreason.policy import api
from jaxreason.rewards import length_asked as asked
from jaxreason.rewards.importance import initial_ratio
from jaxreason.rewards.length import Moment
from jaxreason.rewards.methods import METHODS, chosen
from jaxreason.rewards.outcome import Outcome
from jaxreason.tasks.opening import task_of
from jaxreason.types import HostRollout
from tests import runs
from tests.agents.stand_in import StandIn
from tests.helpers import TOLERANCE
from tests.rewards.test_length import seen

MODEL = ModelConfig(
    vocab_size=300, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
    num_key_value_heads=1, head_dim=8,
)  # fmt: skip
P, G, T = 2, 2, 6
CONFIG = Config(model=MODEL, agents=AgentsConfig(prompts="plain"), data=DataConfig(task="math"))


def test_the_gap_is_read_behind_the_question_and_the_instruction():
    """Against whole logits, one text at a time. Catches an instruction that is not in the prompt, another problem's
    prompt, an offset of one, texts packed into one another, and what stands behind a completion's end."""
    params = jax.tree.map(lambda x: x * 4, api.init(jax.random.key(0), MODEL))
    rng, tok, task = np.random.default_rng(0), StandIn(), task_of(CONFIG.data)
    length = np.array([[6, 3], [1, 5]])
    rollout = HostRollout(
        tokens=rng.integers(1, 250, (P, G, T)).astype(np.int32), length=length,
        logp=rng.normal(-3, 1, (P, G, T)).astype(np.float32), finished=length < T,
    )  # fmt: skip
    problems = [Problem("a", "1+1?", "2"), Problem("b", "What is 30-2?", "28")]
    played = Episode(problems, {}, {"reason": rollout}, [], None)
    reference = make_reference(lambda *args: api.token_logp(*args, config=MODEL)[0])
    room = shapes([(P * G, 400)], row_length=400, micro_batch_rows=2)
    got = teacher.gap(params, played, "Be brief.", task, reference, CONFIG, tok, shapes=room)
    for p, g in np.ndindex(P, G):
        prompt = tok.encode_batch([told_by_hand(problems[p], task, tok)])[0]
        whole = [*prompt, *rollout.tokens[p, g, : length[p, g]].tolist()]
        ids = np.array([whole], np.int32)
        logits = api.logits(params, ids, np.arange(len(whole))[None], np.ones_like(ids), config=MODEL)[0]
        expected = [jax.nn.log_softmax(logits[s - 1])[whole[s]] for s in range(len(prompt), len(whole))]
        logp = rollout.logp[p, g, : length[p, g]]
        np.testing.assert_allclose(got[p, g, : length[p, g]], expected - logp, atol=TOLERANCE["logits"])
        assert (got[p, g, length[p, g] :] == 0).all()


def told_by_hand(problem: Problem, task, tok) -> str:
    """The prompt, put together without `turns_of`."""
    *before, last = task.messages(problem)
    turns = [*before, {**last, "content": f"{last['content']}\n\nBe brief."}]
    return family("plain").reason(turns, tok, thinking=True)


def test_the_expected_update_is_that_of_the_reverse_divergence():
    """By enumeration over a vocabulary of five: catches a sign, and the divergence the other way round."""
    logits, told = jax.random.normal(jax.random.key(0), (2, 5))
    teacher_logp = jax.nn.log_softmax(told)

    def divergence(logits):
        logp = jax.nn.log_softmax(logits)
        return jnp.sum(jnp.exp(logp) * (logp - teacher_logp))

    logp = jax.nn.log_softmax(logits)
    step = dataclasses.replace(seen([[True]], [[5]]), moment=Moment(teacher=(teacher_logp - logp)[None, None]))
    advantage_A = asked.crisp(step).token[0, 0]
    slopes_AA = jax.jacobian(jax.nn.log_softmax)(logits)
    update = jnp.exp(logp) * advantage_A @ slopes_AA
    np.testing.assert_allclose(update, -jax.grad(divergence)(logits), atol=TOLERANCE["sum"])


def test_every_token_has_its_own_advantage_and_no_group():
    """Catches a mean over the group taken off, a wrong answer left out, and one that could not be graded left in."""
    correct = jnp.array([[True, False], [False, False]])
    gap = jax.random.normal(jax.random.key(0), (2, 2, 4))
    outcome = Outcome(
        correct=correct, gradable=jnp.array([[True, True], [True, False]]), length_y=jnp.full((2, 2), 3, jnp.int32),
        length={"reason": jnp.full((2, 2), 4, jnp.int32)}, finished={"reason": jnp.ones((2, 2), bool)}, chunks=None,
        scores=None, frozen_value=None, widths=(("reason", 4),), moment=Moment(teacher=gap),
    )  # fmt: skip
    rewards, advantages, _ = signal(
        outcome, jnp.float32(0), initial_ratio(), jax.random.key(0),
        reward=RewardConfig(preset="crisp"), grpo=GRPOConfig(), method=METHODS["crisp"], max_length=8,
    )  # fmt: skip
    np.testing.assert_array_equal(advantages.token["reason"], gap.at[1, 1].set(0.0))
    np.testing.assert_array_equal(rewards.parts["outcome"], correct)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("--sampling.top_p=0.9", "sampling.top_p, top_k, min_p: expected none with reward.preset=crisp"),
        ("--reward.reward_funcs=[own.py:brief]", "reward.reward_funcs: expected none with reward.preset=crisp"),
        ("--reward.options={instruction: ''}", "reward.options.instruction: expected a sentence"),
        ("--reward.options={refresh: -1}", "reward.options.refresh: expected a number of steps, or 0, got -1"),
    ],
)
def test_what_has_no_meaning_is_refused(setting, says):
    with pytest.raises(ValueError, match=says):
        chosen(load(None, ["--reward.preset=crisp", setting]))


@pytest.mark.slow
def test_a_run_nears_its_teacher_which_is_renewed_and_resumed(tmp_path_factory, tmp_path):
    """Catches a divergence that grows, a teacher that moves along or never does, and one that a second launch, begun
    between two renewals, makes anew from the start or from the policy of then."""
    warm = runs.warm(tmp_path_factory)
    settings = ["--reward.preset=crisp", "--optimizer.learning_rate=0.002", "--run.save_steps=1"]
    renewed = [*settings, "--reward.options={refresh: 4}"]
    stays, straight, twice = (runs.begin(warm, tmp_path / name) for name in ("stays", "straight", "twice"))
    assert runs.train(stays, *settings, "--run.max_steps=12", "--reward.options={refresh: 0}") == 0
    kl = [row["reason/teacher_kl"] for row in runs.rows(stays)]
    assert np.mean(kl[-4:]) < 0.8 * np.mean(kl[:2])
    assert runs.train(straight, *renewed, "--run.max_steps=12") == 0
    assert runs.rows(straight)[:4] == runs.rows(stays)[:4]
    assert runs.rows(straight)[4]["reason/teacher_kl"] != kl[4]
    assert runs.train(twice, *renewed, "--run.max_steps=6") == 0
    assert runs.train(twice, *renewed, "--run.max_steps=12") == 0
    assert runs.rows(twice) == runs.rows(straight)
