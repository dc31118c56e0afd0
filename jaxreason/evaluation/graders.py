"""How much of an accuracy the grader decides: the same answers judged by string comparison and by math-verify alone.

Both stand beside `exact_match` in the rows of an evaluation; what is counted here can be counted again from the file.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxreason.grading import baselines
from jaxreason.grading.pool import Pool
from jaxreason.parallel import hosts

OURS, STRING, MATH_VERIFY = "exact_match", "exact_match_string", "exact_match_math_verify"
"""Fields of a row: 1 where the answer counts as right."""


def judge(
    predictions: Sequence[str | None], golds: Sequence[str], counted: np.ndarray, pool: Pool | None
) -> list[dict[str, int]]:
    """Fields of N rows with the verdicts of the two simpler graders, each host its own rows.

    Args:
      counted: bool [N]; False where an answer is wrong whatever it says, since it was cut at the limit.
      pool: without workers math-verify gives no verdicts.
    """

    def read(part: slice):
        found = baselines.judge(predictions[part], golds[part], pool)
        verdicts = {STRING: found.string} | ({} if found.math_verify is None else {MATH_VERIFY: found.math_verify})
        return [dict(zip(verdicts, row, strict=True)) for row in zip(*verdicts.values(), strict=True)]

    rows = hosts.share(len(predictions), read)
    return [{name: int(right and c) for name, right in row.items()} for row, c in zip(rows, counted, strict=True)]


def disagreement(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """What each grader makes of the rows of one mode.

    Returns:
      Field -> {"right": answers right by it, "differs": answers it judges otherwise than `exact_match`, "answers":
      rows that have it}; nothing for a grader that no row was judged by.
    """
    found = {}
    for name in (OURS, STRING, MATH_VERIFY):
        some = [row for row in rows if name in row]
        if some:
            found[name] = {
                "answers": len(some),
                "right": sum(row[name] for row in some),
                "differs": sum(row[name] != row[OURS] for row in some),
            }
    return found
