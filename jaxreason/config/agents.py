"""How completions are drawn, and how the helpers are asked."""

import dataclasses
from typing import Literal

from jaxreason.config.doors import SPELLINGS, is_door
from jaxreason.config.require import require


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
    """How completions are drawn in training."""

    num_generations: int = 8
    """rollouts G a problem"""
    max_completion_length: int = 160
    """token limit of the reasoner"""
    slots: int | Literal["auto"] = "auto"
    """completions of any role decoded at a time, over all devices; when one ends the next takes its slot. `auto`: as
    many as pay and as memory holds. It decides speed and memory, and not one token"""
    pages: int | Literal["auto"] = "auto"
    """pages of 64 tokens that the slots share and take as they grow. `auto`: enough for every slot to reach the limit,
    or as many as memory holds"""
    temperature: float = 1.0
    """softmax temperature; the trainer's log-probabilities use the same"""
    top_p: float = 1.0
    """smallest set of tokens whose probability reaches this; 1: off"""
    top_k: int = 0
    """this many likeliest tokens; 0: off"""
    min_p: float = 0.0
    """tokens at least this fraction as likely as the likeliest; 0: off"""

    def __post_init__(self):
        require(
            self.num_generations >= 2,
            "sampling.num_generations",
            "at least 2, since an advantage compares the rollouts of one problem",
            self.num_generations,
        )
        require(
            self.max_completion_length >= 2, "sampling.max_completion_length", "at least 2", self.max_completion_length
        )
        for name in ("slots", "pages"):
            value = getattr(self, name)
            require(value == "auto" or value >= 1, f"sampling.{name}", "auto or at least 1", value)
        require(self.temperature > 0, "sampling.temperature", "above 0 (evaluation can be greedy)", self.temperature)
        require(0 < self.top_p <= 1, "sampling.top_p", "in (0, 1]", self.top_p)
        require(self.top_k >= 0, "sampling.top_k", "at least 0", self.top_k)
        require(0 <= self.min_p < 1, "sampling.min_p", "in [0, 1)", self.min_p)


@dataclasses.dataclass(frozen=True)
class AgentsConfig:
    """How the roles are asked, and how the answers of the two helpers are read."""

    prompts: str = "marks"
    """`marks`: one mark a role, for a model trained from scratch; `chat`: instructions through a released model's chat
    template; `plain`: the same instructions as plain text, for a base model; or your own for the helpers, as
    `package.module:name` or `path/file.py:name`"""
    thinking: Literal["default", "off"] = "default"
    """`off`: the reasoner too is asked to answer without a thought, where its chat template knows one"""
    decoding: Literal["free", "constrained"] = "constrained"
    """`free`: helpers write anything (the paper); `constrained`: only well-formed answers can be sampled, but more than
    max_chunks chunks are still invalid"""
    max_chunks: int = 32
    """static maximum K; a split into more is invalid"""
    boundaries: Literal["auto", "natural", "any"] = "auto"
    """where a chunk may begin under the constraint: `natural`, behind the end of a line, a sentence or a display
    formula, at no more than max_chunks - 1 places; `any`, before any token; `auto`: natural, but any with `marks`"""
    chunk_length: int = 32
    """natural boundaries: tokens that a chunk has on average. How readily a new chunk is begun is solved for it on a
    run's first batch, and then stays. 0: as readily as the segmenter's own odds have it"""
    min_chunks: int = 1
    """a split of more than `min_chunks_above` tokens into fewer is invalid (guards against merging)"""
    min_chunks_above: int = 64
    """see min_chunks"""
    scorer_sees_question: bool = True
    """whether the scorer's prompt holds the question (the paper shows it the chunks only)"""
    helpers: Literal["two", "one"] = "two"
    """`two`: a segmenter, and a scorer who sees its chunks; `one`: a single helper that writes chunks and scores in one
    pass, role `annotate`"""
    helper_policy: Literal["shared", "separate"] = "shared"
    """who plays the helpers: `shared`, the policy itself; `separate`, a policy of their own, of the shape in
    helper_model and with its own optimiser. Under either, reward.preset=frozen leaves them as they were at the start"""
    contribution_share: float = 0.25
    """reward.preset=contribution: share of a step's problems whose chunks are measured; the scorer learns from those"""
    exact_whitespace: bool = False
    """whether a lossless split must keep white space byte for byte"""

    def __post_init__(self):
        require(
            self.prompts in ("marks", "chat", "plain") or is_door(self.prompts),
            "agents.prompts",
            f"marks, chat, plain, or {SPELLINGS}",
            self.prompts,
        )
        require(self.max_chunks >= 1, "agents.max_chunks", "at least 1", self.max_chunks)
        require(
            1 <= self.min_chunks <= self.max_chunks, "agents.min_chunks", "in 1..agents.max_chunks", self.min_chunks
        )
        require(0 < self.contribution_share <= 1, "agents.contribution_share", "in (0, 1]", self.contribution_share)
        require(self.chunk_length >= 0, "agents.chunk_length", "at least 0", self.chunk_length)
        require(self.min_chunks_above >= 0, "agents.min_chunks_above", "at least 0", self.min_chunks_above)

    @property
    def separate(self) -> bool:
        """Whether the helpers are a policy of their own."""
        return self.helper_policy == "separate"

    @property
    def natural(self) -> bool:
        """Whether chunks may begin only where lines, sentences and display formulas end."""
        chosen = self.boundaries == "natural" or (self.boundaries == "auto" and self.prompts != "marks")
        return self.decoding == "constrained" and chosen

    @property
    def calibrated(self) -> bool:
        """Whether the odds of a new chunk are lifted to meet chunk_length."""
        return self.natural and self.chunk_length > 0

    @property
    def helper_roles(self) -> tuple[str, ...]:
        """The roles beside the reasoner's."""
        return ("segment", "score") if self.helpers == "two" else ("annotate",)
