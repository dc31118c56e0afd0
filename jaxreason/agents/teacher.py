"""What the policy of an earlier step makes of completions when its prompt asks for more than theirs did."""

from collections.abc import Callable, Sequence

import jax
import numpy as np

from jaxreason.agents import prompts
from jaxreason.agents.episode import Episode
from jaxreason.agents.roles import REASON
from jaxreason.config import Config
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.grpo.batch import PackItem, Shape, pack, shape_for, unpack
from jaxreason.tasks.asking import told
from jaxreason.tasks.base import Task
from jaxreason.types import Params, UpdateBatch

SLACK = 8
"""Tokens by which an instruction inside a prompt can be longer than by itself."""


def gap(
    params: Params,
    episode: Episode,
    instruction: str,
    task: Task,
    reference: Callable[[Params, UpdateBatch], jax.Array],
    config: Config,
    tokenizer: Tokenizer,
    *,
    shapes: Sequence[Shape],
) -> np.ndarray:
    """How much likelier the teacher holds each sampled token than the policy that sampled it.

    The teacher reads the question, the instruction and what the policy wrote without having read it. Its mean over
    tokens is minus the reverse KL divergence from policy to teacher, by samples. Costs a forward pass.

    Args:
      params: the teacher's.
      instruction: stands behind each question.
      reference: `make_reference` of log-probabilities at the sampling temperature.
      shapes: of packed batches, for the rows of `longest` tokens.

    Returns:
      float32 [P G T], log pi_teacher - log pi, nats; 0 behind a completion's end.

    Raises:
      ValueError: a prompt with the instruction that does not fit into a row with its completion.
    """
    rollout = episode.rollouts[REASON.name]
    asked = tokenizer.encode_batch(
        prompts.render_reason(episode.problems, task, config.agents, tokenizer, instruction=instruction)
    )
    P, G, T = rollout.tokens.shape
    items = []
    for n, (tokens, length) in enumerate(zip(rollout.tokens.reshape(-1, T), rollout.length.reshape(-1), strict=True)):
        flat = np.ones(length, np.float32)
        prompt, completion = np.array(asked[n // G], np.int32), tokens[:length]
        items.append(PackItem(prompt=prompt, completion=completion, old_logp=flat, weight=flat, advantage=flat, role=0))
    packed = pack(items, shape_for(items, shapes))
    read = unpack(items, np.asarray(reference(params, packed)))
    gap_NT = np.zeros((P * G, T), np.float32)
    for n, teacher_T in enumerate(read):
        if teacher_T is not None:
            gap_NT[n, : len(teacher_T)] = teacher_T - rollout.logp.reshape(-1, T)[n, : len(teacher_T)]
    return gap_NT.reshape(P, G, T)


def longest(instruction: str, config: Config, tokenizer: Tokenizer) -> int:
    """The most tokens that a prompt with the instruction and its completion can have."""
    (extra,) = tokenizer.encode_batch([told(instruction)])
    return config.data.max_prompt_length + len(extra) + SLACK + config.sampling.max_completion_length
