"""From texts to arrays: chunks on the reasoner's own tokens of y, so that their lengths sum to |y|.

Everything is compared in bytes, through `Tokenizer.token_bytes`: characters may be cut by token borders, and a copy may
tokenise otherwise than its source. White space is ASCII's. Host code, one row at a time, vectorised inside a row.
This module must not know what a chunk is worth.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import chex
import numpy as np

from jaxreason.agents import parsing
from jaxreason.config import AgentsConfig
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.tasks.reading import Reasoning
from jaxreason.types import Chunks, Scores, on_host

IS_SPACE = np.isin(np.arange(256), list(b" \t\n\r\f\v"))
"""Whether each byte is white space."""

NOT_ASKED = ""
"""Cause of a row whose helper was not asked (no text, no chunks); it counts in no rate."""


class Segmentation(NamedTuple):
    """All splits of a step, rows in the order P, G."""

    chunks: Chunks
    texts: list[list[str]]  # chunks as the segmenter wrote them; [] where invalid
    causes: list[str]  # of parsing.SEGMENT_CAUSES, or NOT_ASKED
    exact: list[bool]  # the tags were read and the copy keeps every byte, white space included


class Scoring(NamedTuple):
    """All scores of a step, rows in the order P, G."""

    scores: Scores
    causes: list[str]  # of parsing.SCORE_CAUSES, or NOT_ASKED


def align(
    y_ids: Sequence[int], chunk_texts: Sequence[str], tokenizer: Tokenizer, *, exact_whitespace: bool
) -> np.ndarray | None:
    """Say which chunk each token of y belongs to, or None where the chunks don't give back y.

    Lossless: every byte that is no white space is there, in order, and inside a chunk runs of white space stand where
    y has one; at the border of two chunks white space is free, since a model drops or adds line breaks there. With
    `exact_whitespace` the concatenation is y, byte for byte.

    A token belongs to the chunk of its first byte that is no white space. A token of white space goes with the chunk
    before it, at the very start with the first. A chunk whose tokens all began in an earlier one keeps its place with
    length 0, since the scorer has counted it.

    Returns: int32 [len(y_ids)], non-decreasing from 0; None also for an empty y or no chunks.
    """
    pieces = [tokenizer.token_bytes(i) for i in y_ids]
    chunks = [text.encode("utf-8", "surrogateescape") for text in chunk_texts]
    source, copy = b"".join(pieces), b"".join(chunks)
    if not source.strip() or not chunks or (exact_whitespace and source != copy):
        return None
    ink_B, after_space_B = _ink(source)
    copied_B, copied_after_space_B = _ink(copy)
    inked = np.frombuffer(source, np.uint8)[ink_B], np.frombuffer(copy, np.uint8)[copied_B]
    if not np.array_equal(*inked):
        return None
    ends_K = np.searchsorted(copied_B, np.cumsum([len(chunk) for chunk in chunks]))
    differs_B = after_space_B != copied_after_space_B
    differs_B[0] = False
    differs_B[ends_K[ends_K < len(ink_B)]] = False
    if differs_B.any():
        return None
    borders_T = np.cumsum([0, *map(len, pieces)])
    first_T = np.searchsorted(ink_B, borders_T[:-1])
    has_ink_T = first_T < np.searchsorted(ink_B, borders_T[1:])
    chunk_T = np.where(has_ink_T, np.searchsorted(ends_K, first_T, side="right"), 0)
    return np.maximum.accumulate(chunk_T).astype(np.int32)


def _ink(text: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Where the bytes are that are no white space, and whether white space stands before each."""
    ink_B = np.flatnonzero(~IS_SPACE[np.frombuffer(text, np.uint8)])
    return ink_B, np.diff(ink_B, prepend=-1) > 1


def build_chunks(
    reasonings: Sequence[Reasoning],
    texts: Sequence[str | None],
    finished: Sequence[bool],
    tokenizer: Tokenizer,
    config: AgentsConfig,
    *,
    shape: tuple[int, int, int],
) -> Segmentation:
    """Read the segmenter's answers of a step into arrays.

    Args:
      reasonings: P*G rows, in the order P, G; so are the other lists.
      texts: `tokenizer.text_of` the segmenter's completion without its end token; None where it was not asked.
      finished: whether that completion ended by itself.
      shape: P, G and T of the reasoner's rollout.

    Returns:
      Chunks with K = agents.max_chunks. An invalid row, and one not asked, has no chunk, chunk_id K and lengths 0.
    """
    read = [
        (None, NOT_ASKED)
        if text is None
        else parsing.parse_segments(text, y.text, finished=bool(ended), max_chunks=config.max_chunks)
        for y, text, ended in zip(reasonings, texts, finished, strict=True)
    ]
    return _place_chunks(reasonings, read, tokenizer, config, shape)


def build_annotations(
    reasonings: Sequence[Reasoning],
    texts: Sequence[str | None],
    finished: Sequence[bool],
    tokenizer: Tokenizer,
    config: AgentsConfig,
    *,
    shape: tuple[int, int, int],
) -> tuple[Segmentation, Scoring]:
    """Read the answers of a helper that segments and scores: arguments and chunks as in `build_chunks`, scores as in
    `build_scores`. Scores of chunks that are not valid count as not asked for."""
    read = [
        (None, NOT_ASKED, None, NOT_ASKED)
        if text is None
        else parsing.parse_annotation(text, y.text, finished=bool(ended), max_chunks=config.max_chunks)
        for y, text, ended in zip(reasonings, texts, finished, strict=True)
    ]
    segmentation = _place_chunks(reasonings, [row[:2] for row in read], tokenizer, config, shape)
    value_NK = np.zeros((len(read), config.max_chunks), np.int32)
    causes = []
    for n, ((*_, values, cause), split) in enumerate(zip(read, segmentation.causes, strict=True)):
        causes.append(cause if split == "ok" else NOT_ASKED)
        if split == "ok" and values is not None:
            value_NK[n, : len(values)] = values
    valid = np.array([cause == "ok" for cause in causes]).reshape(shape[:2])
    value = value_NK.reshape(*shape[:2], -1)
    return segmentation, Scoring(on_host(Scores, value=value, valid=valid), causes)


def _place_chunks(
    reasonings: Sequence[Reasoning],
    read: Sequence[tuple[list[str] | None, str]],
    tokenizer: Tokenizer,
    config: AgentsConfig,
    shape: tuple[int, int, int],
) -> Segmentation:
    """Chunks that were read, or None and a cause, on the tokens of y."""
    P, G, T = shape
    K = config.max_chunks
    chunk_id_NT = np.full((P * G, T), K, np.int32)
    length_NK, characters_NK = np.zeros((P * G, K), np.int32), np.zeros((P * G, K), np.int32)
    mask_NK = np.zeros((P * G, K), bool)
    result: list[list[str]] = []
    causes, exact = [], []
    for n, (y, (chunks, cause)) in enumerate(zip(reasonings, read, strict=True)):
        exact.append(chunks is not None and "".join(chunks) == y.text)
        if chunks is not None and len(chunks) < config.min_chunks and len(y.ids) > config.min_chunks_above:
            chunks, cause = None, "too_few"
        if chunks is not None:
            chunk_T = align(y.ids, chunks, tokenizer, exact_whitespace=config.exact_whitespace)
            if chunk_T is None:
                chunks, cause = None, "not_lossless"
            else:
                chunk_id_NT[n, y.places] = chunk_T
                length_NK[n] = np.bincount(chunk_T, minlength=K)
                characters_T = _characters([tokenizer.token_bytes(i) for i in y.ids])
                characters_NK[n] = np.bincount(chunk_T, weights=characters_T, minlength=K)
                mask_NK[n, : len(chunks)] = True
        causes.append(cause)
        result.append(chunks or [])
    found = on_host(
        Chunks,
        chunk_id=chunk_id_NT.reshape(P, G, T),
        length=length_NK.reshape(P, G, K),
        characters=characters_NK.reshape(P, G, K),
        mask=mask_NK.reshape(P, G, K),
        valid=mask_NK.any(-1).reshape(P, G),
    )
    return Segmentation(found, result, causes, exact)


def _characters(pieces: list[bytes]) -> np.ndarray:
    """Characters that begin in each piece, so that the tokens of a text add up to its characters."""
    begins_B = np.frombuffer(b"".join(pieces), np.uint8) & 0xC0 != 0x80
    borders_T = np.cumsum([0, *map(len, pieces)])
    return np.diff(np.concatenate([[0], np.cumsum(begins_B)])[borders_T])


def build_scores(chunks: Chunks, texts: Sequence[str | None], finished: Sequence[bool]) -> Scoring:
    """Read the scorer's answers of a step into arrays.

    Args:
      chunks: of the same rows; a row with n chunks needs exactly n scores.
      texts: the scorer's completions without their end token, in the order P, G; None where it was not asked.
      finished: whether each ended by itself.
    """
    chex.assert_rank(chunks.mask, 3)
    mask_PGK = np.asarray(chunks.mask)
    n_N = mask_PGK.sum(-1).reshape(-1)
    value_NK = np.zeros((n_N.size, mask_PGK.shape[-1]), np.int32)
    causes = []
    for n, (count, text, ended) in enumerate(zip(n_N.tolist(), texts, finished, strict=True)):
        values, cause = None, NOT_ASKED
        if text is not None and count:
            values, cause = parsing.parse_scores(text, count, finished=bool(ended))
        if values is not None:
            value_NK[n, :count] = values
        causes.append(cause)
    valid_PG = np.array([cause == "ok" for cause in causes]).reshape(mask_PGK.shape[:2])
    value_PGK = value_NK.reshape(mask_PGK.shape)
    return Scoring(on_host(Scores, value=value_PGK, valid=valid_PG), causes)


def segment_metrics(segmentation: Segmentation) -> dict[str, tuple[float, float]]:
    """(rows, rows asked) for each cause and for `lossless_exact`; the same names at every step."""
    asked = sum(cause != NOT_ASKED for cause in segmentation.causes)
    counts = _count(segmentation.causes, parsing.SEGMENT_CAUSES, "segment")
    return counts | {"segment/lossless_exact": (float(sum(segmentation.exact)), float(asked))}


def score_metrics(scoring: Scoring) -> dict[str, tuple[float, float]]:
    """(rows, rows asked) for each cause; the same names at every step."""
    return _count(scoring.causes, parsing.SCORE_CAUSES, "score")


def _count(causes: Sequence[str], known: Sequence[str], role: str) -> dict[str, tuple[float, float]]:
    counts = Counter(causes)
    asked = float(len(causes) - counts[NOT_ASKED])
    return {f"{role}/{cause}": (float(counts[cause]), asked) for cause in known}
