"""The roles as data, and how many tokens each may write.

A reasoner, and two helpers or one that does the work of both. One set of parameters plays them all, or a second one the
helpers; a role is an id, a name, a prompt (`prompts.py`) and a limit, never a branch in traced code. This module must
not know what a token or a prompt looks like; how long answers may be is the family's of the prompts.
"""

import dataclasses

import numpy as np

from jaxreason.agents.families import family
from jaxreason.config import ROLES, AgentsConfig, Config


@dataclasses.dataclass(frozen=True)
class Role:
    """One part the policy plays."""

    id: int
    name: str


REASON, SEGMENT, SCORE, ANNOTATE = (Role(id=i, name=name) for i, name in enumerate(ROLES))


def segment_limit(y_tokens: int | np.ndarray, config: AgentsConfig, *, tag_tokens: int = 2) -> np.ndarray:
    """How many tokens the segmenter may write about a text of `y_tokens` tokens.

    With marks or a constraint the answer is y's own tokens, the tags of at most K chunks and the end token (and one to
    spare). A free chat answer may tokenise the copy otherwise, so it gets at least a quarter more and 64. A row without
    text gets 0.

    Args:
      y_tokens: int, any shape; |y| in tokens.
      tag_tokens: tokens around one chunk, and behind it where a score follows (`constraints.tag_tokens`).

    Returns: int32, the shape of `y_tokens`.

    Source: arXiv:2601.21919 does not state limits; 1.25 |y| + 64 keeps truncation from looking like a bad format.
    """
    y = np.asarray(y_tokens, np.int32)
    limit = family(config.prompts).copy_limit(y, y + config.max_chunks * tag_tokens + 2)
    return np.where(y > 0, limit, 0).astype(np.int32)


def score_limit(n: int | np.ndarray, config: AgentsConfig) -> np.ndarray:
    """How many tokens the scorer may write about `n` chunks: 2n + 3 with marks, 16n + 64 without, 0 without chunks.

    Returns: int32, the shape of `n`.
    """
    chunks = np.asarray(n, np.int32)
    limit = family(config.prompts).score_limit(chunks)
    return np.where(chunks > 0, limit, 0).astype(np.int32)


def token_limits(config: Config, *, tag_tokens: int = 2, scored_tag_tokens: int = 5) -> dict[str, int]:
    """The static maximum of each role, by name: what a compiled sampler is shaped for."""
    longest = config.sampling.max_completion_length
    return {
        REASON.name: longest,
        SEGMENT.name: int(segment_limit(longest, config.agents, tag_tokens=tag_tokens)),
        SCORE.name: int(score_limit(config.agents.max_chunks, config.agents)),
        ANNOTATE.name: int(segment_limit(longest, config.agents, tag_tokens=scored_tag_tokens)),
    }
