"""Text in: what each role is asked, and the form its answer should have.

`marks` prompts are for a model trained from scratch: one symbol a role, nothing else. `chat` prompts are instructions
for a released model through its own chat template, `plain` ones the same words for a base model. The two helpers never
think aloud: thinking is switched off in the template, and where one opens a thought all the same, the prompt closes it.
This module must not know how an answer is read back.
"""

from collections.abc import Sequence

from jaxreason.config import AgentsConfig
from jaxreason.data.tokenizer import Tokenizer

REASON_MARK, SEGMENT_MARK, CHUNKS_MARK = "<|reason|>", "<|segment|>", "<|chunks|>"
SCORE_MARK, SCORES_MARK = "<|score|>", "<|scores|>"
OPEN, CLOSE = "<seg>", "</seg>"
SCORE_OPEN, SCORE_CLOSE = "<score>", "</score>"
THINK, END_THINK = "<think>", "</think>"
BOX = "\\boxed{"
DIGITS = ("1", "2", "3", "4", "5")

_REASON = "{question}\n\nPlease reason step by step, and put your final answer within \\boxed{{}}."

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


def marks(max_chunks: int) -> list[str]:
    """Every symbol that must be one token of a tokenizer trained for `marks` prompts."""
    roles = [REASON_MARK, SEGMENT_MARK, CHUNKS_MARK, SCORE_MARK, SCORES_MARK]
    return [*roles, OPEN, CLOSE, SCORE_OPEN, SCORE_CLOSE, BOX, *(f"[{i}]" for i in range(1, max_chunks + 1))]


def render_reason(questions: Sequence[str], config: AgentsConfig, tokenizer: Tokenizer) -> list[str]:
    """Ask each question. The model's own default decides whether it thinks, unless agents.thinking is off."""
    if config.prompts == "marks":
        return [f"{REASON_MARK}{readable(q)}\n" for q in questions]
    ask = _ask_without_thought if config.thinking == "off" else _ask
    return [ask(_REASON.format(question=readable(q)), config, tokenizer) for q in questions]


def reason_messages(question: str) -> list[dict[str, str]]:
    """The conversation in which a model with a chat template is asked a question."""
    return [{"role": "user", "content": _REASON.format(question=readable(question))}]


def render_segment(ys: Sequence[str], config: AgentsConfig, tokenizer: Tokenizer) -> list[str]:
    """Ask for a split of each text y."""
    if config.prompts == "marks":
        return [f"{SEGMENT_MARK}{readable(y)}{CHUNKS_MARK}" for y in ys]
    asked = [_SEGMENT.format(max_chunks=config.max_chunks, y=readable(y)) for y in ys]
    return [_ask_without_thought(text, config, tokenizer) for text in asked]


def render_score(
    questions: Sequence[str], chunks: Sequence[Sequence[str]], config: AgentsConfig, tokenizer: Tokenizer
) -> list[str]:
    """Ask for the importance of each chunk; `agents.scorer_sees_question` says whether the question is shown.

    Raises:
      ValueError: questions and chunks differ in number.
    """
    result = []
    for question, texts in zip(questions, chunks, strict=True):
        texts = [readable(t) for t in texts]
        if config.prompts == "marks":
            shown = f"{readable(question)}\n" if config.scorer_sees_question else ""
            numbered = "".join(f"[{i}]{t}" for i, t in enumerate(texts, 1))
            result.append(f"{SCORE_MARK}{shown}{numbered}{SCORES_MARK}")
        else:
            shown = f"Question:\n{readable(question)}\n\n" if config.scorer_sees_question else ""
            numbered = "\n".join(f"[{i}] {t.strip()}" for i, t in enumerate(texts, 1))
            asked = _SCORE.format(question=shown, n=len(texts), chunks=numbered)
            result.append(_ask_without_thought(asked, config, tokenizer))
    return result


def render_annotate(
    questions: Sequence[str], ys: Sequence[str], config: AgentsConfig, tokenizer: Tokenizer
) -> list[str]:
    """Ask for a split of each text y with the importance of each chunk, in one answer; `agents.scorer_sees_question`
    says whether the question is shown.

    Raises:
      ValueError: questions and texts differ in number.
    """
    result = []
    for question, y in zip(questions, ys, strict=True):
        if config.prompts == "marks":
            shown = f"{readable(question)}\n" if config.scorer_sees_question else ""
            result.append(f"{SEGMENT_MARK}{shown}{readable(y)}{SCORES_MARK}")
        else:
            shown = f"Question:\n{readable(question)}\n\n" if config.scorer_sees_question else ""
            asked = _ANNOTATE.format(question=shown, max_chunks=config.max_chunks, y=readable(y))
            result.append(_ask_without_thought(asked, config, tokenizer))
    return result


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
    space = "" if config.prompts == "marks" else " "
    parts = [f"{space if i > 1 else SCORE_OPEN}[{i}]{space}" for i in range(1, n + 1)]
    return [*parts, SCORE_CLOSE] if n else [SCORE_OPEN + SCORE_CLOSE]


def score_text(values: Sequence[int], config: AgentsConfig) -> str:
    """The answer a scorer should give; the end token is not part of it."""
    *before, end = score_parts(len(values), config)
    return "".join(f"{part}{value}" for part, value in zip(before, values, strict=True)) + end


def starts_inside_think(prompt: str) -> bool:
    """Whether a rendered prompt ends in an open `<think>`, so that the completion begins inside the thought."""
    return prompt.rstrip().endswith(THINK)


def readable(text: str) -> str:
    """Text that can be encoded again: a byte that is no character (kept as a surrogate by `alignment.text_of`)
    becomes the replacement character.

    >>> readable("caf\\udcc3")
    'caf�'
    """
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _ask(content: str, config: AgentsConfig, tokenizer: Tokenizer, **template) -> str:
    """One user turn, or the same words as plain text."""
    if config.prompts == "plain":
        return f"{content}\n\nAnswer:\n"
    return tokenizer.render_chat([{"role": "user", "content": content}], **template)


def _ask_without_thought(content: str, config: AgentsConfig, tokenizer: Tokenizer) -> str:
    """A prompt whose completion stands outside any thought, also under a template that ignores the switch."""
    prompt = _ask(content, config, tokenizer, enable_thinking=False)
    return f"{prompt.rstrip()}\n\n{END_THINK}\n\n" if starts_inside_think(prompt) else prompt
