"""Text in: what each role is asked, in the family of prompts that `agents.prompts` names, and the form of its answer.

This module must not know how an answer is read back.
"""

from collections.abc import Callable, Sequence

from jaxreason.agents.families import FIELD, Chat, family
from jaxreason.agents.tags import (
    CHUNKS_MARK,
    CLOSE,
    OPEN,
    REASON_MARK,
    SCORE_CLOSE,
    SCORE_MARK,
    SCORE_OPEN,
    SCORES_MARK,
    SEGMENT_MARK,
)
from jaxreason.config import AgentsConfig
from jaxreason.config.doors import DoorError, DoorFailed, in_a_line, own_traceback
from jaxreason.data.problems import Problem
from jaxreason.data.tokenizer import Tokenizer, readable
from jaxreason.tasks.asking import turns_of
from jaxreason.tasks.base import Task
from jaxreason.tasks.boxed_math import BOX


def marks(max_chunks: int) -> list[str]:
    """Every symbol that must be one token of a tokenizer trained for `marks` prompts."""
    roles = [REASON_MARK, SEGMENT_MARK, CHUNKS_MARK, SCORE_MARK, SCORES_MARK]
    return [*roles, OPEN, CLOSE, SCORE_OPEN, SCORE_CLOSE, BOX, *(f"[{i}]" for i in range(1, max_chunks + 1))]


def render_reason(
    problems: Sequence[Problem], task: Task, config: AgentsConfig, tokenizer: Tokenizer, *, instruction: str = ""
) -> list[str]:
    """Ask each problem as its task does. The model's own default decides whether it thinks, unless agents.thinking is
    off.

    Args:
      instruction: what is said behind each question besides.

    Raises:
      DoorError: a user's task gave no conversation with the question in it.
    """
    asker = family(config.prompts)
    return [
        asker.reason(
            turns_of(task, problem, bare=asker.bare, instruction=instruction),
            tokenizer,
            thinking=config.thinking != "off",
        )
        for problem in problems
    ]


def render_segment(ys: Sequence[str], config: AgentsConfig, tokenizer: Tokenizer) -> list[str]:
    """Ask for a split of each text y."""
    asker = family(config.prompts)
    return [
        asker.prompt(_told(asker, asker.segment, readable(y), config.max_chunks, shows=[readable(y)]), tokenizer)
        for y in ys
    ]


def render_score(
    questions: Sequence[str], chunks: Sequence[Sequence[str]], config: AgentsConfig, tokenizer: Tokenizer
) -> list[str]:
    """Ask for the importance of each chunk; `agents.scorer_sees_question` says whether the question is shown.

    Raises:
      ValueError: questions and chunks differ in number.
    """
    asker, result = family(config.prompts), []
    for question, texts in zip(questions, chunks, strict=True):
        shown = readable(question) if config.scorer_sees_question else None
        texts = [readable(t) for t in texts] or [""] * bool(asker.door)  # nobody reads a prompt about no chunks
        result.append(asker.prompt(_told(asker, asker.score, shown, texts, shows=texts), tokenizer))
    return result


def render_annotate(
    questions: Sequence[str], ys: Sequence[str], config: AgentsConfig, tokenizer: Tokenizer
) -> list[str]:
    """Ask for a split of each text y with the importance of each chunk, in one answer; `agents.scorer_sees_question`
    says whether the question is shown.

    Raises:
      ValueError: questions and texts differ in number.
    """
    asker, result = family(config.prompts), []
    for question, y in zip(questions, ys, strict=True):
        shown = readable(question) if config.scorer_sees_question else None
        told = _told(asker, asker.annotate, shown, readable(y), config.max_chunks, shows=[readable(y)])
        result.append(asker.prompt(told, tokenizer))
    return result


def _told(asker: Chat, method: Callable[..., str], *arguments, shows: Sequence[str]) -> str:
    """What a method of a family gives; of a user's own, with what it is about in it.

    Raises:
      DoorFailed: it raised, gave no text, or left something of `shows` out.
    """
    if asker.door is None:
        return method(*arguments)
    where = f"{FIELD}: {asker.name}: {method.__name__}"
    try:
        told = method(*arguments)
    except Exception as error:
        line, file = f"{where}: it raised {in_a_line(error)}", str(asker.door.file)
        raise DoorFailed(line, own_traceback(error), file) from None
    if not isinstance(told, str):
        raise DoorFailed(f"{where}: expected the text of a prompt, got {told!r:.80}", file=str(asker.door.file))
    at = 0
    for i, text in enumerate(shows, 1):
        at = told.find(text.strip(), at)
        if at < 0:
            what = f"chunk {i} of {len(shows)}" if method.__name__ == "score" else "the reasoning y"
            line = f"{where}: expected {what} in the prompt as it is, got a prompt without it"
            raise DoorFailed(line, file=str(asker.door.file))
        at += len(text.strip())
    return told


def annotation_parts(chunks: Sequence[str]) -> list[str]:
    """An answer to `render_annotate` without its digits: what stands before each, then what stands at the end."""
    before = [f"{SCORE_CLOSE if i else ''}{OPEN}{chunk}{CLOSE}{SCORE_OPEN}" for i, chunk in enumerate(chunks)]
    return [*before, SCORE_CLOSE]


def annotation_text(chunks: Sequence[str], values: Sequence[int]) -> str:
    """The answer a helper that segments and scores should give; the end token is not part of it."""
    *before, end = annotation_parts(chunks)
    return "".join(f"{part}{value}" for part, value in zip(before, values, strict=True)) + end


def segment_text(chunks: Sequence[str]) -> str:
    """The answer a segmenter should give; the end token is not part of it."""
    return "".join(f"{OPEN}{chunk}{CLOSE}" for chunk in chunks)


def score_parts(n: int, config: AgentsConfig) -> list[str]:
    """The fixed text of a scorer's answer: what stands before each of the n digits, then what stands at the end."""
    return family(config.prompts).score_parts(n)


def score_text(values: Sequence[int], config: AgentsConfig) -> str:
    """The answer a scorer should give; the end token is not part of it."""
    *before, end = score_parts(len(values), config)
    return "".join(f"{part}{value}" for part, value in zip(before, values, strict=True)) + end


SAMPLE = ("3+5=8\n", "wait, {8} is right\n", "so 8\n")
"""Chunks that a user's own prompts are tried on."""


def try_prompts(config: AgentsConfig) -> None:
    """Try a user's own prompts on a sample, so that a mistake in them costs no step. What ships is not tried.

    Raises:
      DoorError: a prompt that does not hold what it is about, or does not say the tags that the parser reads.
    """
    asker = family(config.prompts)
    if asker.door is None:
        return
    y, question = "".join(SAMPLE), "What is 3+5?" if config.scorer_sees_question else None
    if config.helpers == "one":
        calls = [(asker.annotate, (question, y, config.max_chunks), [y], [OPEN, CLOSE, SCORE_OPEN, SCORE_CLOSE])]
    else:
        calls = [
            (asker.segment, (y, config.max_chunks), [y], [OPEN, CLOSE]),
            (asker.score, (question, list(SAMPLE)), SAMPLE, [SCORE_OPEN, SCORE_CLOSE]),
        ]
    for method, arguments, shows, tags in calls:
        told = _told(asker, method, *arguments, shows=shows)
        if any(told.count(text.strip()) > 1 for text in shows):
            raise DoorError(
                f"{FIELD}: {asker.name}: {method.__name__}: expected the text it is about once in the prompt, "
                "which has no room for more, got it more than once"
            )
        missing = [tag for tag in tags if tag not in told]
        if asker.explained and missing:
            raise DoorError(
                f"{FIELD}: {asker.name}: {method.__name__}: expected the tags {' '.join(tags)} in the prompt, "
                f"which are what is read in the answer, got none of {' '.join(missing)}; or set explained = False"
            )
