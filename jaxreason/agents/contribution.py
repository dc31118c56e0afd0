"""What a chunk contributes to the text behind it, found without labels: cut it out, and read on.

A chunk is needed where what follows cannot be foreseen without it: a result that later lines go on from, a check whose
correction they use. Whoever reads on is the policy as it was at the start, which training cannot move. Looking at the
answer alone does not do: a chain states its last result shortly before the answer, whatever led there
(docs/results/scorer.md).
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from jaxreason.agents.episode import Episode
from jaxreason.agents.roles import REASON
from jaxreason.config import AgentsConfig, Config
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.grpo.batch import PackItem, Shape, pack, shape_for, unpack
from jaxreason.types import Params, UpdateBatch

NOT_MEASURED = -1.0

NEUTRAL = "...\n\n"
"""What stands in a chunk's place for a released model, so that the form of the text stays."""


class Look(NamedTuple):
    """How a chunk is left out, and what is looked at behind it."""

    counted: Callable[[Sequence[int]], np.ndarray] | None = None  # the tokens of a completion -> bool; None: all
    neutral: tuple[int, ...] = ()  # what stands in the chunk's place


def look_for(config: AgentsConfig, tokenizer: Tokenizer) -> Look:
    """Every token behind a bare cut, where a policy knows the form of its chains by heart (`marks`); with a released
    model the `numbers` behind an ellipsis in the chunk's place.

    Whatever is cut out of a released model's prose, the words next to the cut become unlikely: that is form. A number
    becomes unlikely where what it came from is gone (docs/results/helpers.md compares the candidates).
    """
    if config.prompts == "marks":
        return Look()
    (neutral,) = tokenizer.encode_batch([NEUTRAL])
    return Look(lambda ids: numbers([tokenizer.token_bytes(i) for i in ids]), tuple(neutral))


_DIGITS = re.compile(rb"\d+")
_ITEM = re.compile(rb"(?:^|\n)[ \t>#*_(\[-]*\d{1,3}[.):]|\bstep[ \t]+\d+", re.IGNORECASE)
"""The number of an item or of a step, which follows from the one before it."""


def numbers(pieces: Sequence[bytes]) -> np.ndarray:
    """Which tokens hold a digit of a number that says something, bool: the number of an item or a step does not.

    >>> numbers([b"1", b".", b" 12", b"+", b"3", b"\\n", b"2", b".", b" Step", b" 4"]).tolist()
    [False, False, True, False, True, False, False, False, False, False]
    """
    text = b"".join(pieces)
    says_B = np.zeros(len(text) + 1, bool)
    for pattern, says in ((_DIGITS, True), (_ITEM, False)):
        for match in pattern.finditer(text):
            says_B[slice(*match.span())] = says
    borders_T = np.cumsum([0, *map(len, pieces)])
    until_B = np.concatenate([[0], np.cumsum(says_B)])
    return until_B[borders_T[1:]] > until_B[borders_T[:-1]]


def contributions(
    params: Params,
    episode: Episode,
    likelihood: Callable[[Params, UpdateBatch], jax.Array],
    *,
    count: int,
    shapes: Sequence[Shape],
    look: Look = Look(),
) -> np.ndarray:
    """For each chunk, the largest fall in log-probability of a token behind it when the chunk is cut out.

    The largest and not the sum, since a sum grows with the text that is left. Where a chunk is the last, what is
    behind it is the answer. Costs a forward pass over n + 1 texts for a completion of n chunks.

    Args:
      params: of the policy that reads, usually the starting one.
      likelihood: `make_reference` of log-probabilities at temperature 1; -inf has no place here.
      count: the first so many problems of the batch are measured; the batch is in random order.
      shapes: of packed batches that hold all texts of one problem, see `num_texts`.
      look: see `look_for`.

    Returns:
      float32 [P G K], nats, at least 0; NOT_MEASURED for chunks that do not exist, of rows without a valid split, and
      of other problems.
    """
    assert episode.segmentation is not None  # there is nothing to cut without chunks
    chunks = jax.tree.map(np.asarray, episode.segmentation.chunks)
    P, G, K = chunks.length.shape
    ids = episode.rollouts[REASON.name].completion_ids
    asked = episode.prompts[REASON.name]
    result_PGK = np.full((P, G, K), NOT_MEASURED, np.float32)
    for p in range(min(count, P)):
        prompt = np.asarray(asked.tokens[p])[-int(asked.length[p]) :]
        texts: list[PackItem] = []
        places: list[tuple[int, int, int]] = []  # row, chunk, index of its last token; of every text but the whole ones
        for g in range(G):
            if not chunks.valid[p, g]:
                continue
            whole = np.asarray(ids[p * G + g], np.int32)
            chunk_T = chunks.chunk_id[p, g, : len(whole)]
            texts.append(_text(prompt, whole))
            places.append((g, -1, 0))
            for k in np.flatnonzero(chunks.mask[p, g]):
                at = np.flatnonzero(chunk_T == k)
                # No longer than the chunk, so that no text is longer than the completion.
                instead = np.array(look.neutral[: len(at)], np.int32)
                texts.append(
                    _text(prompt, np.concatenate([whole[: at[0]], instead, whole[at[0] :][chunk_T[at[0] :] != k]]))
                )
                places.append((g, int(k), int(at[-1])))
        if not texts:
            continue
        packed = pack(texts, shape_for(texts, shapes))
        read = unpack(texts, np.asarray(likelihood(params, packed)))
        whole_T, counted_T = np.zeros(0, np.float32), np.zeros(0, bool)
        for (g, k, last), logp_T in zip(places, read, strict=True):
            if logp_T is None:  # the chunk was the whole completion: nothing is left to foresee
                result_PGK[p, g, k] = 0.0
            elif k < 0:
                whole_T = logp_T
                counted_T = np.ones(len(logp_T), bool) if look.counted is None else look.counted(ids[p * G + g])
            else:
                behind = len(whole_T) - last - 1
                fall_T = whole_T[last + 1 :] - logp_T[len(logp_T) - behind :]
                result_PGK[p, g, k] = max(0.0, float(fall_T[counted_T[last + 1 :]].max(initial=0.0)))
    return result_PGK


def num_problems(config: Config) -> int:
    """How many of a step's problems are measured: agents.contribution_share of them, at least one."""
    return max(1, round(config.agents.contribution_share * config.data.prompts_per_step))


def num_texts(num_generations: int, max_chunks: int) -> int:
    """How many texts one problem can have: each completion whole, and without each of its chunks."""
    return num_generations * (max_chunks + 1)


def _text(prompt: np.ndarray, completion: np.ndarray) -> PackItem:
    flat = np.ones(len(completion), np.float32)
    return PackItem(prompt=prompt, completion=completion, old_logp=flat, weight=flat, advantage=flat, role=REASON.id)
