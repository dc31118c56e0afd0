"""The grader of this project as lm-eval calls it."""

from jaxreason.grading.answers import boxed, grade


def process_results(doc: dict, results: list[str]) -> dict[str, float]:
    """1 where the last box, after a thought if there is one, holds the right answer."""
    return {"exact_match": float(grade(boxed(results[0]), doc["answer"]).outcome == "right")}
