"""The same promises on the tokenizers a run uses: sentencepiece with marks, and byte-level BPE as Qwen splits."""

import json
import random
import warnings

import pytest

from jaxreason.agents import prompts
from jaxreason.agents.alignment import align
from jaxreason.agents.constraints import score_constraint, segment_constraint, tag_tokens
from jaxreason.agents.parsing import parse_scores, parse_segments
from jaxreason.config import AgentsConfig
from jaxreason.data import tokenizer as tokenizers_room
from jaxreason.data.tokenizer import text_of
from jaxreason.tasks.boxed_math import read
from jaxreason.tasks.calculator.demonstrations import SYMBOLS
from jaxreason.tasks.reading import find_reasoning
from tests.agents.test_constraints import walk

QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CORPUS = ["Step 1: we have 2+3=5.\n\nSo <seg>the</seg> answer is \\boxed{5}.\n", "数学 is fun 😀, isn't it?\n"] * 30
TEXTS = [
    "We know $\\frac{1}{2}$ of 12 is 6.\n\nWait, <seg>check</seg> it:  6*2=12 ✓.\nSo  it is 6.\n",
    "数学的答案😀👍🏽 é \n\t x=1;\n\n\n  y=</seg>",
    "a",
]


@pytest.fixture(scope="module")
def bpe(tmp_path_factory):
    """Byte-level BPE with Qwen's split, trained on a few lines; `<seg>` is several tokens, as in a released model."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=380,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>"],
        show_progress=False,
    )
    raw.train_from_iterator(CORPUS, trainer)
    folder = tmp_path_factory.mktemp("bpe")
    raw.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return tokenizers_room.load(folder)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    """Sentencepiece with the marks of the built-in task."""
    folder = tmp_path_factory.mktemp("sp")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # SWIG types of sentencepiece, on import
        return tokenizers_room.train_sentencepiece(
            CORPUS, folder, vocab_size=420, symbols=[*prompts.marks(8), *SYMBOLS]
        )


@pytest.fixture(params=["bpe", "pieces"])
def tokenizer(request):
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("y", TEXTS)
def test_sampled_splits_are_lossless(tokenizer, y):
    """Tags of several tokens, fused punctuation and cut emojis included."""
    (ids,) = tokenizer.encode_batch([y])
    constraint = segment_constraint([ids], tokenizer, max_tokens=len(ids))
    for seed in range(20):
        sampled, _ = walk(constraint, 0, random.Random(seed), tokenizer.eos_id, split=seed / 19)
        chunks, cause = parse_segments(text_of(sampled, tokenizer), y)
        assert cause == "ok"
        chunk_T = align(ids, chunks, tokenizer, exact_whitespace=True)
        assert set(chunk_T.tolist()) == set(range(len(chunks)))


def test_a_free_copy_aligns_though_it_tokenises_otherwise(tokenizer):
    """Written afresh between tags, words fall into other tokens than in y."""
    y = TEXTS[0]
    (ids,) = tokenizer.encode_batch([y])
    cut = y.index("Wait")
    (written,) = tokenizer.encode_batch([prompts.segment_text([y[:cut], y[cut:]])])
    chunks, _ = parse_segments(text_of(written, tokenizer), y)
    chunk_T = align(ids, chunks, tokenizer, exact_whitespace=False)
    before = text_of([i for i, c in zip(ids, chunk_T, strict=True) if c == 0], tokenizer)
    assert before.strip() == y[:cut].strip()


@pytest.mark.parametrize("form", ["marks", "chat"])
def test_sampled_scores_are_valid(tokenizer, form):
    """Digits stand alone in both tokenizers, next to brackets and spaces."""
    constraint = score_constraint([3, 0, 8], tokenizer, AgentsConfig(prompts=form, max_chunks=8))
    for row, n in ((0, 3), (2, 8)):
        sampled, free = walk(constraint, row, random.Random(0), tokenizer.eos_id)
        values, cause = parse_scores(text_of(sampled, tokenizer), n)
        assert (cause, free) == ("ok", n)
        (canonical,) = tokenizer.encode_batch([prompts.score_text(values, AgentsConfig(prompts=form))])
        assert text_of(canonical, tokenizer) == text_of(sampled, tokenizer)


def test_marks_are_single_tokens(pieces):
    """Each costs one token, or the limits of the helpers are too small."""
    assert all(len(ids) == 1 for ids in pieces.encode_batch(prompts.marks(8)))
    assert tag_tokens(pieces) == 2
    config = AgentsConfig(max_chunks=8)
    assert score_constraint([8], pieces, config).token.shape == (1, 2 * 8 + 3, 5)


def test_reasoning_is_found_in_tokens(tokenizer):
    """A token such as `.\\n` before the answer line is y's; one that holds the line's beginning is not."""
    completion = "2+3=5.\n\nSo the answer is \\boxed{5}.\n"
    (ids,) = tokenizer.encode_batch([completion])
    reasoning = find_reasoning(ids, tokenizer, read)
    assert reasoning.answer == "5"
    assert reasoning.text == "2+3=5.\n\n"
    assert text_of(reasoning.ids, tokenizer) == reasoning.text
