"""What the helpers may write, as finite-state machines in arrays: only well-formed answers can be sampled.

A segmenter chooses, at every place in y, between y's next token and a new chunk; a scorer chooses a digit a chunk.
Everything else is forced and has log-probability 0. Row sizes vary, shapes don't, so one compilation serves a run.
This module must not know how the machine is walked.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxreason.agents.prompts import score_parts
from jaxreason.agents.tags import CLOSE, DIGITS, OPEN, SCORE_CLOSE, SCORE_OPEN
from jaxreason.config import AgentsConfig
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.types import Constraint, Lift, on_host


def tag_tokens(tokenizer: Tokenizer, *, scored: bool = False) -> int:
    """Tokens of one opening and one closing `<seg>` tag together, and of a score behind it: 2, or 5, where they are
    marks."""
    tags = [OPEN, CLOSE, SCORE_OPEN, DIGITS[0], SCORE_CLOSE] if scored else [OPEN, CLOSE]
    return sum(map(len, tokenizer.encode_batch(tags)))


def segment_constraint(
    y_rows: Sequence[Sequence[int]],
    tokenizer: Tokenizer,
    *,
    max_tokens: int,
    scored: bool = False,
    places: Sequence[np.ndarray] | None = None,
    lift: float | None = None,
) -> Constraint:
    """Let each row write `<seg>..</seg>...<seg>..</seg>` around its own y, token for token, and then end.

    A new chunk may begin before any token of y, except where
    - the chunk before it, or the token itself, would be white space only (such tokens go with the chunk before);
    - the token continues a character begun before it;
    - y goes on with a literal closing tag, or with its first token: it could not be told from the real one;
    - `places` has none.
    So every chunk owns a token, and what is written parses and aligns without loss. The number of chunks is free: a
    machine that counted them would be K times the size. A row with more than K is invalid, as `too_many` or, at its
    token limit, as `truncated`.

    Args:
      y_rows: token ids of each y; an empty row ends at once.
      max_tokens: the longest y, in tokens; the static size.
      scored: whether `<score>d</score>` with a digit of 1 to 5 stands behind every chunk.
      places: for each row, before which of its tokens a chunk may begin, bool, see `boundaries.places`; None: any.
      lift: what is added to the logit of a new chunk wherever it is a choice, see `calibration`; None: nothing.

    Returns: Constraint [N, max_tokens * (open + close + 1) + 1, 2]; scored, with the tokens of a score for each place
      more, and 5 edges.

    Raises:
      ValueError: a y longer than max_tokens; a digit that is no token of its own.
    """
    open_ids, close_ids, score_ids, end_ids = tokenizer.encode_batch([OPEN, CLOSE, SCORE_OPEN, SCORE_CLOSE])
    closing = [[i] for i in close_ids]
    if scored:
        closing += [*([i] for i in score_ids), [d[0] for d in _digits(tokenizer)], *([i] for i in end_ids)]
    o, c, N, T, A = len(open_ids), len(closing), len(y_rows), max_tokens, len(DIGITS) if scored else 2
    m_N = np.array([len(row) for row in y_rows], np.int32)
    if N and m_N.max() > T:
        raise ValueError(
            f"segment_constraint: expected at most max_tokens={T} tokens, got {m_N.max()}; raise max_tokens"
        )
    y_NT = np.full((N, T + 1), -1, np.int32)
    for n, row in enumerate(y_rows):
        y_NT[n, : len(row)] = row

    # Place j is the gap before token j. Its states: 0 chooses, 1..c-1 finish the closing tag and its score, c..c+o-1
    # write an opening one, c+o writes the token. State (j, k) has number j * (c+o+1) + k - c: the machine starts at the
    # opening tag.
    width = c + o + 1
    place_J = np.arange(T + 1, dtype=np.int32)
    number_JK = place_J[:, None] * width + np.arange(width, dtype=np.int32)[None, :] - c
    inside_NJ = place_J[None, :] < m_N[:, None]
    last_NJ = place_J[None, :] == m_N[:, None]

    token = np.full((N, T + 1, width, A), -1, np.int32)
    step = np.zeros((N, T + 1, width, A), np.int32)
    step[:, :, :-1] = number_JK[None, :, 1:, None]
    step[:, :-1, -1, 0] = number_JK[None, 1:, 0]
    token[:, :, 0, 0] = np.where(last_NJ, close_ids[0], y_NT)
    step[:, :-1, 0, 0] = np.where(last_NJ[:, :-1], number_JK[None, :-1, 1], number_JK[None, 1:, 0])
    splits_NT = _splits(y_rows, y_NT, close_ids[0], tokenizer)
    if places is not None:
        for n, place_T in enumerate(places):
            splits_NT[n, : len(place_T)] &= place_T
    token[:, :, 0, 1] = np.where(splits_NT, close_ids[0], -1)
    step[:, :, 0, 1] = number_JK[None, :, 1]
    for k in range(1, c):
        token[:, :, k, : len(closing[k])] = np.where((inside_NJ | last_NJ)[..., None], closing[k], -1)
    for k in range(o):
        token[:, :, c + k, 0] = np.where(inside_NJ, open_ids[k], -1)
    token[:, :, c + o, 0] = y_NT
    rows = np.arange(N)
    token[rows, m_N, c, 0] = tokenizer.eos_id
    step[rows, m_N, c, 0] = number_JK[m_N, c]
    states = slice(c, c + T * width + 1)
    shape = (N, (T + 1) * width, A)
    found = on_host(Constraint, token=token.reshape(shape)[:, states], next=step.reshape(shape)[:, states])
    return found if lift is None else dataclasses.replace(found, lift=new_chunk_lift(lift, tokenizer, (N,)))


class Split(NamedTuple):
    """A segmenter's answer as the constraint lets it be written, without the end token."""

    tokens: list[int]
    decided: np.ndarray  # int [n], where in it each place is decided on
    between: np.ndarray  # int32 [n 2], between which two tokens: y's next one, and a new chunk
    scored: list[int]  # where the digits of the scores stand, of a helper that scores as well


def split_tokens(
    y: Sequence[int], at: Sequence[int], new: Sequence[bool], tokenizer: Tokenizer, scores: Sequence[int] = ()
) -> Split:
    """y with a new chunk at some of its places, token for token.

    Args:
      at: the places, tokens of y before which a chunk may begin, in order.
      new: which of them begin one.
      scores: of the chunks, where a score stands behind each; none: it does not.
    """
    open_ids, close_ids, score_ids, end_ids = tokenizer.encode_batch([OPEN, CLOSE, SCORE_OPEN, SCORE_CLOSE])
    digits = _digits(tokenizer) if scores else []
    tokens: list[int] = list(open_ids)
    decided, between, scored, done = [], [], [], 0

    def close() -> None:
        tokens.extend(close_ids)
        if scores:
            tokens.extend(score_ids)
            scored.append(len(tokens))
            tokens.extend([*digits[scores[len(scored) - 1] - 1], *end_ids])

    for place, begins in zip(at, new, strict=True):
        tokens += y[done:place]
        done = place
        decided.append(len(tokens))
        between.append((y[place], close_ids[0]))
        if begins:
            close()
            tokens += open_ids
    tokens += y[done:]
    close()
    return Split(tokens, np.array(decided, int), np.array(between, np.int32).reshape(-1, 2), scored)


def new_chunk_lift(logit: float, tokenizer: Tokenizer, shape: tuple[int, ...] = ()) -> Lift:
    """The lift of a new chunk by a logit: of the token that begins a closing tag. Where that token is no new chunk, at
    the end of y and in the tags of scores, nothing else can be drawn."""
    (close_ids,) = tokenizer.encode_batch([CLOSE])
    return on_host(Lift, token=np.full(shape, close_ids[0], np.int32), logit=np.full(shape, logit, np.float32))


def score_places(candidates_PGTA: np.ndarray, digit_ids: np.ndarray, max_chunks: int) -> np.ndarray:
    """Which score each token of a constrained answer is: int32 [P G T], 0..K-1 in order, K for every other token.

    A score is drawn from the five digits; no other place of a scorer's machine, nor of one that segments as well,
    offers all of them.

    Args:
      candidates_PGTA: what the constraint allowed at each token, -1 filled.
      digit_ids: the tokens of the scores 1 to 5, see `digit_tokens`.
    """
    offered_PGTA = np.asarray(candidates_PGTA)
    drawn_PGT = np.stack([(offered_PGTA == digit).any(-1) for digit in digit_ids]).all(0)
    place_PGT = np.cumsum(drawn_PGT, axis=-1) - 1
    return np.where(drawn_PGT, np.minimum(place_PGT, max_chunks), max_chunks).astype(np.int32)


def digit_tokens(tokenizer: Tokenizer) -> np.ndarray:
    """The tokens of the scores 1 to 5, int32 [5].

    Raises:
      ValueError: a digit that is no token of its own.
    """
    return np.array([ids[0] for ids in _digits(tokenizer)], np.int32)


def _splits(y_rows: Sequence[Sequence[int]], y_NT: np.ndarray, close_id: int, tokenizer: Tokenizer) -> np.ndarray:
    """Whether a new chunk may begin before each token, bool in the shape of y_NT."""
    ids_U, which_NT = np.unique(y_NT, return_inverse=True)
    bytes_of = {int(i): tokenizer.token_bytes(int(i)) if i >= 0 else b"" for i in ids_U}
    pieces_U = list(bytes_of.values())
    ink_U = np.array([bool(piece.strip()) for piece in pieces_U])
    begins_U = np.array([piece[:1] != b"" and piece[0] & 0xC0 != 0x80 for piece in pieces_U])
    which_NT = which_NT.reshape(y_NT.shape)
    ink_NT = ink_U[which_NT]
    ink_before_NT = np.cumsum(ink_NT, axis=1) > ink_NT
    splits_NT = ink_NT & ink_before_NT & begins_U[which_NT] & (y_NT != close_id)
    tag = CLOSE.encode()
    for n, row in enumerate(y_rows):
        pieces = [bytes_of[i] for i in row]
        y = b"".join(pieces)
        at = y.find(tag)
        if at >= 0:
            begins_T = np.cumsum([0, *map(len, pieces[:-1])])
        while at >= 0:
            # Only white space may stand between the new chunk's start and the literal tag for them to be confused.
            from_byte = len(y[:at].rstrip())
            splits_NT[n, : len(row)] &= (begins_T < from_byte) | (begins_T > at)
            at = y.find(tag, at + 1)
    return splits_NT


def _digits(tokenizer: Tokenizer) -> list[list[int]]:
    """The token of each digit of a score, in a list of its own.

    Raises:
      ValueError: a digit that is no token of its own.
    """
    digits = tokenizer.encode_batch(DIGITS)
    if not all(
        len(ids) == 1 and tokenizer.token_bytes(ids[0]) == d.encode() for d, ids in zip(DIGITS, digits, strict=True)
    ):
        raise ValueError(
            f"agents.decoding: constrained decoding expects each of the digits 1 to 5 to be one token, got {digits}; "
            "use agents.decoding=free with this tokenizer"
        )
    return digits


def score_constraint(n_rows: Sequence[int], tokenizer: Tokenizer, config: AgentsConfig) -> Constraint:
    """Let row r write `<score>[1]d[2]d..</score>` with n_rows[r] digits of 1 to 5, and then end.

    Args:
      n_rows: chunks of each row, 0..K; a row of 0 ends at once.

    Returns: Constraint [N, longest answer in tokens, 5]; its size depends on the tokenizer and K alone.

    Raises:
      ValueError: more than K chunks; a digit that is no token of its own.
    """
    K = config.max_chunks
    if len(n_rows) and not 0 <= min(n_rows) <= max(n_rows) <= K:
        raise ValueError(f"score_constraint: expected 0..agents.max_chunks={K} chunks a row, got {list(n_rows)}")
    digits = _digits(tokenizer)
    *before, end_ids = tokenizer.encode_batch(score_parts(K, config))
    template = np.full((sum(map(len, before)) + K + len(end_ids) + 1, len(DIGITS)), -1, np.int32)
    ends = [0]  # where the text before the end begins, for each number of chunks
    for ids in before:
        at = ends[-1]
        template[at : at + len(ids), 0] = ids
        template[at + len(ids)] = [d[0] for d in digits]
        ends.append(at + len(ids) + 1)
    token = np.full((len(n_rows), *template.shape), -1, np.int32)
    step = np.zeros_like(token)
    step[:] = np.minimum(np.arange(len(template)) + 1, len(template) - 1)[None, :, None]
    for r, n in enumerate(n_rows):
        tail = [*end_ids, tokenizer.eos_id] if n else [tokenizer.eos_id]
        token[r, : ends[n]] = template[: ends[n]]
        token[r, ends[n] : ends[n] + len(tail), 0] = tail
        step[r, ends[n] + len(tail) - 1] = ends[n] + len(tail) - 1
    return on_host(Constraint, token=token, next=step)
