"""Warm-start examples: what each role is shown is what its parser accepts and its machine can write."""

import numpy as np
import pytest

from jaxreason.agents import examples
from jaxreason.agents.examples import label_values
from jaxreason.agents.parsing import parse_scores, parse_segments
from jaxreason.config import AgentsConfig
from jaxreason.data.problems import Problem
from jaxreason.data.tokenizer import text_of
from jaxreason.tasks.base import Piece, Task
from jaxreason.tasks.boxed_math import read
from jaxreason.tasks.calculator.demonstrations import IMPORTANCE
from jaxreason.tasks.reading import find_reasoning
from tests.agents.stand_in import StandIn, instruct, marked

PIECES = [Piece("step", "3+5=1\n"), Piece("filler", "hmm let me think\n"), Piece("answer", "\\boxed{1}")]


def role_examples(question, pieces, config, tokenizer, rng=None):
    values = label_values(pieces, IMPORTANCE, rng) if pieces else []
    return examples.role_examples(Problem("a", question, "1"), pieces, Task(), config, tokenizer, values)


def test_three_roles_by_hand():
    """Letter for letter, with the importance of the table."""
    reason, segment, score = role_examples("3+5", PIECES, AgentsConfig(), marked())
    assert [e.role.name for e in (reason, segment, score)] == ["reason", "segment", "score"]
    assert reason[1:] == ("<|reason|>3+5\n", "3+5=1\nhmm let me think\n\\boxed{1}")
    assert segment[1:] == (
        "<|segment|>3+5=1\nhmm let me think\n<|chunks|>",
        "<seg>3+5=1\n</seg><seg>hmm let me think\n</seg>",
    )
    assert score[1:] == (
        "<|score|>3+5\n[1]3+5=1\n[2]hmm let me think\n<|scores|>",
        f"<score>[1]{IMPORTANCE['step']}[2]{IMPORTANCE['filler']}</score>",
    )


def test_scores_at_random_teach_the_form_only():
    """Catches importance that leaks into a start which is to know nothing of it, and an invalid form."""
    rng, drawn = np.random.default_rng(0), []
    for _ in range(200):
        reason, segment, score = role_examples("3+5", PIECES, AgentsConfig(), marked(), rng)
        assert (reason, segment) == tuple(role_examples("3+5", PIECES, AgentsConfig(), marked())[:2])
        values, cause = parse_scores(score.completion, 2)
        assert cause == "ok"
        drawn.append(values)
    counts = np.array([np.bincount(column, minlength=6)[1:] for column in np.transpose(drawn)])
    assert (counts > 20).all()


@pytest.mark.parametrize("form", ["marks", "chat", "plain"])
def test_what_is_taught_is_accepted(form):
    """A form that the parser refuses would be learnt in the warm start and punished in training."""
    tokenizer = marked()
    tokenizer.template = instruct
    reason, segment, score = role_examples("3+5", PIECES, AgentsConfig(prompts=form), tokenizer)
    (ids,) = tokenizer.encode_batch([reason.completion])
    y = find_reasoning(ids, tokenizer, read)
    assert y.text == "3+5=1\nhmm let me think\n"
    assert read(reason.completion).answer == "1"
    (ids,) = tokenizer.encode_batch([segment.completion])
    assert parse_segments(text_of(ids, tokenizer), y.text) == ([p.text for p in PIECES[:-1]], "ok")
    assert parse_scores(score.completion, 2) == ([IMPORTANCE["step"], IMPORTANCE["filler"]], "ok")


def test_helpers_are_left_out_where_their_answer_would_be_invalid():
    """No chunk to split off, or more than fit the arrays."""
    assert len(role_examples("3+5", PIECES[-1:], AgentsConfig(), StandIn())) == 1
    assert len(role_examples("3+5", PIECES, AgentsConfig(max_chunks=1), StandIn())) == 1
    assert len(role_examples("3+5", PIECES, AgentsConfig(max_chunks=2), StandIn())) == 3


def test_a_demonstration_without_an_answer_is_refused():
    """The reasoner would learn to stop without answering."""
    for pieces in ([], PIECES[:-1]):
        with pytest.raises(ValueError, match="expected a last piece with"):
            role_examples("3+5", pieces, AgentsConfig(), StandIn())
