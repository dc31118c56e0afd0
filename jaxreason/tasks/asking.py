"""A task's messages, checked: what every prompt of the reasoner is made from. Starts no JAX."""

from collections.abc import Mapping

from jaxreason.config.doors import DoorFailed, in_a_line, own_traceback
from jaxreason.data.problems import TARGET_TOKENS, Problem
from jaxreason.tasks.base import Task, Turns

ROLES = ("system", "user", "assistant")


def turns_of(task: Task, problem: Problem, *, bare: bool = False, instruction: str = "") -> Turns:
    """How a problem is asked, and in how many tokens, where its meta has target_tokens.

    Args:
      bare: for a model trained from scratch, see `Task.bare`.
      instruction: what is said behind that, if anything.

    Raises:
      DoorFailed: a user's task raised, gave no conversation that ends with the user, or left the question out.
    """
    method = "bare" if bare else "messages"
    where = f"data.task: {task.name}: {method}"
    try:
        turns = task.bare(problem) if bare else task.messages(problem)
    except Exception as error:
        line, file = f"{where}: on problem {problem.id!r} it raised {in_a_line(error)}", _file(task)
        raise DoorFailed(line, own_traceback(error), file) from None
    if task.door is not None and (mistake := _mistake(turns, problem)):
        raise DoorFailed(f"{where}: {mistake}", file=_file(task))
    if not (asked := asked_for(problem) + told(instruction)):
        return turns
    return [*turns[:-1], {**turns[-1], "content": f"{turns[-1]['content']}{asked}"}]


def asked_for(problem: Problem) -> str:
    """What stands behind a question that asks for a number of tokens; else nothing.

    Source: the sentence of L1, arXiv:2503.04697, for both of its rewards.
    """
    tokens = problem.meta.get(TARGET_TOKENS)
    return "" if tokens is None else f"\n\nThink for {tokens} tokens."


def told(instruction: str) -> str:
    """An instruction as it stands behind a question; nothing for none."""
    return f"\n\n{instruction}" if instruction else ""


def _mistake(turns: object, problem: Problem) -> str:
    """What is wrong with a conversation, in words; empty: nothing."""
    expected = 'expected a list of {"role": ..., "content": text}'
    if not isinstance(turns, list | tuple) or not turns:
        return f"{expected}, got {turns!r:.80}"
    for turn in turns:
        if not isinstance(turn, Mapping) or not isinstance(turn.get("content"), str):
            return f"{expected}, got {turn!r:.80} in it"
        if turn.get("role") not in ROLES:
            return f"expected a role of {', '.join(ROLES)}, got {turn.get('role')!r}"
    if turns[-1]["role"] != "user":
        return f"expected the last turn to be the user's, got the {turns[-1]['role']}'s"
    if _words(problem.question) not in _words("\n".join(turn["content"] for turn in turns)):
        return (
            f"expected the question of problem {problem.id!r} in the turns word for word, got none of it; put "
            "problem.question into one of them"
        )
    return ""


def _file(task: Task) -> str:
    return "" if task.door is None else str(task.door.file)


def _words(text: str) -> str:
    """Without what line breaks and indentation change."""
    return " ".join(text.split())
