"""The grader of this project as lm-eval calls it, through worker processes that are killed when they take too long."""

from jaxreason.grading.answers import boxed
from jaxreason.grading.pool import Pool, grade_batch

POOL = Pool(num_workers=1)
"""Starts its worker with the first answer that needs algebra; the worker ends with this process."""


def process_results(doc: dict, results: list[str]) -> dict[str, float]:
    """1 where the last box, after a thought if there is one, holds the right answer."""
    return {"exact_match": float(grade_batch([boxed(results[0])], [doc["answer"]], pool=POOL).correct[0])}
