"""One question to a policy, answered while one watches, and then taken apart by its own helpers."""

import codecs
import dataclasses
import time
from collections.abc import Iterator

import jax
from rich.text import Text

from jaxreason.agents import explain as helpers
from jaxreason.agents import helper_sampling, prompts
from jaxreason.config import Config
from jaxreason.data.problems import Problem
from jaxreason.data.tokenizer import Tokenizer, readable
from jaxreason.evaluation import stored
from jaxreason.policy import api
from jaxreason.run.interrupt import Interrupt, Stopped
from jaxreason.run.progress import Display
from jaxreason.sampling.methods import Method
from jaxreason.sampling.query import Decoding
from jaxreason.sampling.stream import stream
from jaxreason.tasks.opening import task_of
from jaxreason.types import Params

PROMPT_STEP = 64
"""Prompts are padded to a multiple of this, so that the next question finds its program compiled."""


IMPORTANCE = {5: "bold green", 4: "green", 3: "yellow", 2: "red", 1: "dim red"}
"""Colours of a chunk on a terminal."""


def adjust(
    place: stored.Place, temperature: float | None, top_p: float | None, max_completion_length: int | None
) -> stored.Place:
    """The same policy asked otherwise; None leaves a setting as it is.

    Raises:
      ValueError: a setting out of range.
    """
    config = place.config
    chosen = {"temperature": temperature, "top_p": top_p}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    limit = {} if max_completion_length is None else {"max_completion_length": max_completion_length}
    try:
        config = dataclasses.replace(
            config,
            evaluation=dataclasses.replace(config.evaluation, **chosen),
            sampling=dataclasses.replace(config.sampling, **limit),
        )
    except ValueError as error:  # in the words of the configuration
        raise ValueError(str(error).replace("evaluation.", "--").replace("sampling.", "--")) from None
    return dataclasses.replace(place, config=config)


def show(place: stored.Place, question: str, *, seed: int, step: int | None, explained: bool, display: Display) -> None:
    """Print an answer as it comes and, if asked, what it is made of.

    Raises:
      ValueError: as `answer` does, or no such step.
      Stopped: interrupted; what was written stands.
    """
    config, tok, console = place.config, place.tokenizer, display.console
    if explained and config.agents.separate:
        raise ValueError(
            "--explain: expected a policy that plays its own helpers, got one trained beside helpers of their own "
            "(agents.helper_policy=separate); leave it out"
        )
    params, _ = stored.open_policy(place, step, display)
    written, began = Answer(), time.monotonic()
    with Interrupt() as interrupt:
        for text in answer(params, question, config, tok, seed=seed, written=written):
            console.print(Text(text), end="")
            console.file.flush()
            if interrupt:
                break
        console.print()
        if interrupt:
            raise Stopped(f"stopped after {len(written.ids)} tokens", interrupt.exit_code)
        seconds = time.monotonic() - began
        end = "" if written.finished else ", cut at the limit (--max_completion_length)"
        console.print(f"{len(written.ids)} tokens in {seconds:.1f} s{end}", style="dim", markup=False)
        if explained:
            _print(explain(params, question, written, config, tok, seed=seed), display)


def _print(found: "Explanation", display: Display) -> None:
    display.say("")
    for chunk, score, tokens in zip(found.chunks, found.scores or [0] * len(found.chunks), found.tokens, strict=True):
        line = Text(f"[{score or '?'}] {tokens:4d}  ")
        line.append(readable(chunk).strip(), style=IMPORTANCE.get(score, ""))
        display.console.print(line)
    if found.scores:
        total = sum(found.tokens)
        low = sum(n for n, score in zip(found.tokens, found.scores, strict=True) if score <= 2)
        display.say(f"importance 1 to 5 and tokens of each chunk; {low} of {total} tokens score 2 or less")
    if found.cause != "ok":
        display.say(f"nothing to explain: {found.cause}" if not found.chunks else found.cause)


@dataclasses.dataclass
class Answer:
    """What has been written so far."""

    ids: list[int] = dataclasses.field(default_factory=list)
    """tokens, the end token left out"""
    finished: bool = False
    """whether it ended by itself"""


def answer(
    params: Params, question: str, config: Config, tokenizer: Tokenizer, *, seed: int, written: Answer
) -> Iterator[str]:
    """Ask the reasoner once, at evaluation.temperature and evaluation.top_p.

    Args:
      written: is filled in as it goes.

    Yields:
      Text as it comes; a character cut by tokens is held back until it is whole.

    Raises:
      ValueError: prompt and completion can be longer than the model is made for.
    """
    asked = Problem("question", question, "unknown")
    (text,) = prompts.render_reason([asked], task_of(config.data), config.agents, tokenizer)
    (ids,) = tokenizer.encode_batch([text])
    limit, most = config.sampling.max_completion_length, config.model.max_position_embeddings
    if most and len(ids) + limit > most:
        raise ValueError(
            f"the prompt has {len(ids)} tokens and the answer up to {limit}, but the model is made for {most} in all; "
            "lower --max_completion_length"
        )
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    pieces = stream(
        api.unstack(params, config.model),
        helper_sampling.left_pad([ids], -(-len(ids) // PROMPT_STEP) * PROMPT_STEP, tokenizer.pad_id),
        jax.random.key(seed),
        config.evaluation.temperature,
        Decoding(config.model, limit, tokenizer.eos_ids, tokenizer.pad_id, Method(top_p=config.evaluation.top_p)),
    )
    for piece in pieces:
        written.finished = piece[-1] in tokenizer.eos_ids
        new = piece[:-1] if written.finished else piece
        written.ids += new
        yield decoder.decode(b"".join(map(tokenizer.token_bytes, new)))
    yield decoder.decode(b"", final=True)


@dataclasses.dataclass(frozen=True)
class Explanation:
    """An answer's reasoning as the model itself takes it apart."""

    chunks: list[str]
    scores: list[int]
    """importance 1 to 5 of each chunk; empty where the scorer's answer was not valid"""
    tokens: list[int]
    """of each chunk"""
    cause: str
    """`ok`, or why there are no chunks or no scores"""


def explain(
    params: Params, question: str, written: Answer, config: Config, tokenizer: Tokenizer, *, seed: int
) -> Explanation:
    """Let the same parameters split the reasoning of an answer and score its chunks, as in training."""
    problem, key = Problem("question", question, "unknown"), jax.random.key(seed)
    (found,) = helpers.explain(params, [problem], [written.ids], key, config, tokenizer, rows=1)
    chunks, tokens, split, scored = (found[k] for k in ("chunks", "chunk_lengths", "segment_cause", "score_cause"))
    if not chunks:
        cause = (
            f"the split was not valid ({split})"
            if split
            else "no reasoning stands before the answer, or none that fits"
        )
        return Explanation([], [], [], cause)
    if scored != "ok":
        return Explanation(chunks, [], tokens, f"the scores were not valid ({scored or 'not asked'})")
    return Explanation(chunks, found["scores"], tokens, "ok")
