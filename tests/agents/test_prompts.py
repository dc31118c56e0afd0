"""What each role is asked, letter for letter."""

import pytest

from jaxreason.agents import prompts
from jaxreason.agents.families import starts_inside_think
from jaxreason.config import AgentsConfig
from tests.agents.stand_in import StandIn, always_thinking, instruct, qwen3
from tests.agents.stand_in import asked as ask

MARKS, CHAT = AgentsConfig(), AgentsConfig(prompts="chat", max_chunks=8)
SEGMENT = """\
Split the reasoning below into consecutive chunks: one step, one check or one remark each, at most 8 chunks.
Copy the text exactly, character for character. Leave nothing out, add nothing, correct nothing.
Put every chunk between <seg> and </seg>, and write nothing outside these tags, like this:
<seg>first chunk</seg><seg>second chunk</seg>

Reasoning:
{2}+3=5
so 5"""
SCORE = """\
Question:
{2}+3?

Reasoning, in 2 numbered chunks:
[1] {2}+3=5
[2] so 5

Rate how important each chunk is for reaching the right answer, with an integer from 1 to 5:
5 is essential, 3 is helpful, 1 could be left out.
Write one rating for each chunk, in order, and nothing else, like this:
<score>[1] 5 [2] 1</score>"""


def _three(config, tokenizer):
    reason = ask("{2}+3?", config, tokenizer)
    (segment,) = prompts.render_segment(["{2}+3=5\nso 5"], config, tokenizer)
    (score,) = prompts.render_score(["{2}+3?"], [["{2}+3=5\n", "so 5"]], config, tokenizer)
    return reason, segment, score


def test_marks_are_bare():
    """A stray space or line break would be a prompt the warm start never showed."""
    assert _three(MARKS, StandIn()) == (
        "<|reason|>{2}+3?\n",
        "<|segment|>{2}+3=5\nso 5<|chunks|>",
        "<|score|>{2}+3?\n[1]{2}+3=5\n[2]so 5<|scores|>",
    )


def test_the_question_can_be_hidden_from_the_scorer():
    """The paper shows the scorer the chunks alone."""
    hidden = AgentsConfig(scorer_sees_question=False)
    assert prompts.render_score(["q"], [["a"]], hidden, StandIn()) == ["<|score|>[1]a<|scores|>"]
    chat = AgentsConfig(prompts="chat", scorer_sees_question=False)
    (asked,) = prompts.render_score(["SECRET"], [["a"]], chat, StandIn(template=qwen3))
    assert "SECRET" not in asked
    assert "Question" not in asked


@pytest.mark.parametrize(
    ("template", "helper_tail"),
    [
        (qwen3, "<think>\n\n</think>\n\n"),
        (instruct, ""),
    ],
)
def test_chat_snapshot(template, helper_tail):
    """Helpers must not think; the reasoner's default is left alone; braces in a text are no format fields."""
    head, tail = "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"
    reason, segment, score = _three(CHAT, StandIn(template=template))
    assert reason == (
        f"{head}{{2}}+3?\n\nPlease reason step by step, and put your final answer within \\boxed{{}}.{tail}"
    )
    assert segment == head + SEGMENT + tail + helper_tail
    assert score == head + SCORE + tail + helper_tail


def test_a_template_that_always_thinks_has_its_thought_closed_for_helpers():
    """R1-Distill ignores enable_thinking: without this, every helper's answer would stand inside a thought."""
    reason, segment, score = _three(CHAT, StandIn(template=always_thinking))
    assert reason.endswith("<|Assistant|><think>\n")
    assert starts_inside_think(reason)
    for asked in (segment, score):
        assert asked.endswith("<|Assistant|><think>\n\n</think>\n\n")
        assert not starts_inside_think(asked)


def test_plain_is_the_same_words():
    """A base model has no template to render through."""
    reason, segment, score = _three(AgentsConfig(prompts="plain", max_chunks=8), StandIn())
    assert reason.startswith("{2}+3?\n\n")
    assert segment == SEGMENT + "\n\nAnswer:\n"
    assert score == SCORE + "\n\nAnswer:\n"


def test_a_closed_thought_is_not_open():
    """An empty thought in the prompt (Qwen3, thinking off) must not count as open, nor a tag in the question."""
    assert not starts_inside_think("<think>\n\n</think>\n\n")
    assert not starts_inside_think("what does <think> mean?<|im_end|>\n<|im_start|>assistant\n")


def test_prompts_can_always_be_encoded():
    """A sampled y may be broken UTF-8; its surrogates would stop the tokenizer."""
    broken = b"a\xf0\x9f b".decode("utf-8", "surrogateescape")
    for asked in (*prompts.render_segment([broken], MARKS, StandIn()),):
        assert asked.encode()
    assert prompts.render_score(["q"], [[broken]], MARKS, StandIn())[0].encode()


def test_answer_forms():
    """The forms the warm start teaches are those the constraint forces."""
    assert prompts.segment_text(["a\n", "b"]) == "<seg>a\n</seg><seg>b</seg>"
    assert prompts.score_text([5, 1], MARKS) == "<score>[1]5[2]1</score>"
    assert prompts.score_text([5, 1], CHAT) == "<score>[1] 5 [2] 1</score>"
    assert prompts.score_text([], MARKS) == "<score></score>"


def test_marks_cover_every_form():
    """A mark left out of the trained vocabulary would cost several tokens a chunk and break the token limits."""
    tokenizer = StandIn(prompts.marks(3))
    ids = tokenizer.encode_batch([prompts.score_text([5, 1, 2], MARKS), prompts.segment_text(["a", "b"])])
    assert [len(row) for row in ids] == [2 + 2 * 3, 2 * 2 + 2]
