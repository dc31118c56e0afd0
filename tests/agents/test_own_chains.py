"""Lessons from own chains: what is shown can be sampled, says what was measured, and is learnt."""

import collections
import dataclasses

import jax
import numpy as np
import pytest

from jaxreason import warmup
from jaxreason.agents import constraints, own_chains
from jaxreason.agents.boundaries import places
from jaxreason.agents.episode import Episode
from jaxreason.agents.parsing import parse_annotation, parse_scores, parse_segments
from jaxreason.config import AgentsConfig, Config, LoraConfig, ModelConfig
from jaxreason.data.problems import Problem
from jaxreason.data.tokenizer import text_of
from jaxreason.grpo import batch
from jaxreason.grpo.batch import PackItem
from jaxreason.policy import api
from jaxreason.tasks.reading import Reasoning
from jaxreason.types import HostRollout, PromptBatch
from tests.agents.stand_in import marked

MODEL = ModelConfig(
    vocab_size=128, hidden_size=24, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2,
    num_key_value_heads=1, head_dim=12,
)  # fmt: skip
TEXTS = ["qj\nvk\nwz\nxq\n", "one line", "x=1\nyy\nz=2\n", "cut\noff\n"]
"""Three chains with a place to split, of which the last was cut, and one without."""
MEASURED = [[[8.0, 0.0, 0.0, 4.0]], [[-1.0] * 4], [[6.0, 0.0, 7.0, -1.0]], [[-1.0] * 4]]


def setting(**agents):
    tokenizer = marked()
    config = Config(
        model=MODEL, agents=AgentsConfig(boundaries="natural", max_chunks=4, min_chunks_above=999, **agents)
    )
    ids = tokenizer.encode_batch(TEXTS)
    reasonings = [Reasoning(t, i, list(range(len(i))), "1") for t, i in zip(TEXTS, ids, strict=True)]
    finished = np.array([[True], [True], [True], [False]])
    T = max(map(len, ids))
    steps = own_chains.natural_steps(reasonings, finished, config, tokenizer, shape=(4, 1, T))
    rollout = HostRollout(
        tokens=np.zeros((4, 1, T), int), length=np.zeros((4, 1), int), logp=np.zeros((4, 1, T)), finished=finished
    )
    problems = [Problem(str(n), f"question {n}?", "1") for n in range(4)]
    episode = Episode(problems, {}, {"reason": rollout}, reasonings, None, segmentation=steps)
    return config, tokenizer, episode


def test_chains_are_split_at_all_their_places():
    """A cut chain and one of a single step teach nothing."""
    *_, episode = setting()
    assert episode.segmentation.texts == [["qj\n", "vk\n", "wz\n", "xq\n"], [], ["x=1\n", "yy\n", "z=2\n"], []]
    assert episode.segmentation.chunks.length[0, 0].tolist() == [3, 3, 3, 3]


def test_joining_keeps_what_differs_apart():
    """The most alike first: a needed step stays alone while needless neighbours are left."""
    starts, values = own_chains.joined([5] * 8, [1, 1, 5, 1, 2, 1, 1, 5], wanted=10)
    assert starts == [0, 2, 3, 7]
    assert values == [1, 5, 2, 5]
    assert own_chains.joined([5] * 8, [1, 1, 5, 1, 2, 1, 1, 5], wanted=1)[0] == list(range(8))
    assert own_chains.joined([5, 5], [1, 5], wanted=100) == ([0], [5])


@pytest.mark.parametrize("form", ["chat", "marks"])
def test_lessons_of_two_helpers(form):
    """They parse as what was measured, in any order; candidates are what the constraint offers; only choices weigh."""
    config, tokenizer, episode = setting(chunk_length=4, prompts=form)
    tokenizer.template = lambda content, **_: content
    items = own_chains.lessons([episode], [np.array(MEASURED)], config, tokenizer)
    by_role = {role: [item for item in items if item.role == role] for role in (1, 2)}
    assert [len(some) for some in by_role.values()] == [2, 4]
    for item, n in zip(by_role[1], (0, 2), strict=True):
        y = episode.reasonings[n]
        written = item.completion.tolist()
        chunks, cause = parse_segments(text_of(written[:-1], tokenizer), y.text)
        assert cause == "ok"
        assert chunks == {0: ["qj\n", "vk\nwz\n", "xq\n"], 2: ["x=1\n", "yy\n", "z=2\n"]}[n]
        at = places(y.ids, tokenizer, max_chunks=4)
        follow(constraints.segment_constraint([y.ids], tokenizer, max_tokens=len(y.ids), places=[at]), item)
        assert item.weight.sum() == at.sum()
    values = {"qj": "5", "vk\nwz": "1", "xq": "3", "x=1": "4", "yy": "1", "z=2": "4"}
    for item in by_role[2]:
        prompt = text_of(item.prompt.tolist(), tokenizer)
        scores, cause = parse_scores(text_of(item.completion[:-1].tolist(), tokenizer), 3)
        assert cause == "ok"
        shown = sorted((chunk for chunk in values if chunk in prompt), key=prompt.find)
        assert "".join(map(str, scores)) == "".join(values[chunk] for chunk in shown)
        follow(constraints.score_constraint([3], tokenizer, config.agents), item)
        assert ((item.weight > 0) == (item.candidates[:, -1] >= 0)).all()
    orders = [text_of(item.prompt.tolist(), tokenizer) for item in by_role[2]]
    assert len(set(orders)) > 2, "no chain was shown in another order"


def test_every_value_of_a_score_weighs_the_same():
    """Catches a scorer that learns to call everything unimportant because most chunks are. By hand: 12 scores, of which
    5 and 3 stand twice and 1 and 4 four times, so that each of the four values has a quarter of 12."""
    config, tokenizer, episode = setting(chunk_length=4)
    tokenizer.template = lambda content, **_: content
    items = own_chains.lessons([episode], [np.array(MEASURED)], config, tokenizer)
    total = collections.Counter()
    for item in items:
        for token, weight, few in zip(item.completion.tolist(), item.weight, item.candidates, strict=True):
            if few[-1] >= 0:
                total[text_of([token], tokenizer)] += float(weight)
    assert total == {"5": 3, "1": 3, "3": 3, "4": 3}
    shares = collections.Counter()
    for item in own_chains.shared(items):
        shares[item.role] += float(item.weight.sum())
    assert shares == {1: pytest.approx(1), 2: pytest.approx(1)}


def test_a_rare_value_counts_five_times_and_no_more():
    few = np.array([[3, 4, 5, 6, 7]] * 40)
    once = np.array([3] + [4] * 39)
    one = np.ones(40)
    lesson = PackItem(
        prompt=once[:1], completion=once, old_logp=0 * one, weight=one, advantage=one, role=2, candidates=few
    )
    (item,) = own_chains._balanced([lesson])
    assert item.weight.tolist() == [5.0] + [20 / 39] * 39


def follow(machine, item) -> None:
    """The completion is a way through the machine, and has its choices as candidates."""
    state = 0
    for token, few in zip(item.completion.tolist(), item.candidates, strict=True):
        offered = [t for t in machine.token[0, state].tolist() if t >= 0]
        assert token in offered
        assert [t for t in few.tolist() if t >= 0] == (offered if len(offered) > 1 else [])
        state = int(machine.next[0, state, offered.index(token)])
    assert state == machine.next[0, state, 0]


def test_lessons_of_one_helper():
    config, tokenizer, episode = setting(chunk_length=4, helpers="one")
    items = own_chains.lessons([episode], [np.array(MEASURED)], config, tokenizer)
    chunks, cause, values, scored = parse_annotation(text_of(items[0].completion[:-1].tolist(), tokenizer), TEXTS[0])
    assert (cause, scored) == ("ok", "ok")
    assert list(zip(chunks, values, strict=True)) == [("qj\n", 5), ("vk\nwz\n", 1), ("xq\n", 3)]
    at = places(episode.reasonings[0].ids, tokenizer, max_chunks=4)
    follow(
        constraints.segment_constraint([episode.reasonings[0].ids], tokenizer, max_tokens=12, scored=True, places=[at]),
        items[0],
    )


def test_free_helpers_are_taught_the_form_as_well():
    config, tokenizer, episode = setting(chunk_length=4, decoding="free")
    for item in own_chains.lessons([episode], [np.array(MEASURED)], config, tokenizer):
        assert item.candidates is None
        assert (item.weight > 0).all()


def test_lessons_are_learnt():
    """Catches weights on the wrong tokens: after enough passes every choice is the shown one, and what is no choice
    has not been learnt."""
    config, tokenizer, episode = setting(chunk_length=4)
    config = dataclasses.replace(
        config, warmup=dataclasses.replace(config.warmup, chain_epochs=60, chain_learning_rate=3e-3)
    )
    items = own_chains.lessons([episode], [np.array(MEASURED)], config, tokenizer)
    packed = batch.pack(items, batch.Shape(max_micro=3, micro_batch_rows=1, row_length=160), num_candidates=5)
    params = jax.jit(lambda: api.init(jax.random.key(0), MODEL))()
    before, after = (
        np.asarray(choices(some, packed))
        for some in (params, warmup.teach(jax.tree.map(lambda x: x + 0, params), packed, config)[0])
    )
    assert before.max() < -0.01
    assert before.mean() < -0.8
    assert after.min() > -0.3


def test_the_reasoner_is_kept():
    """Catches a start of the helpers that teaches the reasoner, which is the same policy, other answers. Its own are
    kept beside the lessons, which are learnt all the same; alone they move nothing."""
    config, tokenizer, episode = setting(chunk_length=4)
    config = dataclasses.replace(
        config, warmup=dataclasses.replace(config.warmup, chain_epochs=60, chain_learning_rate=3e-3)
    )
    params = jax.jit(lambda: api.init(jax.random.key(0), MODEL))()
    lessons = own_chains.lessons([episode], [np.array(MEASURED)], config, tokenizer)
    shape = batch.Shape(max_micro=4, micro_batch_rows=1, row_length=160)

    def wrote(logp):
        """The reasoner's answers, three of them, with log-probabilities."""
        rollout = episode.rollouts["reason"]
        ids = [*episode.reasonings[0].ids, tokenizer.eos_id], episode.reasonings[2].ids, episode.reasonings[3].ids
        tokens, length = np.zeros((4, 1, 20), int), np.zeros((4, 1), int)
        for n, row in zip((0, 2, 3), ids, strict=True):
            tokens[n, 0, : len(row)], length[n] = row, len(row)
        rollout = dataclasses.replace(rollout, tokens=tokens, length=length, logp=logp)
        prompts = PromptBatch(tokens=np.arange(4)[:, None] + 5, length=np.ones(4, int))
        return own_chains.own_answers(
            [dataclasses.replace(episode, prompts={"reason": prompts}, rollouts={"reason": rollout})]
        )

    def logp_of(params, items):
        packed = batch.pack(items, shape, num_candidates=5)
        found, _ = api.token_logp(
            params,
            *(getattr(packed, name).reshape(-1, 160) for name in ("tokens", "positions", "segments")),
            config=MODEL,
        )
        return batch.unpack(items, np.asarray(found).reshape(packed.tokens.shape))

    plain = wrote(np.zeros((4, 1, 20)))
    assert [len(item.completion) for item in plain] == [13, 11, 8]
    before = logp_of(params, plain)
    logp = np.zeros((4, 1, 20), np.float32)
    for n, some in zip((0, 2, 3), before, strict=True):
        logp[n, 0, : len(some)] = some
    own = wrote(logp)

    def taught(items):
        packed = batch.pack(own_chains.shared(items), shape, num_candidates=5)
        after, moved = warmup.teach(jax.tree.map(lambda x: x + 0, params), packed, config)
        log_ratio = np.concatenate(logp_of(after, own)) - np.concatenate(before)
        return after, moved, (np.exp(log_ratio) - 1 - log_ratio).mean()

    lessons_packed = batch.pack(lessons, shape, num_candidates=5)
    alone, none, lost = taught(lessons)
    both, moved, kept = taught([*lessons, *own])
    assert none == 0
    assert lost > 0.1
    assert kept < 0.01 * lost
    assert moved == pytest.approx(kept, rel=1, abs=0.01)
    assert choices(both, lessons_packed).mean() > choices(alone, lessons_packed).mean() - 0.2
    _, moved, kept = taught(own)
    assert moved == pytest.approx(0, abs=1e-6)
    assert kept == pytest.approx(0, abs=1e-6)


def test_what_pulls_a_token_back():
    """By hand: the slope is r - 1, so a token that became likelier is pulled down and one that became less likely up,
    and above three nats the slope stays. Catches a clip that pushes a token on that is far too likely already."""
    at = np.array([0.0, 0.5, -2.0, 2.9, 3.1, 50.0], np.float32)
    want = np.exp(np.minimum(at, 3.0)) - 1
    np.testing.assert_allclose(jax.vmap(jax.grad(warmup.moved_by))(at), want, rtol=1e-5)
    assert (np.diff(warmup.moved_by(np.linspace(0, 50, 200, dtype=np.float32))) > 0).all()


def test_with_adapters_adapters_are_taught_and_merged():
    """Catches a start that needs the memory of all weights where the run trains adapters, and adapters that are not in
    what comes back: every matrix moves by one of rank r, and what no adapter belongs to not at all."""
    config, tokenizer, episode = setting(chunk_length=4)
    config = dataclasses.replace(
        config,
        lora=LoraConfig(r=4, lora_alpha=16),
        warmup=dataclasses.replace(config.warmup, chain_epochs=60, chain_learning_rate=1e-2),
    )
    items = own_chains.lessons([episode], [np.array(MEASURED)], config, tokenizer)
    packed = batch.pack(items, batch.Shape(max_micro=3, micro_batch_rows=1, row_length=160), num_candidates=5)
    params = jax.jit(lambda: api.init(jax.random.key(0), MODEL))()
    taught, _ = warmup.teach(jax.tree.map(lambda x: x + 0, params), packed, config)
    moved = jax.tree.map(lambda after, before: np.float64(after) - np.float64(before), taught, params)
    for names, difference in jax.tree_util.tree_leaves_with_path(moved):
        if names[-1].key == "kernel":
            (size,) = np.linalg.svd(difference, compute_uv=False)
            assert size[0] > 1e-2 > 1e3 * size[4], names
        else:
            assert not difference.any(), names
    assert choices(taught, packed).mean() > choices(params, packed).mean() + 0.2


def choices(params, packed):
    micro = [getattr(packed, name).reshape(-1, 160) for name in ("tokens", "positions", "segments")]
    logp, _ = api.token_logp(params, *micro, packed.candidates.reshape(-1, 160, 5), config=MODEL)
    return np.asarray(logp)[packed.weight.reshape(-1, 160) > 0]
