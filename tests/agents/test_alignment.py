"""Chunks on y's own tokens, against a plain loop over bytes; and the arrays of a step."""

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.agents import alignment
from jaxreason.agents.alignment import align
from jaxreason.config import AgentsConfig
from jaxreason.tasks.reading import Reasoning
from tests.agents.stand_in import StandIn

SPACE = b" \t\n\r\f\v"
TEXT = st.text(
    alphabet=st.one_of(
        st.sampled_from(list(" \n\t+=<>[]/\\{}$")), st.sampled_from(list("数学é😀👍🏽ß")), st.characters(codec="utf-8")
    ),
    max_size=40,
)


def _slow_owner(pieces: list[bytes], cuts: list[int]) -> list[int]:
    """Chunk of each token by the rule in words: that of its first ink byte; without ink, that of the token before."""
    owners, at = [], 0
    for piece in pieces:
        ink = [at + i for i, byte in enumerate(piece) if byte not in SPACE]
        before = owners[-1] if owners else 0
        owners.append(sum(cut <= ink[0] for cut in cuts) if ink else before)
        at += len(piece)
    return owners


@given(TEXT, st.lists(st.integers(0, 60), max_size=5), st.integers(0, 2**32 - 1))
def test_any_split_of_any_tokens_aligns_as_the_loop_says(text, cuts, seed):
    """Characters cut by tokens, borders inside tokens, white space anywhere: every token gets the right chunk."""
    tokenizer, source = StandIn(), text.encode()
    ids = tokenizer.encode_at_random(source, random.Random(seed))
    cuts = sorted({cut for cut in cuts if 0 < cut < len(source)})
    pieces = [source[a:b] for a, b in zip([0, *cuts], [*cuts, len(source)], strict=True)]
    chunks = [piece.decode("utf-8", "surrogateescape") for piece in pieces]
    if not all(piece.strip() for piece in pieces):
        return
    for exact in (False, True):
        chunk_T = align(ids, chunks, tokenizer, exact_whitespace=exact)
        assert chunk_T is not None
        assert chunk_T.tolist() == _slow_owner([tokenizer.token_bytes(i) for i in ids], cuts)


@given(TEXT, st.integers(0, 100), st.sampled_from(["x", "é", "drop"]), st.integers(0, 2**32 - 1))
def test_any_change_of_a_letter_is_noticed(text, at, change, seed):
    """A paraphrase that passes as lossless would put penalties on the wrong tokens."""
    ink = [i for i, c in enumerate(text) if c not in " \t\n\r\f\v"]
    if not ink:
        return
    i = ink[at % len(ink)]
    wrong = text[:i] + ("" if change == "drop" else change) + text[i + 1 :]
    if wrong == text or "".join(wrong.split()) == "".join(text.split()):
        return
    tokenizer = StandIn()
    ids = tokenizer.encode_at_random(text.encode(), random.Random(seed))
    assert align(ids, [wrong], tokenizer, exact_whitespace=False) is None


def _aligned(source: list[bytes], chunks: list[str], exact=False):
    tokenizer = StandIn()
    chunk_T = align([tokenizer.intern(p) for p in source], chunks, tokenizer, exact_whitespace=exact)
    return None if chunk_T is None else chunk_T.tolist()


def test_white_space_by_hand():
    """Runs collapse inside a chunk and are free at borders; none may appear or vanish inside one."""
    y = [b"a  b\n", b"\n", b"c"]
    assert _aligned(y, ["a b", "c"]) == [0, 0, 1]
    assert _aligned(y, [" a\tb \n", "\nc "]) == [0, 0, 1]
    assert _aligned(y, ["a b c"]) == [0, 0, 0]
    assert _aligned(y, ["ab", "c"]) is None
    assert _aligned(y, ["a b", "c c"]) is None
    assert _aligned([b"1", b"2"], ["1 2"]) is None
    assert _aligned([b"a\xc2\xa0b"], ["a b"]) is None  # a no-break space is a character
    assert _aligned(y, ["a  b\n\n", "c"], exact=True) == [0, 0, 1]
    assert _aligned(y, ["a  b\n", "c"], exact=True) is None


def test_malformed_splits_by_hand():
    """Reordered, dropped, repeated or added chunks give back another text."""
    y = [b"one ", b"two ", b"three"]
    assert _aligned(y, ["one", "two", "three"]) == [0, 1, 2]
    assert _aligned(y, ["two", "one", "three"]) is None
    assert _aligned(y, ["one", "two"]) is None
    assert _aligned(y, ["one", "two", "two", "three"]) is None
    assert _aligned(y, ["one", "two", "3"]) is None
    assert _aligned(y, []) is None
    assert _aligned([], ["one"]) is None
    assert _aligned([b" ", b"\n"], [" "]) is None


def test_leading_white_space_goes_with_the_first_chunk_and_other_with_the_one_before():
    """Every token of y has a chunk, so the lengths add up to |y|."""
    assert _aligned([b"\n", b" a", b"\n", b" ", b"b", b"\n"], ["a", "b"]) == [0, 0, 0, 0, 1, 1]


def test_a_chunk_inside_one_token_keeps_its_place_with_length_0():
    """Dropping it would shift the scores of every later chunk."""
    assert _aligned([b"abc", b"d"], ["a", "b", "cd"]) == [0, 2]


def test_an_emoji_cut_by_tokens():
    """A border between two tokens of one character is lossless in bytes though neither half is text."""
    fire = "🔥".encode()
    halves = [fire[:2].decode("utf-8", "surrogateescape"), fire[2:].decode("utf-8", "surrogateescape")]
    assert _aligned([fire[:2], fire[2:]], ["🔥"]) == [0, 0]
    assert _aligned([fire[:2], fire[2:]], halves) == [0, 1]


CONFIG = AgentsConfig(max_chunks=3, min_chunks=2, min_chunks_above=4)


def _step():
    """Two problems of four rollouts each, one row a case; every y is `ab` `é` `\\n` `c` unless said."""
    tokenizer = StandIn()
    y = [tokenizer.intern(p) for p in (b"ab", "é".encode(), b"\n", b"c")]
    full = Reasoning("abé\nc", y, [1, 2, 3, 4], "5")
    long = Reasoning("abé\ncc", [*y, y[-1]], [1, 2, 3, 4, 5], "5")
    rows = [
        (full, "<seg>abé\n</seg><seg>c</seg>", True),
        (full, "<seg>abé</seg> <seg>c</seg>", True),
        (full, "<seg>abé c", True),
        (full, None, False),
        (full, "<seg>abé\nc</seg>", False),
        (full, "<seg>abd</seg><seg>c</seg>", True),
        (long, "<seg>abé\ncc</seg>", True),
        (full, "<seg>a</seg><seg>b</seg><seg>é</seg><seg>c</seg>", True),
    ]
    reasonings, texts, finished = zip(*rows, strict=True)
    segmentation = alignment.build_chunks(reasonings, texts, finished, tokenizer, CONFIG, shape=(2, 4, 7))
    return segmentation


def test_build_chunks_by_hand():
    """Arrays of a step: y sits after one token that is not y's; invalid rows hold nothing."""
    segmentation = _step()
    chunks = segmentation.chunks
    causes = ["ok", "ok", "unbalanced", "", "truncated", "not_lossless", "too_few", "too_many"]
    assert segmentation.causes == causes
    assert segmentation.exact == [True, False, False, False, False, False, True, False]
    assert segmentation.texts[:3] == [["abé\n", "c"], ["abé", "c"], []]
    assert chunks.valid.tolist() == [[True, True, False, False], [False] * 4]
    assert chunks.chunk_id.shape == (2, 4, 7)
    assert chunks.chunk_id[0, 0].tolist() == [3, 0, 0, 0, 1, 3, 3]
    assert chunks.chunk_id[0, 1].tolist() == [3, 0, 0, 0, 1, 3, 3]
    assert chunks.length[0, 0].tolist() == [3, 1, 0]
    assert chunks.characters[0, 0].tolist() == [4, 1, 0]
    assert chunks.mask[0, 0].tolist() == [True, True, False]
    assert (chunks.chunk_id[~chunks.valid] == 3).all()
    assert not chunks.length[~chunks.valid].any()
    assert not chunks.mask[~chunks.valid].any()
    assert (chunks.chunk_id.dtype, chunks.length.dtype, chunks.characters.dtype) == (np.int32,) * 3


def test_the_mark_between_thought_and_visible_text_belongs_to_no_chunk():
    """Chunks go on behind it at their own tokens; one place off, every later token would get another's penalty."""
    tokenizer = StandIn()
    y = Reasoning("ab\nc", [tokenizer.intern(p) for p in (b"a", b"b\n", b"c")], [0, 3, 4], "5")
    texts = ["<seg>a</seg><seg>b\nc</seg>"]
    segmentation = alignment.build_chunks([y], texts, [True], tokenizer, AgentsConfig(max_chunks=2), shape=(1, 1, 7))
    assert segmentation.chunks.chunk_id[0, 0].tolist() == [0, 2, 2, 1, 1, 2, 2]
    assert segmentation.chunks.length[0, 0].tolist() == [1, 2]


def test_white_space_can_be_held_to_the_byte():
    """agents.exact_whitespace refuses the row whose line break was moved out of its chunk."""
    tokenizer = StandIn()
    y = Reasoning("a\nb", [tokenizer.intern(p) for p in (b"a", b"\n", b"b")], [0, 1, 2], None)
    texts = ["<seg>a\n</seg><seg>b</seg>", "<seg>a</seg>\n<seg>b</seg>"]
    config = AgentsConfig(exact_whitespace=True)
    segmentation = alignment.build_chunks([y, y], texts, [True, True], tokenizer, config, shape=(1, 2, 3))
    assert segmentation.causes == ["ok", "not_lossless"]


def test_build_scores_by_hand():
    """A row counts only with exactly as many scores as chunks; others hold zeros."""
    chunks = _step().chunks
    texts = ["<score>[1]5[2]1</score>", "<score>[1]5</score>", *[None] * 5, "<score>[1]5</score>"]
    scoring = alignment.build_scores(chunks, texts, [True] * 8)
    assert scoring.causes == ["ok", "count", "", "", "", "", "", ""]
    assert scoring.scores.value[0, 0].tolist() == [5, 1, 0]
    assert not scoring.scores.value.reshape(8, 3)[1:].any()
    assert scoring.scores.valid.tolist() == [[True, False, False, False], [False] * 4]


def test_rates_count_the_rows_that_were_asked():
    """A row whose helper was never asked must not look like a bad format."""
    metrics = alignment.segment_metrics(_step())
    assert metrics["segment/ok"] == (2.0, 7.0)
    assert metrics["segment/not_lossless"] == (1.0, 7.0)
    assert metrics["segment/lossless_exact"] == (2.0, 7.0)
    assert sum(total for name, (total, _) in metrics.items() if name != "segment/lossless_exact") == 7.0
    scoring = alignment.build_scores(_step().chunks, [None] * 8, [True] * 8)
    assert alignment.score_metrics(scoring)["score/ok"] == (0.0, 0.0)
