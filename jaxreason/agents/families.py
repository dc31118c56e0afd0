"""The families of prompts: how each role is asked, in one object.

`Marks` is for a model trained from scratch: one symbol a role, nothing else. `Chat` gives instructions to a released
model through its own chat template, `Plain` the same words to a base model. The helpers never think aloud: thinking is
switched off in the template, and where one opens a thought all the same, the prompt closes it.

Your own is a class with any of `segment`, `score` and `annotate`, in a file that `agents.prompts` names; what it leaves
out is done as in `Chat`, or as in the family it is a subclass of:

    class Terse:  # agents.prompts: terse.py:Terse
        def segment(self, y, max_chunks):
            return f"Put <seg> and </seg> around each of at most {max_chunks} steps, changing nothing:\\n{y}"
"""

import functools
from collections.abc import Sequence

import numpy as np

from jaxreason.agents.tags import (
    CHUNKS_MARK,
    REASON_MARK,
    SCORE_CLOSE,
    SCORE_MARK,
    SCORE_OPEN,
    SCORES_MARK,
    SEGMENT_MARK,
)
from jaxreason.config.assemble import assemble
from jaxreason.config.doors import SPELLINGS, Door, DoorError, is_door, load
from jaxreason.data.tokenizer import Tokenizer, readable
from jaxreason.tasks.base import Turns
from jaxreason.tasks.boxed_math import END_THINK, THINK

FIELD = "agents.prompts"
METHODS = {
    "segment": ("y", "max_chunks"),
    "score": ("question", "chunks"),
    "annotate": ("question", "y", "max_chunks"),
}
"""What a family of your own may have -> the arguments it is called with."""

_SEGMENT = """\
Split the reasoning below into consecutive chunks: one step, one check or one remark each, at most {max_chunks} chunks.
Copy the text exactly, character for character. Leave nothing out, add nothing, correct nothing.
Put every chunk between <seg> and </seg>, and write nothing outside these tags, like this:
<seg>first chunk</seg><seg>second chunk</seg>

Reasoning:
{y}"""

_ANNOTATE = """\
{question}Split the reasoning below into at most {max_chunks} consecutive chunks: one step, check or remark each.
Copy the text exactly, character for character. Leave nothing out, add nothing, correct nothing.
Put every chunk between <seg> and </seg>. Behind it rate how important it is for reaching the right answer, with an
integer from 1 to 5 between <score> and </score>: 5 is essential, 3 is helpful, 1 could be left out.
Write nothing outside these tags, like this:
<seg>first chunk</seg><score>5</score><seg>second chunk</seg><score>1</score>

Reasoning:
{y}"""

_SCORE = """\
{question}Reasoning, in {n} numbered chunks:
{chunks}

Rate how important each chunk is for reaching the right answer, with an integer from 1 to 5:
5 is essential, 3 is helpful, 1 could be left out.
Write one rating for each chunk, in order, and nothing else, like this:
<score>[1] 5 [2] 1</score>"""


class Chat:
    """Instructions through the model's chat template; the defaults of every family of a user's own."""

    name: str = "chat"
    door: Door | None = None
    """where a user's own came from; None for what ships"""
    bare: bool = False
    """whether the reasoner is asked by the question alone, see `tasks.base.Task.bare`"""
    conversational: bool = True
    """whether a chat template renders the turns"""
    explained: bool = True
    """whether prompts say in words what form an answer has, tags included"""
    gap: str = " "
    """what stands around the digits of a scorer's answer"""

    def reason(self, turns: Turns, tokenizer: Tokenizer, *, thinking: bool) -> str:
        """The reasoner's prompt. With `thinking` the model's own default decides whether it thinks; else it is asked to
        answer without, where its template knows how."""
        readably = [{"role": turn["role"], "content": readable(turn["content"])} for turn in turns]
        return self._ask(readably, tokenizer) if thinking else self._without_thought(readably, tokenizer)

    def segment(self, y: str, max_chunks: int) -> str:
        """What the segmenter is told. y has to stand in it as it is, and the tags `<seg>` and `</seg>`."""
        return _SEGMENT.format(max_chunks=max_chunks, y=y)

    def score(self, question: str | None, chunks: Sequence[str]) -> str:
        """What the scorer is told. Every chunk has to stand in it, in order, and the tag `<score>`.

        Args:
          question: None where agents.scorer_sees_question is off.
        """
        shown = "" if question is None else f"Question:\n{question}\n\n"
        numbered = "\n".join(f"[{i}] {text.strip()}" for i, text in enumerate(chunks, 1))
        return _SCORE.format(question=shown, n=len(chunks), chunks=numbered)

    def annotate(self, question: str | None, y: str, max_chunks: int) -> str:
        """What a helper is told that segments and scores in one answer: as `segment`, with the tag `<score>`."""
        shown = "" if question is None else f"Question:\n{question}\n\n"
        return _ANNOTATE.format(question=shown, max_chunks=max_chunks, y=y)

    def prompt(self, content: str, tokenizer: Tokenizer) -> str:
        """What a helper is told, as a prompt whose completion stands outside any thought."""
        return self._without_thought([{"role": "user", "content": content}], tokenizer)

    def score_parts(self, n: int) -> list[str]:
        """The fixed text of a scorer's answer: what stands before each of the n digits, then what stands at the end."""
        parts = [f"{self.gap if i > 1 else SCORE_OPEN}[{i}]{self.gap}" for i in range(1, n + 1)]
        return [*parts, SCORE_CLOSE] if n else [SCORE_OPEN + SCORE_CLOSE]

    def copy_limit(self, y: np.ndarray, exact: np.ndarray) -> np.ndarray:
        """Tokens that an answer may have which copies a text of y tokens, `exact` of them if it copies token for token.

        A free answer may tokenise the copy otherwise, so it gets at least a quarter more and 64.
        """
        return np.maximum(exact, -(-5 * y // 4) + 64)

    def score_limit(self, n: np.ndarray) -> np.ndarray:
        """Tokens that a scorer's answer about n chunks may have."""
        return 16 * n + 64

    def _ask(self, turns: Turns, tokenizer: Tokenizer, **template) -> str:
        return tokenizer.render_chat(turns, **template)

    def _without_thought(self, turns: Turns, tokenizer: Tokenizer) -> str:
        """Also under a template that ignores the switch."""
        prompt = self._ask(turns, tokenizer, enable_thinking=False)
        return f"{prompt.rstrip()}\n\n{END_THINK}\n\n" if starts_inside_think(prompt) else prompt


class Plain(Chat):
    """The same words as plain text, for a base model: one turn after the other, `Answer:` behind the user's."""

    name = "plain"
    conversational = False

    def _ask(self, turns: Turns, tokenizer: Tokenizer, **template) -> str:
        behind = {"user": "\n\nAnswer:\n"}
        return "".join(turn["content"] + behind.get(turn["role"], "\n\n") for turn in turns)


class Marks(Chat):
    """One symbol a role: for a model trained from scratch, whose tokenizer has each symbol as one token."""

    name = "marks"
    conversational = False
    bare = True
    explained = False
    gap = ""

    def reason(self, turns: Turns, tokenizer: Tokenizer, *, thinking: bool) -> str:
        asked = "\n".join(turn["content"] for turn in turns)
        return f"{REASON_MARK}{readable(asked)}\n"

    def segment(self, y: str, max_chunks: int) -> str:
        return f"{SEGMENT_MARK}{y}{CHUNKS_MARK}"

    def score(self, question: str | None, chunks: Sequence[str]) -> str:
        shown = "" if question is None else f"{question}\n"
        numbered = "".join(f"[{i}]{text}" for i, text in enumerate(chunks, 1))
        return f"{SCORE_MARK}{shown}{numbered}{SCORES_MARK}"

    def annotate(self, question: str | None, y: str, max_chunks: int) -> str:
        shown = "" if question is None else f"{question}\n"
        return f"{SEGMENT_MARK}{shown}{y}{SCORES_MARK}"

    def prompt(self, content: str, tokenizer: Tokenizer) -> str:
        return content

    def copy_limit(self, y: np.ndarray, exact: np.ndarray) -> np.ndarray:
        return exact

    def score_limit(self, n: np.ndarray) -> np.ndarray:
        return 2 * n + 3


SHIPPED = {family.name: family() for family in (Marks, Chat, Plain)}


def starts_inside_think(prompt: str) -> bool:
    """Whether a rendered prompt ends in an open `<think>`, so that the completion begins inside the thought."""
    return prompt.rstrip().endswith(THINK)


@functools.cache
def family(name: str) -> Chat:
    """The family of prompts that `agents.prompts` names, once a process.

    Raises:
      DoorError: no such family, file or object; or one without any of its methods, see `assemble`.
    """
    if name in SHIPPED:
        return SHIPPED[name]
    if not is_door(name):
        raise DoorError(f"{FIELD}: expected {', '.join(SHIPPED)}, or {SPELLINGS}, got {name!r}")
    door = load(name, FIELD)
    found = assemble(door, Chat, METHODS, ("gap", "explained"))
    found.name, found.door = name, door
    return found
