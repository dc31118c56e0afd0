"""One helper that segments and scores in a single pass: its form, its machine, and what is read of its answers."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.agents import parsing, prompts, roles
from jaxreason.agents.alignment import build_annotations
from jaxreason.agents.constraints import segment_constraint, tag_tokens
from jaxreason.agents.parsing import parse_annotation
from jaxreason.config import AgentsConfig
from jaxreason.data.tokenizer import text_of
from jaxreason.tasks.base import Piece
from jaxreason.tasks.calculator.demonstrations import IMPORTANCE
from jaxreason.tasks.reading import Reasoning
from tests.agents.stand_in import StandIn, instruct, marked
from tests.agents.test_constraints import TEXT, walk
from tests.agents.test_examples import role_examples

PIECES = [Piece("step", "3+5=1\n"), Piece("filler", "hmm let me think\n"), Piece("answer", "\\boxed{1}")]
ANYTHING = st.lists(
    st.sampled_from(["<seg>", "</seg>", "<score>", "</score>", "5", "6", "", " ", "a", "<", "</seg", "é", "\udcc3"]),
    max_size=16,
).map("".join)


@pytest.mark.parametrize("form", ["marks", "chat", "plain"])
def test_what_is_taught_is_accepted_and_fits(form):
    """Catches a demonstration that the parser refuses, or that the limit would cut."""
    tokenizer, config = marked(), AgentsConfig(prompts=form, helpers="one")
    tokenizer.template = instruct
    reason, annotate = role_examples("3+5", PIECES, config, tokenizer)
    assert (reason.role, annotate.role) == (roles.REASON, roles.ANNOTATE)
    wanted = [IMPORTANCE["step"], IMPORTANCE["filler"]]
    assert parse_annotation(annotate.completion) == (["3+5=1\n", "hmm let me think\n"], "ok", wanted, "ok")
    if form == "marks":
        assert annotate.prompt == "<|segment|>3+5\n3+5=1\nhmm let me think\n<|scores|>"
    else:
        assert "3+5=1\nhmm let me think\n" in annotate.prompt
        assert f"at most {config.max_chunks} consecutive" in annotate.prompt
    y, written = tokenizer.encode_batch(["3+5=1\nhmm let me think\n", annotate.completion])
    tags = tag_tokens(tokenizer, scored=True)
    assert tags == 5
    assert len(written) + 1 <= int(roles.segment_limit(len(y), config, tag_tokens=tags))


@given(ANYTHING, TEXT, st.booleans(), st.sampled_from([None, 1, 3]))
def test_anything_written_is_read_without_an_exception(text, y, finished, most):
    """Either chunks with a score each, or a cause of the two closed sets."""
    chunks, cause, values, score_cause = parse_annotation(text, y, finished=finished, max_chunks=most)
    assert cause in parsing.SEGMENT_CAUSES
    assert (chunks is None) == (cause != "ok")
    assert score_cause == "" if chunks is None else score_cause in parsing.SCORE_CAUSES
    assert (values is None) == (score_cause != "ok")
    if values is not None:
        assert len(values) == len(chunks)
        assert set(values) <= {1, 2, 3, 4, 5}


@pytest.mark.parametrize(
    ("text", "causes"),
    [
        ("<seg>a</seg><score>5</score>", ("ok", "ok")),
        ("<seg>a</seg>\n<score> 2 </score>\n", ("ok", "ok")),
        ("<seg>a</seg>", ("ok", "count")),
        ("<seg>a</seg><seg>b</seg><score>1</score>", ("ok", "count")),
        ("<seg>a</seg><score>0</score>", ("ok", "range")),
        ("<seg>a</seg><score></score>", ("ok", "range")),
        ("<seg>a</seg><score>5", ("text_outside", "")),
        ("<seg>a</seg><score>5</score><score>5</score>", ("text_outside", "")),
        ("<score>5</score><seg>a</seg>", ("text_outside", "")),
        ("a", ("no_tags", "")),
    ],
)
def test_causes_by_hand(text, causes):
    assert parse_annotation(text)[1::2] == causes


@given(TEXT, st.sampled_from([StandIn, marked]), st.integers(0, 2**32 - 1), st.binary(max_size=3))
def test_what_the_machine_allows_is_lossless_and_scored(text, make, seed, tail):
    """Any y, literal tags and broken characters included: every walk gives back y and a score for every chunk."""
    rng, tokenizer = random.Random(seed), make()
    ids = tokenizer.encode_at_random(text.encode() + tail, rng)
    y = Reasoning(text_of(ids, tokenizer), ids, list(range(len(ids))), None)
    if not y.text.encode("utf-8", "surrogateescape").strip():
        return
    config = AgentsConfig(max_chunks=64, exact_whitespace=True)
    constraint = segment_constraint([ids], tokenizer, max_tokens=len(ids) + rng.randint(0, 2), scored=True)
    for split in (0.0, 0.5, 1.0):
        written, _ = walk(constraint, 0, rng, tokenizer.eos_id, split)
        answer = text_of(written, tokenizer)
        found, scoring = build_annotations([y], [answer], [True], tokenizer, config, shape=(1, 1, len(ids)))
        assert (found.causes, scoring.causes) == (["ok"], ["ok"])
        count = int(np.asarray(found.chunks.mask).sum())
        assert np.asarray(found.chunks.length).sum() == len(ids)
        value_K = np.asarray(scoring.scores.value)[0, 0]
        assert (value_K[:count] > 0).all()
        assert not value_K[count:].any()
        assert answer == prompts.annotation_text(found.texts[0], value_K[:count].tolist())


def test_a_row_of_marks_by_hand():
    """A digit of five behind every closing tag, and nothing else to choose there."""
    tokenizer = marked()
    a, b = (tokenizer.intern(p) for p in (b"a", b"b"))
    token = np.asarray(segment_constraint([[a, b]], tokenizer, max_tokens=2, scored=True).token)[0]
    assert token.shape == (2 * (tag_tokens(tokenizer, scored=True) + 1) + 1, 5)
    assert ((token >= 0).sum(1) == 5).sum() == 2
    rng, constraint = random.Random(0), segment_constraint([[a, b], []], tokenizer, max_tokens=2, scored=True)
    ids, free = walk(constraint, 0, rng, tokenizer.eos_id, 1.0)
    assert text_of(ids, tokenizer).startswith("<seg>a</seg><score>")
    assert free == 3  # one border and two digits
    assert walk(constraint, 1, rng, tokenizer.eos_id) == ([], 0)


def test_a_bad_score_leaves_the_split_and_a_bad_split_asks_for_no_score():
    tokenizer, config = marked(), AgentsConfig(max_chunks=4)
    (ids,) = tokenizer.encode_batch(["ab"])
    y = Reasoning("ab", ids, [0, 1], None)
    texts = ["<seg>a</seg><score>9</score><seg>b</seg><score>1</score>", "<seg>a</seg><score>3</score>", None]
    found, scoring = build_annotations([y] * 3, texts, [True] * 3, tokenizer, config, shape=(3, 1, 2))
    assert found.causes == ["ok", "not_lossless", ""]
    assert scoring.causes == ["range", "", ""]
    assert not np.asarray(scoring.scores.value).any()
    assert np.asarray(found.chunks.valid)[:, 0].tolist() == [True, False, False]
