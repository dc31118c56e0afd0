"""What chunks contribute, against cutting them out one at a time by hand."""

import jax
import numpy as np
import pytest

from jaxreason.agents import contribution
from jaxreason.agents.alignment import Segmentation
from jaxreason.agents.episode import Episode
from jaxreason.config import AgentsConfig, Config, ModelConfig, load
from jaxreason.grpo.batch import shapes
from jaxreason.grpo.reference import make_reference
from jaxreason.policy import api
from jaxreason.types import Chunks, HostRollout, PromptBatch
from tests.agents.stand_in import StandIn
from tests.helpers import TOLERANCE

MODEL = ModelConfig(
    vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
    num_key_value_heads=1, head_dim=8,
)  # fmt: skip
P, G, T, K = 3, 2, 14, 4
PROMPT = [5, 6, 7]


@pytest.fixture(scope="module")
def params():
    """Large enough that a token more or less changes what comes next."""
    made = jax.jit(lambda: api.init(jax.random.key(0), MODEL))()
    return jax.tree.map(lambda x: x * 4, made)


def _episode(rng: np.random.Generator) -> Episode:
    """Completions with an opening tag that is no chunk, chunks, and an answer; the last of them without a split."""
    tokens = rng.integers(8, 32, (P, G, T)).astype(np.int32)
    length = rng.integers(9, T + 1, (P, G)).astype(np.int32)
    chunk_id = np.full((P, G, T), K, np.int32)
    mask = np.zeros((P, G, K), bool)
    for p, g in np.ndindex(P, G):
        ends = np.sort(rng.choice(np.arange(2, 7), 3, replace=False))
        for k, (a, b) in enumerate(zip([1, *ends[:-1]], ends, strict=True)):
            chunk_id[p, g, a:b] = k
            mask[p, g, k] = True
    valid = np.ones((P, G), bool)
    valid[-1, -1] = False
    chunks = Chunks(chunk_id=chunk_id, length=mask.astype(np.int32), characters=mask.astype(np.int32), mask=mask,
                    valid=valid)  # fmt: skip
    prompt = np.zeros((P, 5), np.int32)
    prompt[:, 2:] = PROMPT
    return Episode(
        problems=[], reasonings=[], grades=None,
        prompts={"reason": PromptBatch(tokens=prompt, length=np.full(P, 3, np.int32))},
        rollouts={"reason": HostRollout(tokens=tokens, length=length, logp=tokens * 0.0, finished=valid)},
        segmentation=Segmentation(chunks, [], [], []),
    )  # fmt: skip


def _logp(params, completion) -> np.ndarray:
    """Of each token of a completion, one text at a time, from whole logits."""
    ids = np.array([[*PROMPT, *completion]], np.int32)
    logits = api.logits(params, ids, np.arange(ids.shape[1])[None], np.ones_like(ids), config=MODEL)[0]
    return np.array([jax.nn.log_softmax(logits[s - 1])[ids[0, s]] for s in range(len(PROMPT), ids.shape[1])])


def _measure(params, episode: Episode, count: int, micro_batch_rows: int = 3, **look) -> np.ndarray:
    likelihood = make_reference(lambda *args: api.token_logp(*args, config=MODEL)[0])
    room = shapes([(contribution.num_texts(G, K), 5 + T)], row_length=24, micro_batch_rows=micro_batch_rows)
    return contribution.contributions(
        params, episode, likelihood, count=count, shapes=room, look=contribution.Look(**look)
    )


def test_the_largest_fall_behind_the_chunk_by_hand(params):
    """Catches tokens before the chunk or of the chunk compared, an offset of one, and texts packed into one another."""
    episode = _episode(np.random.default_rng(0))
    got = _measure(params, episode, count=2)
    rollout, chunks = episode.rollouts["reason"], episode.segmentation.chunks
    for p, g in np.ndindex(P, G):
        whole = rollout.tokens[p, g, : rollout.length[p, g]]
        of_chunk = chunks.chunk_id[p, g, : len(whole)]
        for k in range(K):
            if p >= 2 or not chunks.mask[p, g, k]:
                assert got[p, g, k] == contribution.NOT_MEASURED
                continue
            last = np.flatnonzero(of_chunk == k)[-1]
            before = _logp(params, whole)[last + 1 :]
            after = _logp(params, whole[of_chunk != k])[-len(before) :]
            assert got[p, g, k] == pytest.approx(max(0.0, (before - after).max()), abs=TOLERANCE["logits"])
    assert (got > 0.1).any()  # the policy does look back


def test_only_the_counted_tokens_are_looked_at(params):
    """Catches a mask that is laid over the shortened text, or moved by the prompt."""
    episode = _episode(np.random.default_rng(0))
    got = _measure(params, episode, count=1, counted=lambda ids: np.array(ids) % 3 == 0)
    rollout, chunks = episode.rollouts["reason"], episode.segmentation.chunks
    for g, k in np.ndindex(G, K):
        if chunks.mask[0, g, k]:
            whole = rollout.tokens[0, g, : rollout.length[0, g] - rollout.finished[0, g]]
            of_chunk = chunks.chunk_id[0, g, : len(whole)]
            behind = np.flatnonzero(of_chunk == k)[-1] + 1
            before, after = _logp(params, whole)[behind:], _logp(params, whole[of_chunk != k])[-len(whole[behind:]) :]
            fall = (before - after)[whole[behind:] % 3 == 0]
            assert got[0, g, k] == pytest.approx(max(0.0, fall.max(initial=0.0)), abs=TOLERANCE["logits"])
    assert (got < _measure(params, episode, count=1)).any()


def test_something_neutral_can_stand_in_the_place_of_a_chunk(params):
    """Catches a replacement that shifts what is compared behind it, or that makes a text longer than the completion."""
    episode = _episode(np.random.default_rng(0))
    got = _measure(params, episode, count=1, neutral=(9, 9, 9))
    rollout, chunks = episode.rollouts["reason"], episode.segmentation.chunks
    for g, k in np.ndindex(G, K):
        if chunks.mask[0, g, k]:
            whole = rollout.tokens[0, g, : rollout.length[0, g] - rollout.finished[0, g]]
            at = np.flatnonzero(chunks.chunk_id[0, g, : len(whole)] == k)
            behind = whole[at[-1] + 1 :]
            instead = [*whole[: at[0]], *[9] * min(3, len(at)), *behind]
            fall = _logp(params, whole)[at[-1] + 1 :] - _logp(params, instead)[-len(behind) :]
            assert got[0, g, k] == pytest.approx(max(0.0, fall.max(initial=0.0)), abs=TOLERANCE["logits"])


def test_a_released_model_is_judged_by_numbers():
    """Catches the rule of the built-in policies applied to prose, where any cut makes the next words unlikely."""
    tokenizer = StandIn()
    pieces = (b"2", b". so", b" 12", b"=", b"3.", b"5", b"x4y", b"\xef\xbc\x95", b"\n (", b"3", b") Step 4: 5")
    numbers = contribution.look_for(AgentsConfig(prompts="chat"), tokenizer).counted
    assert numbers is not None
    found = numbers([tokenizer.intern(piece) for piece in pieces]).tolist()
    assert found == [False, False, True, False, True, True, True, False, False, False, True]
    assert contribution.look_for(AgentsConfig(), tokenizer) == contribution.Look()


def test_rows_and_shapes_do_not_matter(params):
    """Catches a result that depends on how texts are packed, or on the problems beside it."""
    episode = _episode(np.random.default_rng(1))
    all_of_them = _measure(params, episode, count=P)
    np.testing.assert_allclose(all_of_them, _measure(params, episode, P, micro_batch_rows=1), atol=TOLERANCE["logits"])
    np.testing.assert_array_equal(all_of_them[:1], _measure(params, episode, count=1)[:1])
    assert (all_of_them[-1, -1] == contribution.NOT_MEASURED).all()


def test_a_share_of_the_problems_is_measured_and_never_none():
    """Catches a small batch whose scorer would never learn."""

    def asked(share: float, problems: int) -> Config:
        return load(None, [f"--agents.contribution_share={share}", f"--data.prompts_per_step={problems}"])

    assert contribution.num_problems(asked(0.25, 12)) == 3
    assert contribution.num_problems(asked(0.1, 2)) == 1
    assert contribution.num_problems(asked(1.0, 5)) == 5
