"""Sequences of all roles, packed into rows of one fixed shape. Host code, NumPy only.

Entry s of weight, advantage and old_logp concerns predicting tokens[s] from what stands before it in the same
sequence. The packing is deterministic: the same sequences in the same order give the same batch on every host.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxreason.types import SEGMENT_NONE, HostRollout, Lift, PromptBatch, UpdateBatch


@dataclasses.dataclass(frozen=True, kw_only=True)
class PackItem:
    """One prompt with one completion of t tokens."""

    prompt: np.ndarray  # int [L], at least one token
    completion: np.ndarray  # int [t]
    old_logp: np.ndarray  # float [t], nats, of the distribution sampled from
    weight: np.ndarray  # float [t]
    advantage: np.ndarray  # float [t]
    role: int
    candidates: np.ndarray | None = None  # int [t A], -1 filled
    ref_logp: np.ndarray | None = None  # float [t]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)


def items(
    prompts: PromptBatch,
    rollout: HostRollout,
    *,
    weight_PGT: np.ndarray,
    advantage_PGT: np.ndarray,
    role: int,
    ref_logp_PGT: np.ndarray | None = None,
) -> list[PackItem]:
    """Cut one role's rollouts into sequences, in the order of their rows.

    Args:
      prompts: a prompt for each row, or one for each group of consecutive rows.
      rollout: [P G ...].
      weight_PGT, advantage_PGT: floats.
      role: id.
      ref_logp_PGT: log-probabilities of the reference, where the loss needs them.

    Raises:
      ValueError: a number of rows that is no multiple of the number of prompts.
    """
    tokens_NT = _rows(rollout.tokens)
    length_N = np.asarray(rollout.length).reshape(-1)
    logp_NT, weight_NT, advantage_NT = _rows(rollout.logp), _rows(weight_PGT), _rows(advantage_PGT)
    candidates_NTA = None if rollout.candidates is None else _rows(rollout.candidates)
    ref_logp_NT = None if ref_logp_PGT is None else _rows(ref_logp_PGT)
    prompt_NL, prompt_length_N = np.asarray(prompts.tokens), np.asarray(prompts.length)
    if len(tokens_NT) % len(prompt_NL):
        raise ValueError(
            f"prompts: expected a divisor of the {len(tokens_NT)} rollouts, got {len(prompt_NL)};"
            " give one prompt a rollout, or one a group"
        )
    rows_a_prompt = len(tokens_NT) // len(prompt_NL)
    result = []
    for n, t in enumerate(length_N):
        p = n // rows_a_prompt
        result.append(
            PackItem(
                prompt=prompt_NL[p, prompt_NL.shape[1] - prompt_length_N[p] :],
                completion=tokens_NT[n, :t],
                old_logp=logp_NT[n, :t],
                weight=weight_NT[n, :t],
                advantage=advantage_NT[n, :t],
                role=role,
                candidates=None if candidates_NTA is None else candidates_NTA[n, :t],
                ref_logp=None if ref_logp_NT is None else ref_logp_NT[n, :t],
            )
        )
    return result


def max_micro_batches(limits: Sequence[tuple[int, int]], *, row_length: int, micro_batch_rows: int) -> int:
    """How many micro-batches are enough for any lengths within the limits, so that one shape serves a whole run.

    First-fit decreasing opens a row for a sequence of length s only when every other row has less than s left. With n
    sequences of longest length m and total length W, the rows are therefore at most n, at most
    W / (row_length - m + 1) + 1, and, since any two rows hold more than one row's length, at most 2 W / row_length + 1.

    Args:
      limits: (number of sequences, longest prompt and completion) of each role.
      row_length, micro_batch_rows: as for `pack`.

    Raises:
      ValueError: a limit above row_length.
    """
    longest = max(length for _, length in limits)
    _require_fit(longest, row_length)
    count = sum(n for n, _ in limits)
    total = sum(n * length for n, length in limits)
    rows = min(count, total // (row_length - longest + 1) + 1, 2 * total // row_length + 1)
    return max(1, -(-rows // micro_batch_rows))


@dataclasses.dataclass(frozen=True)
class Shape:
    """A static shape [M B S] of packed batches."""

    max_micro: int
    micro_batch_rows: int
    row_length: int


def shapes(limits: Sequence[tuple[int, int]], *, row_length: int, micro_batch_rows: int) -> tuple[Shape, Shape]:
    """Two shapes for a run, the shorter first: rows of half the length, twice as many to a micro-batch.

    Attention costs the square of a row, and the longest sequence a run allows for is rarely met: a batch is packed
    into half rows whenever its longest sequence fits.

    Args:
      limits: (number of sequences, longest prompt and completion) of each role.
    """
    half = -(-row_length // 2)
    short = [(n, min(length, half)) for n, length in limits]
    return (
        Shape(
            max_micro_batches(short, row_length=half, micro_batch_rows=2 * micro_batch_rows), 2 * micro_batch_rows, half
        ),
        Shape(
            max_micro_batches(limits, row_length=row_length, micro_batch_rows=micro_batch_rows),
            micro_batch_rows,
            row_length,
        ),
    )


def shape_for(sequences: Sequence[PackItem], choices: Sequence[Shape]) -> Shape:
    """The first shape whose rows hold the longest sequence that has weight; the last where none does."""
    longest = max((len(q) for q in sequences if np.any(q.weight)), default=0)
    return next((shape for shape in choices if longest <= shape.row_length), choices[-1])


def pack(
    sequences: Sequence[PackItem],
    shape: Shape,
    *,
    num_candidates: int = 0,
    with_ref: bool = False,
    lift: Lift | None = None,
) -> UpdateBatch:
    """Pack sequences into the given [M B S], whatever they are.

    First-fit decreasing: the longest first, each into the first row with room. Sequences whose weights are all 0 are
    left out; with none left, num_micro is 0.

    Args:
      sequences: of all roles.
      shape: see `shapes`.
      num_candidates: A, the widest constraint of the run; 0 where no role decodes under one.
      with_ref: whether the batch has ref_logp, which then every sequence must have.
      lift: what was added to one candidate's logit when the sequences were sampled, [] each.

    Returns:
      NumPy arrays; their shapes don't depend on the sequences.

    Raises:
      ValueError: a sequence longer than a row, an empty prompt, more candidates than num_candidates, a missing
        ref_logp, or more rows than M B.
    """
    M, B, S = shape.max_micro, shape.micro_batch_rows, shape.row_length
    sequences = [q for q in sequences if np.any(q.weight)]
    for q in sequences:
        _check(q, S, num_candidates, with_ref)
    placed = _first_fit([len(q) for q in sequences], S)
    rows = 1 + max((row for row, _, _ in placed), default=-1)
    if rows > M * B:
        raise ValueError(
            f"shape: expected room for {rows} packed rows, got {M} micro-batches of {B}; take it from `shapes`"
        )
    ints = {name: np.zeros((M * B, S), np.int32) for name in ("tokens", "positions", "segments", "role")}
    names = ("weight", "advantage", "old_logp") + (("ref_logp",) if with_ref else ())
    floats = {name: np.zeros((M * B, S), np.float32) for name in names}
    candidates = np.full((M * B, S, num_candidates), -1, np.int32) if num_candidates else None

    for q, (row, start, segment) in zip(sequences, placed, strict=True):
        middle, end = start + len(q.prompt), start + len(q)
        ints["tokens"][row, start:middle] = q.prompt
        ints["tokens"][row, middle:end] = q.completion
        ints["positions"][row, start:end] = np.arange(len(q))
        ints["segments"][row, start:end] = segment
        ints["role"][row, start:end] = q.role
        for name, array in floats.items():
            array[row, middle:end] = getattr(q, name)
        if candidates is not None and q.candidates is not None:
            candidates[row, middle:end, : q.candidates.shape[1]] = q.candidates

    def micro(x):
        return x.reshape(M, B, *x.shape[1:])

    fields: dict[str, Any] = {name: micro(x) for name, x in (ints | floats).items()}
    fields["candidates"] = None if candidates is None else micro(candidates)
    fields["num_micro"] = np.asarray(-(-rows // B), np.int32)
    fields = {"ref_logp": None, "trainer_logp": None, "lift": lift} | fields
    return UpdateBatch(**fields)


def unpack(sequences: Sequence[PackItem], values_MBS: np.ndarray) -> list[np.ndarray | None]:
    """The part of a packed array that belongs to each sequence's completion; None for one that `pack` left out.

    Args:
      sequences: what was packed, in the same order.
      values_MBS: numbers in the layout of the batch.
    """
    values = np.asarray(values_MBS).reshape(-1, values_MBS.shape[-1])
    used = [q for q in sequences if np.any(q.weight)]
    places = iter(_first_fit([len(q) for q in used], values.shape[1]))
    result: list[np.ndarray | None] = []
    for q in sequences:
        if not np.any(q.weight):
            result.append(None)
            continue
        row, start, _ = next(places)
        result.append(values[row, start + len(q.prompt) : start + len(q)])
    return result


def mini_batches(num_problems: int, num_mini_batches: int) -> list[slice]:
    """Consecutive equal shares of the problems, one an optimiser step.

    Raises:
      ValueError: shares that would not be equal: their shapes, and so their programs, would differ.
    """
    if num_mini_batches < 1 or num_problems % num_mini_batches:
        raise ValueError(
            f"grpo.num_mini_batches: expected a divisor of data.prompts_per_step={num_problems},"
            f" got {num_mini_batches}; change either"
        )
    size = num_problems // num_mini_batches
    return [slice(start, start + size) for start in range(0, num_problems, size)]


def _first_fit(lengths: Sequence[int], row_length: int) -> list[tuple[int, int, int]]:
    """Row, start and segment of each sequence, in the order given."""
    left = np.full(len(lengths), row_length)
    segments = [SEGMENT_NONE] * len(lengths)
    placed: list[tuple[int, int, int]] = [(0, 0, 0)] * len(lengths)
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        row = int(np.argmax(left >= lengths[index]))
        segments[row] += 1
        placed[index] = (row, row_length - int(left[row]), segments[row])
        left[row] -= lengths[index]
    return placed


def _check(q: PackItem, row_length: int, num_candidates: int, with_ref: bool) -> None:
    _require_fit(len(q), row_length)
    if len(q.prompt) == 0:
        raise ValueError("PackItem.prompt: expected at least one token to predict the completion from, got none")
    wide = 0 if q.candidates is None else q.candidates.shape[1]
    if wide > num_candidates:
        raise ValueError(
            f"num_candidates: expected at least {wide}, the candidates of a sequence, got {num_candidates}"
        )
    if with_ref and q.ref_logp is None:
        raise ValueError(
            "PackItem.ref_logp: expected the reference's log-probabilities since with_ref is set, got None"
        )


def _require_fit(length: int, row_length: int) -> None:
    if length > row_length:
        raise ValueError(
            f"grpo.row_length: expected at least {length}, the tokens of the longest prompt and completion,"
            f" got {row_length}; raise it or lower the limits"
        )


def _rows(x) -> np.ndarray:
    x = np.asarray(x)
    return x.reshape(-1, *x.shape[2:])
