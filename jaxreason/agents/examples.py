"""Warm-start examples: a labelled demonstration as what each role is asked and what it should write.

Where every piece of a demonstration has a kind of known importance, one piece is one chunk.
This module must not know how examples are batched or learnt from.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxreason.agents import prompts
from jaxreason.agents.roles import ANNOTATE, REASON, SCORE, SEGMENT, Role
from jaxreason.config import AgentsConfig
from jaxreason.data.problems import Problem
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.tasks.base import Piece, Task


class Example(NamedTuple):
    """One supervised sequence; the end token follows the completion and is left to the caller."""

    role: Role
    prompt: str
    completion: str


def role_examples(
    problem: Problem,
    pieces: Sequence[Piece],
    task: Task,
    config: AgentsConfig,
    tokenizer: Tokenizer,
    values: Sequence[int],
) -> list[Example]:
    """Turn a demonstration into one example a role.

    The last piece is the answer line, which is no chunk. A demonstration of the answer alone, or of more than
    agents.max_chunks other pieces, gives an example of the reasoner only: a helper is never shown an invalid answer.

    Args:
      values: 1..5, what the scorer is shown of each piece but the last.

    Raises:
      ValueError: no pieces, or a whole in which the task finds no answer.
    """
    chunks = [piece.text for piece in pieces[:-1]]
    y = "".join(chunks)
    if not pieces or task.read(y + pieces[-1].text).answer is None:
        got = pieces[-1].text if pieces else "no pieces"
        raise ValueError(f"demonstration of {problem.question!r}: expected a last piece with an answer, got {got!r}")
    (asked,) = prompts.render_reason([problem], task, config, tokenizer)
    examples = [Example(REASON, asked, y + pieces[-1].text)]
    if not 1 <= len(chunks) <= config.max_chunks:
        return examples
    if config.helpers == "one":
        (asked,) = prompts.render_annotate([problem.question], [y], config, tokenizer)
        examples.append(Example(ANNOTATE, asked, prompts.annotation_text(chunks, values)))
    else:
        (asked,) = prompts.render_segment([y], config, tokenizer)
        examples.append(Example(SEGMENT, asked, prompts.segment_text(chunks)))
        (asked,) = prompts.render_score([problem.question], [chunks], config, tokenizer)
        examples.append(Example(SCORE, asked, prompts.score_text(values, config)))
    return examples


def label_values(
    pieces: Sequence[Piece], importance: Mapping[str, int], rng: np.random.Generator | None = None
) -> list[int]:
    """What the scorer is shown of each piece but the last: the importance of its kind, or where there is an `rng`
    integers 1..5 drawn from it."""
    if rng is not None:
        return rng.integers(1, 6, len(pieces) - 1).tolist()
    return [importance[piece.kind] for piece in pieces[:-1]]
