"""Warm-start examples: a labelled demonstration as what each role is asked and what it should write.

Where every piece of a demonstration has a kind of known importance, one piece is one chunk.
This module must not know how examples are batched or learnt from.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxreason.agents import prompts
from jaxreason.agents.roles import ANNOTATE, REASON, SCORE, SEGMENT, Role
from jaxreason.config import AgentsConfig
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.tasks.calculator.demonstrations import IMPORTANCE, Piece


class Example(NamedTuple):
    """One supervised sequence; the end token follows the completion and is left to the caller."""

    role: Role
    prompt: str
    completion: str


def role_examples(
    question: str,
    pieces: Sequence[Piece],
    config: AgentsConfig,
    tokenizer: Tokenizer,
    rng: np.random.Generator | None = None,
) -> list[Example]:
    """Turn a demonstration into one example a role.

    The last piece is the answer line, which is no chunk. A demonstration of the answer alone, or of more than
    agents.max_chunks other pieces, gives an example of the reasoner only: a helper is never shown an invalid answer.
    Scores are the importance of the pieces, or drawn from `rng` where there is one.

    Raises:
      ValueError: no pieces, or a last piece that holds no box.
    """
    if not pieces or prompts.BOX not in pieces[-1].text:
        got = pieces[-1].text if pieces else "no pieces"
        raise ValueError(f"demonstration of {question!r}: expected a last piece with {prompts.BOX}...}}, got {got!r}")
    chunks = [piece.text for piece in pieces[:-1]]
    y = "".join(chunks)
    (asked,) = prompts.render_reason([question], config, tokenizer)
    examples = [Example(REASON, asked, y + pieces[-1].text)]
    values = [IMPORTANCE[piece.kind] for piece in pieces[:-1]]
    if rng is not None:
        values = rng.integers(1, 6, len(values)).tolist()
    if not 1 <= len(chunks) <= config.max_chunks:
        return examples
    if config.helpers == "one":
        (asked,) = prompts.render_annotate([question], [y], config, tokenizer)
        examples.append(Example(ANNOTATE, asked, prompts.annotation_text(chunks, values)))
    else:
        (asked,) = prompts.render_segment([y], config, tokenizer)
        examples.append(Example(SEGMENT, asked, prompts.segment_text(chunks)))
        (asked,) = prompts.render_score([question], [chunks], config, tokenizer)
        examples.append(Example(SCORE, asked, prompts.score_text(values, config)))
    return examples
