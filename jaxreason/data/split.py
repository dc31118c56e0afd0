"""Cut a set of problems in two without a question on both sides."""

import random
from collections.abc import Sequence

from jaxreason.data.problems import Problem


def split(problems: Sequence[Problem], test_size: int, seed: int) -> tuple[list[Problem], list[Problem]]:
    """Draw problems for testing; the rest is for training, both in their order in the file.

    Problems with the same question (white space and case aside) go to the same side, so the test side may be smaller
    than asked by the size of such a group.

    Args:
      test_size: problems to hold out.
      seed: of the draw; the same problems and seed give the same split in any Python.

    Returns:
      training problems, test problems.

    Raises:
      ValueError: test_size leaves nothing for a side.
    """
    if not 1 <= test_size < len(problems):
        raise ValueError(
            f"--test-size: expected 1..{len(problems) - 1}, fewer than the problems there are, got {test_size}"
        )
    groups: dict[str, list[int]] = {}
    for index, problem in enumerate(problems):
        groups.setdefault(" ".join(problem.question.lower().split()), []).append(index)
    questions = sorted(groups)
    random.Random(seed).shuffle(questions)
    test: set[int] = set()
    for question in questions:
        if len(test) + len(groups[question]) <= test_size:
            test.update(groups[question])
    if not test:
        raise ValueError(f"--test-size: every question stands more than {test_size} times; ask for more")
    train = [problem for index, problem in enumerate(problems) if index not in test]
    return train, [problems[index] for index in sorted(test)]
