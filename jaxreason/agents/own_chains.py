"""Lessons for the helpers from a policy's own chains: where to split, and what is important, without a label.

Every chain is split at its natural places, and each step is measured (`agents.contribution`). What it contributes is
worth a score of 1 to 5, from 0 to reward.contribution_scale nats (`rewards.format.worth`). Neighbours that are alike
are joined until chunks have the wanted length, so that a chunk begins where importance changes. Both helpers are shown
the result as they would write it. The scorer is shown every chain twice, the second time in another order: what it says
of a chunk shall not follow from its place in the list.

The reasoner is the same policy, and what the helpers learn moves it too, so its own answers stand among the lessons as
something to be kept (`warmup.teach`). Each role has the same share of all weight. Most chunks are worth little, and a
scorer that says so of every chunk is nearly always right: among scores, each value has the same share.
"""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from jaxreason.agents import alignment, boundaries, constraints, prompts
from jaxreason.agents.alignment import Segmentation
from jaxreason.agents.episode import Episode
from jaxreason.agents.frozen_scorer import answer_tokens
from jaxreason.agents.roles import ANNOTATE, REASON, SCORE, SEGMENT, Role
from jaxreason.agents.tags import DIGITS
from jaxreason.config import Config
from jaxreason.data.tokenizer import Tokenizer, text_of
from jaxreason.grpo import batch
from jaxreason.grpo.batch import PackItem
from jaxreason.rewards import format as form
from jaxreason.tasks.reading import Reasoning

LEVELS = len(DIGITS)
MOST = 5.0
"""A score that hardly ever occurs weighs at most so many times what it would without balance: a few noisy chunks."""


def natural_steps(
    reasonings: Sequence[Reasoning],
    finished: np.ndarray,
    config: Config,
    tokenizer: Tokenizer,
    *,
    shape: tuple[int, int, int],
) -> Segmentation:
    """Each y of a batch split at all its natural places; cut chains, and those of one step, have no split.

    Args:
      finished: bool [P G].
      shape: P, G and T of the reasoner's rollout.
    """
    texts: list[str | None] = []
    for y, ended in zip(reasonings, finished.reshape(-1), strict=True):
        at = np.flatnonzero(boundaries.places(y.ids, tokenizer, max_chunks=config.agents.max_chunks))
        pieces = [text_of(part.tolist(), tokenizer) for part in np.split(np.array(y.ids, int), at)]
        texts.append(prompts.segment_text(pieces) if ended and len(at) else None)
    return alignment.build_chunks(reasonings, texts, [True] * len(texts), tokenizer, config.agents, shape=shape)


def joined(lengths: Sequence[int], values: Sequence[int], wanted: float) -> tuple[list[int], list[int]]:
    """Join neighbouring steps, the most alike first and of those the shortest, until they have `wanted` tokens on
    average; what was joined is as important as its most important step.

    Returns: which step each chunk begins with, and its value.

    >>> joined([10, 10, 10, 10], [1, 1, 5, 1], 15)
    ([0, 2, 3], [1, 5, 1])
    """
    chunks = [(n, length, value) for n, (length, value) in enumerate(zip(lengths, values, strict=True))]
    while len(chunks) > 1 and sum(lengths) < wanted * (len(chunks) - 0.5):
        pairs = [(abs(a[2] - b[2]), a[1] + b[1], i) for i, (a, b) in enumerate(itertools.pairwise(chunks))]
        i = min(pairs)[2]
        a, b = chunks[i : i + 2]
        chunks[i : i + 2] = [(a[0], a[1] + b[1], max(a[2], b[2]))]
    return [start for start, _, _ in chunks], [value for _, _, value in chunks]


def lessons(
    episodes: Sequence[Episode], measured: Sequence[np.ndarray], config: Config, tokenizer: Tokenizer
) -> list[PackItem]:
    """What the helpers are shown of these chains, as sequences to be learnt.

    Under the constraint only what is a choice has weight, and is learnt as a choice among what may be written: the rest
    is certain. Where decoding is free, all of an answer is learnt.

    Args:
      episodes: with their natural steps as segmentation.
      measured: of each episode, [P G K], negative where not measured.
    """
    rng = np.random.default_rng([config.run.seed, 3])
    scale = config.reward.contribution_scale
    values = [np.rint(form.worth(jnp.asarray(m), scale=scale)).astype(int) for m in measured]
    found: list[PackItem] = []
    for episode, value_PGK in zip(episodes, values, strict=True):
        assert episode.segmentation is not None  # it was measured
        G = episode.shape[1]
        lengths_NK = np.asarray(episode.segmentation.chunks.length).reshape(len(episode.reasonings), -1)
        for n, value_K in enumerate(value_PGK.reshape(len(lengths_NK), -1)):
            k = int((value_K > 0).sum())
            if k > 1:
                question = episode.problems[n // G].question
                found += _of_chain(
                    question, episode.reasonings[n], lengths_NK[n, :k], value_K[:k], config, tokenizer, rng
                )
    return _balanced(found)


def own_answers(episodes: Sequence[Episode]) -> list[PackItem]:
    """The reasoner's answers as it wrote them, with the log-probabilities that they had: what is to be kept."""
    found: list[PackItem] = []
    for episode in episodes:
        rollout = episode.rollouts[REASON.name]
        one_PGT = np.ones(np.shape(rollout.tokens), np.float32)
        found += batch.items(
            episode.prompts[REASON.name], rollout, weight_PGT=one_PGT, advantage_PGT=one_PGT, role=REASON.id
        )
    return [item for item in found if len(item.completion)]


def shared(items: Sequence[PackItem]) -> list[PackItem]:
    """The same with weights that add up to 1 over each role."""
    total: dict[int, float] = dict.fromkeys((item.role for item in items), 0.0)
    for item in items:
        total[item.role] += float(item.weight.sum())
    return [dataclasses.replace(item, weight=(item.weight / total[item.role]).astype(np.float32)) for item in items]


def _balanced(items: list[PackItem]) -> list[PackItem]:
    """Scores that occur often weigh less, so that all values weigh the same together. Free text stays as it is."""
    scored = [np.zeros(0, bool) if q.candidates is None else q.candidates[:, -1] >= 0 for q in items]
    times = Counter(
        token for q, at in zip(items, scored, strict=True) for token in q.completion[: len(at)][at].tolist()
    )
    even = times.total() / max(len(times), 1)
    found = []
    for q, at in zip(items, scored, strict=True):
        weight = q.weight.copy()
        weight[: len(at)][at] *= [min(MOST, even / times[token]) for token in q.completion[: len(at)][at].tolist()]
        found.append(dataclasses.replace(q, weight=weight))
    return found


def _of_chain(question: str, y: Reasoning, lengths_K, values_K, config: Config, tokenizer: Tokenizer, rng):
    """The sequences of one chain."""
    wanted = max(config.agents.chunk_length, 1)
    first, values = joined(lengths_K.tolist(), values_K.tolist(), wanted)
    borders = np.cumsum([0, *lengths_K])
    at, begins = borders[1:-1].tolist(), set(borders[first].tolist())
    new = [place in begins for place in at]
    texts = [text_of(part.tolist(), tokenizer) for part in np.split(np.array(y.ids, int), borders[first][1:])]
    if config.agents.helpers == "one":
        (asked,) = prompts.render_annotate([question], [y.text], config.agents, tokenizer)
        split = constraints.split_tokens(y.ids, at, new, tokenizer, values)
        return [_item(asked, split.tokens, ANNOTATE, split.decided, split.between, split.scored, config, tokenizer)]
    (asked,) = prompts.render_segment([y.text], config.agents, tokenizer)
    split = constraints.split_tokens(y.ids, at, new, tokenizer)
    found = [_item(asked, split.tokens, SEGMENT, split.decided, split.between, [], config, tokenizer)]
    digit_ids = constraints.digit_tokens(tokenizer).tolist()
    for order in (np.arange(len(texts)), rng.permutation(len(texts))):
        (asked,) = prompts.render_score([question], [[texts[i] for i in order]], config.agents, tokenizer)
        parts = prompts.score_parts(len(order), config.agents)
        tokens, scored = answer_tokens([values[i] for i in order], parts, digit_ids, tokenizer)
        found.append(_item(asked, tokens, SCORE, np.zeros(0, int), np.zeros((0, 2), int), scored, config, tokenizer))
    return found


def _item(asked: str, tokens, role: Role, decided, between, scored, config: Config, tokenizer: Tokenizer) -> PackItem:
    (prompt,) = tokenizer.encode_batch([asked])
    completion = np.array([*tokens, tokenizer.eos_id], np.int32)
    candidates = np.full((len(completion), LEVELS), -1, np.int32)
    candidates[decided, :2] = between
    candidates[scored] = constraints.digit_tokens(tokenizer)
    chosen = (candidates >= 0).any(-1)
    free = config.agents.decoding == "free"
    weight = np.where(chosen, config.warmup.result_weight, 1.0) if free else chosen.astype(float)
    return PackItem(
        prompt=np.array(prompt, np.int32),
        completion=completion,
        old_logp=np.zeros(len(completion), np.float32),
        weight=weight.astype(np.float32),
        advantage=weight.astype(np.float32),
        role=role.id,
        candidates=None if free else candidates,
    )
