"""What one call of the sampler is asked, as arrays, and how it decodes, which is compiled in."""

import dataclasses

import jax

from jaxreason.config import ModelConfig
from jaxreason.sampling.methods import Method
from jaxreason.sampling.room import Room
from jaxreason.types import Constraint, PromptBatch, pytree


@pytree
class Query:
    """P prompts with G completions each; N = P*G rows."""

    prompts: PromptBatch
    """left-padded"""
    limit: jax.Array
    """int32 [P G], tokens of each row, 0..T; a row of limit 0 stays empty"""
    constraint: Constraint | None = None
    """what each of the N rows may emit; None samples freely"""
    number: jax.Array | None = None
    """int32 [P], the number under which each prompt draws; None: its place in the batch. With the same key and number a
    prompt gets the same completions in any batch"""
    expected: jax.Array | None = None
    """float32 [P], tokens that a completion of each prompt will have: the longest begin first, so that none is left
    over at the end. None: in order. It decides speed and not one token"""


@dataclasses.dataclass(frozen=True)
class Decoding:
    """Static settings: another one is another program."""

    config: ModelConfig
    max_completion_length: int
    """T, tokens"""
    eos_ids: tuple[int, ...]
    """tokens that end a completion; they count in its length"""
    pad_id: int
    """what stands after a completion"""
    method: Method = Method()
    """filters of what is drawn freely; a constraint already says what may be drawn"""
    room: Room = Room()
    """slots and pages, which decide no token"""
