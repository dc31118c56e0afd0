"""Which terms of the reward reach which role: one table, a row a method.

Sources: `scma`, `lp` arXiv:2601.21919; `truncation` arXiv:2602.20945 eq. 2; the others are ours.
A shared reward invites the scorer to call everything important, which lowers everybody's penalty; `guarded` and
`contribution` therefore keep both the length term and the outcome away from the helpers. Under `guarded` the scorer
stays what it was at the start, under `contribution` it learns what a chunk is good for.
"""

import dataclasses
from collections.abc import Mapping
from typing import Literal

from jaxreason.config import Config


@dataclasses.dataclass(frozen=True)
class Terms:
    """Weights of the terms in one role's reward; the penalty's is multiplied by -alpha."""

    accuracy: float = 0.0
    """of the outcome"""
    penalty: float = 0.0
    """of -alpha f(.)"""
    format: float = 0.0
    """of the role's own format term"""
    agreement: float = 0.0
    """of the agreement with the frozen scorer"""
    contribution: float = 0.0
    """of the agreement with what the chunks measurably contribute; where decoding is constrained, the advantage of the
    right scores instead, which the scorer is shown: see `jaxreason/teaching.py`"""


@dataclasses.dataclass(frozen=True)
class PresetSpec:
    """One method. Hashable, so it can be a static argument."""

    penalty: Literal["chunks", "length", "none", "truncation"]
    """the importance-weighted chunks, |y|, or nothing; `truncation` pays nothing and earns only where short enough"""
    helpers: Literal["none", "train", "frozen"]
    """`frozen`: the helpers are sampled from the starting policy and not updated"""
    shuffle_scores: bool
    """whether scores are permuted inside each response before the penalty"""
    terms: Mapping[str, Terms] = dataclasses.field(hash=False)
    """role -> weights; a role that is not here is not updated"""

    @property
    def labelled(self) -> bool:
        """Whether chunks come from the labels of the built-in task."""
        return self.penalty == "chunks" and self.helpers == "none"

    @property
    def measured(self) -> bool:
        """Whether somebody is paid by what chunks contribute."""
        return any(terms.contribution for terms in self.terms.values())


def chosen(config: Config) -> PresetSpec:
    """The configuration's method. A helper that segments and scores has the scorer's terms, its form that of both."""
    spec = PRESETS[config.reward.preset]
    if config.agents.helpers == "two" or "score" not in spec.terms:
        return spec
    return dataclasses.replace(spec, terms={"reason": spec.terms["reason"], "annotate": spec.terms["score"]})


_LENGTH_CONTROLLED = Terms(accuracy=1.0, penalty=1.0)
_SHARED = Terms(accuracy=1.0, penalty=1.0, format=1.0)
_GUARDED = {
    "reason": _LENGTH_CONTROLLED,
    "segment": Terms(format=1.0),
    "score": Terms(format=1.0, agreement=1.0),
}

PRESETS: dict[str, PresetSpec] = {
    # The reasoner has no format term of its own: its answer parser is the format.
    "scma": PresetSpec("chunks", "train", False, {"reason": _LENGTH_CONTROLLED, "segment": _SHARED, "score": _SHARED}),
    "guarded": PresetSpec("chunks", "train", False, _GUARDED),
    "contribution": PresetSpec("chunks", "train", False, _GUARDED | {"score": Terms(format=1.0, contribution=1.0)}),
    "frozen": PresetSpec("chunks", "frozen", False, {"reason": _LENGTH_CONTROLLED}),
    "shuffled": PresetSpec("chunks", "train", True, _GUARDED),
    # Chunks without helpers: the labels of the built-in task say which, see agents/oracle.py.
    "oracle": PresetSpec("chunks", "none", False, {"reason": _LENGTH_CONTROLLED}),
    "lp": PresetSpec("length", "none", False, {"reason": _LENGTH_CONTROLLED}),
    "truncation": PresetSpec("truncation", "none", False, {"reason": Terms(accuracy=1.0)}),
    "grpo": PresetSpec("none", "none", False, {"reason": Terms(accuracy=1.0)}),
}
