"""Token limits of the roles."""

import numpy as np

from jaxreason.agents import prompts, roles
from jaxreason.config import ROLES, AgentsConfig, Config, SamplingConfig
from tests.agents.stand_in import marked


def test_roles_are_numbered_as_in_the_configuration():
    """Coefficients a role in the configuration are in this order."""
    assert [(r.id, r.name) for r in (roles.REASON, roles.SEGMENT, roles.SCORE, roles.ANNOTATE)] == list(
        enumerate(ROLES)
    )


def test_limits_by_hand():
    """1.25 |y| + 64 rounds up; no text and no chunks need no tokens."""
    marks, chat = AgentsConfig(max_chunks=4), AgentsConfig(prompts="chat", max_chunks=4)
    assert roles.segment_limit(np.array([0, 10]), marks).tolist() == [0, 20]
    assert roles.segment_limit(np.array([0, 101]), chat).tolist() == [0, 191]
    assert roles.score_limit(np.array([0, 3]), marks).tolist() == [0, 9]
    assert roles.score_limit(np.array([0, 3]), chat).tolist() == [0, 112]
    config = Config(sampling=SamplingConfig(max_completion_length=10), agents=marks)
    assert roles.token_limits(config) == {"reason": 10, "segment": 20, "score": 11, "annotate": 32}


def test_many_tags_fit_a_chat_limit():
    """With tags of several tokens, |y| and K full chunks can need more than 1.25 |y| + 64."""
    chat = AgentsConfig(prompts="chat", max_chunks=32)
    assert int(roles.segment_limit(40, chat, tag_tokens=7)) >= 40 + 32 * 7 + 1


def test_the_longest_valid_answers_fit_with_marks():
    """A limit one short would truncate exactly the answers that use every chunk."""
    config, tokenizer = AgentsConfig(max_chunks=5), marked(5)
    answers = [prompts.segment_text(["ab"] * 5), prompts.score_text([1] * 5, config)]
    segment, score = tokenizer.encode_batch(answers)
    assert len(segment) + 1 <= int(roles.segment_limit(10, config))
    assert len(score) + 1 <= int(roles.score_limit(5, config))
