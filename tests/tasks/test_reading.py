"""y on a completion's own tokens."""

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.data.tokenizer import readable, text_of
from jaxreason.tasks.boxed_math import read
from jaxreason.tasks.reading import Reasoning, find_reasoning
from jaxreason.types import HostRollout
from tests.agents.stand_in import StandIn, marked
from tests.agents.test_alignment import TEXT


def test_find_reasoning_by_hand():
    """y's tokens are whole tokens before the answer line; one that reaches into it is not y's."""
    tokenizer = StandIn()

    def found(pieces):
        return find_reasoning([tokenizer.intern(p) for p in pieces], tokenizer, read)

    def ids(*pieces):
        return [tokenizer.intern(p) for p in pieces]

    assert found([b"2+3", b"=5\n", b"\\boxed{", b"5}"]) == Reasoning("2+3=5\n", ids(b"2+3", b"=5\n"), [0, 1], "5")
    assert found([b"2+3", b"=5\n\\boxed", b"{5}"]) == Reasoning("2+3", ids(b"2+3"), [0], "5")
    assert found([b"<think>", b"\n", b"a", b"</think>", b"\\boxed{5}"]) == Reasoning("a", ids(b"a"), [2], "5")
    assert found([b"\n", b"\\boxed{5}"]) == Reasoning("", [], [], "5")
    assert found([b"\\boxed{5}"]) == Reasoning("", [], [], "5")
    assert found([]) == Reasoning("", [], [], None)
    thought = [b"a", b"</think>", b"b", b"\n", b"\\boxed{5}"]
    assert found(thought) == Reasoning("ab\n", ids(b"a", b"b", b"\n"), [0, 2, 3], "5")
    fused = [b"a.", b"</", b"think", b">\n", b"b", b"\n\\boxed{5}"]
    assert found(fused) == Reasoning("a.b", ids(b"a.", b"b"), [0, 4], "5")


@given(TEXT, TEXT, TEXT, st.booleans(), st.booleans(), st.integers(0, 2**32 - 1))
def test_find_reasoning_gives_back_its_own_tokens(y, visible, answer, opened, closed, seed):
    """text is always the text of ids, and ids lie where places says."""
    tokenizer = StandIn()
    text = ("<think>\n" if opened else "") + y + ("</think>" + visible if closed else "") + "\n\\boxed{" + answer + "}"
    completion = tokenizer.encode_at_random(text.encode(), random.Random(seed))
    reasoning = find_reasoning(completion, tokenizer, read)
    assert reasoning.text == text_of(reasoning.ids, tokenizer)
    assert [completion[at] for at in reasoning.places] == reasoning.ids
    assert reasoning.places == sorted(set(reasoning.places))


def test_reasoning_is_charged_on_either_side_of_the_end_of_the_thought():
    """Where only the thought counted, moving text behind `</think>` would make it free."""
    tokenizer = StandIn(["</think>"])
    words = [tokenizer.intern(b"w%d " % i) for i in range(8)]
    (mark,) = tokenizer.encode_batch(["</think>"])
    (tail,) = tokenizer.encode_batch(["\n\\boxed{5}"])
    lengths = {len(find_reasoning([*words[:k], *mark, *words[k:], *tail], tokenizer, read).ids) for k in range(9)}
    assert max(lengths) - min(lengths) <= 1  # the line break before the answer, where nothing visible stands before it
    assert min(lengths) >= 8


def test_completion_ids_leave_out_the_end_token_only():
    """A completion that was cut has no end token to take away."""
    rollout = HostRollout(
        tokens=np.array([[[5, 6, 1, 0], [5, 6, 7, 8], [0, 0, 0, 0]]], np.int32),
        length=np.array([[3, 4, 0]], np.int32),
        logp=np.zeros((1, 3, 4), np.float32),
        finished=np.array([[True, False, False]]),
    )
    assert rollout.completion_ids == [[5, 6], [5, 6, 7, 8], []]


def test_a_text_survives_any_cut():
    """Decoded pieces add up to the decoded whole, which replacement characters would not."""
    fire = "🔥".encode()
    tokenizer = marked()
    ids = [tokenizer.intern(fire[:3]), tokenizer.intern(fire[3:])]
    assert "".join(text_of([i], tokenizer) for i in ids).encode("utf-8", "surrogateescape") == fire
    assert text_of(ids, tokenizer) == "🔥"
    assert readable(text_of(ids[:1], tokenizer)) == "\ufffd"
