"""What the frozen scorer makes of chunks that the live scorer scored: the yardstick of score inflation.

It is asked about the very text the live scorer saw, and read as an expectation rather than a sample: one forward pass,
no noise. The scores before a chunk's own are the live ones, since that is what stands in the text.
"""

from collections.abc import Callable, Sequence

import jax
import numpy as np

from jaxreason.agents import prompts, tags
from jaxreason.agents.episode import Episode
from jaxreason.agents.roles import SCORE
from jaxreason.config import Config
from jaxreason.data.tokenizer import Tokenizer, readable
from jaxreason.grpo.batch import PackItem, Shape, pack, shape_for, unpack
from jaxreason.types import Params, UpdateBatch

DIGITS = len(tags.DIGITS)


def expected_scores(
    params: Params,
    episode: Episode,
    expect: Callable[[Params, UpdateBatch], jax.Array],
    config: Config,
    tokenizer: Tokenizer,
    *,
    shapes: Sequence[Shape],
) -> np.ndarray:
    """The frozen scorer's expected score of every chunk that has a live one.

    Args:
      params: the frozen scorer's.
      expect: `make_reference` of the policy's `expected_candidate`.
      shapes: of packed batches, see `grpo.batch.shapes`.

    Returns:
      float32 [P G K] in 1..5, 0 where the live scorer gave no valid score.
    """
    assert episode.scoring is not None  # asked for only where helpers train
    value_PGK = np.asarray(episode.scoring.scores.value)
    value_NK = value_PGK.reshape(-1, value_PGK.shape[-1])
    digit_ids = [ids[0] for ids in tokenizer.encode_batch(tags.DIGITS)]
    single = config.agents.helpers == "one"
    assert episode.segmentation is not None  # there are scores
    items, places = [], []
    for prompt, chunks, row in zip(episode.scorer_prompts, episode.segmentation.texts, value_NK, strict=True):
        values = [int(v) for v in row if v > 0]
        if single:
            parts = prompts.annotation_parts([readable(chunk) for chunk in chunks])
        else:
            parts = prompts.score_parts(len(values), config.agents)
        completion, at = answer_tokens(values, parts, digit_ids, tokenizer)
        if len(prompt) + len(completion) > shapes[-1].row_length:  # chunks can be longer in tokens than they were in y
            completion, at = [], []
        candidates = np.full((len(completion), DIGITS), -1, np.int32)
        candidates[at] = digit_ids
        places.append(at)
        flat = np.full(len(completion), float(len(at) > 0), np.float32)
        items.append(
            PackItem(
                prompt=np.array(prompt, np.int32),
                completion=np.array(completion, np.int32),
                old_logp=flat,
                weight=flat,
                advantage=flat,
                role=SCORE.id,
                candidates=candidates,
            )
        )
    packed = pack(items, shape_for(items, shapes), num_candidates=DIGITS)
    expected = unpack(items, np.asarray(expect(params, packed)))
    result_NK = np.zeros(value_NK.shape, np.float32)
    for n, (found, at) in enumerate(zip(expected, places, strict=True)):
        if found is not None:
            result_NK[n, : len(at)] = 1.0 + found[at]
    return result_NK.reshape(value_PGK.shape)


def answer_tokens(
    values: Sequence[int], parts: list[str], digit_ids: Sequence[int], tokenizer: Tokenizer
) -> tuple[list[int], list[int]]:
    """Tokens of the scorer's answer in its canonical form, the values between its parts, and where they stand."""
    if not values:
        return [], []
    *before, end = tokenizer.encode_batch(parts)
    tokens: list[int] = []
    at: list[int] = []
    for part, value in zip(before, values, strict=True):
        tokens += part
        at.append(len(tokens))
        tokens.append(digit_ids[value - 1])
    return tokens + end, at
