"""How much is computed at a time: what `auto` means in sampling.slots, sampling.pages and grpo.micro_batch_rows.

Decided by formula, before anything is allocated, so that it fits into the memory there is; no token depends on it.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax

from jaxreason.agents import sizes
from jaxreason.config import Config, ModelConfig
from jaxreason.config.learning import MOST_PACKED_ROWS
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.ops.attention_mesh import platform
from jaxreason.parallel import hosts
from jaxreason.parallel.rules import parts_of, whole_batch
from jaxreason.policy import footprint
from jaxreason.run import memory, setup
from jaxreason.run import state as run_state
from jaxreason.run.memory import Memory, in_gib
from jaxreason.run.setup import Experiment
from jaxreason.sampling.engine import READ_TOKENS, copies_held
from jaxreason.sampling.room import COMPUTES, FILLED, PAGE, most_slots

SHARE, MOST = {"cpu": 0.6}, 0.85
"""Of the memory that is free, what is planned with; the rest is for what the formulas leave out, and a machine's main
memory for its other programs."""
PROCESS = {"cpu": 2**30}
"""What a process takes in main memory besides: Python, JAX, and what its compiler leaves behind."""
ENOUGH = 2**60
"""Bytes, where nobody knows how much memory there is."""
WRITTEN = 8
"""Bytes of a token that was drawn and of its log-probability, for all completions; they are copied once at the end."""
STEPS = 16
"""Numbers of slots that are tried, at equal distances."""


class Asked(NamedTuple):
    """Completions that are sampled together."""

    model: ModelConfig
    prompt: int  # tokens at most
    limit: int  # tokens at most
    num_generations: int
    rows: int


class Sampling(NamedTuple):
    """Slots and pages over all devices, and what they take of each beside the parameters, in bytes."""

    slots: int
    pages: int
    bytes: float


def rows_that_fit(asked: Sequence[Asked], free: float, *, pages: int | None = None) -> Sampling | None:
    """The most completions that can be decoded at a time in so many bytes of each device, in which the parameters stand
    already, on the mesh in force; None where not one can.

    Args:
      asked: everything that is sampled, one after the other.
      pages: over all devices; None: as many as fit, and for at least a quarter (`FILLED`) of what the slots could fill.

    >>> tiny = ModelConfig(vocab_size=64, num_hidden_layers=1)
    >>> rows_that_fit([Asked(tiny, prompt=32, limit=128, num_generations=1, rows=9)], 2**40).slots
    9
    """
    parts = whole_batch(1)
    most = max(1, min(most_slots(parts), max(one.rows for one in asked)) // parts)
    for each in sorted({-(-most * part // STEPS) for part in range(1, STEPS + 1)} | {1}, reverse=True):
        if found := fitting(asked, each * parts, free, pages=pages, filled=FILLED):
            return found
    return None


def fitting(
    asked: Sequence[Asked], slots: int, free: float, *, pages: int | None = None, filled: int | None = None
) -> Sampling | None:
    """The same with a given number of slots.

    Args:
      filled: there have to be pages for this part of all tokens that the slots could hold; None: for one completion.
    """
    parts = whole_batch(1)
    each, needs = -(-slots // parts), []
    for one in asked:
        most = -(-one.limit // PAGE)
        whole = min(each, -(-one.rows // parts)) * most
        least = max(most, -(-whole // filled) if filled else 0)
        fixed, page = _fixed(one, each), PAGE * _token(one.model)
        room = int((free - fixed) // page)
        if min(room, whole if pages is None else pages // parts) < least:
            return None
        needs.append((fixed, page, whole, room))
    short = [room for _, _, whole, room in needs if room < whole]
    found = min(short) if short else max(whole for _, _, whole, _ in needs)
    if pages is not None:
        if any(min(pages // parts, whole) > room for _, _, whole, room in needs):
            return None
        found = min(max(whole for _, _, whole, _ in needs), pages // parts)
    taken = max(fixed + min(found, whole) * page for fixed, page, whole, _ in needs)
    return Sampling(min(slots, max(one.rows for one in asked)), found * parts, taken)


def _fixed(asked: Asked, slots: int) -> float:
    """Bytes of a device with so many slots, beside parameters and pages."""
    model, parts = asked.model, whole_batch(1)
    groups = max(1, asked.rows // asked.num_generations // parts)
    held = copies_held(slots, groups, asked.num_generations, platform() not in COMPUTES) * asked.prompt
    once = min(max(READ_TOKENS, asked.prompt), held)
    split = parts_of("vocab", model.vocab_size)
    briefly = max(footprint.drawing(model, slots) / split, footprint.reading(model, once, asked.prompt))
    written = 2 * asked.rows * asked.limit * WRITTEN / parts
    return footprint.decoding_copies(model) / split + held * _token(model) + briefly + written


def _token(model: ModelConfig) -> int:
    """Bytes of a device that keys and values of a token take while the loop runs."""
    token = footprint.token_bytes(model) * footprint.cache_copies(model)
    return token // parts_of("kv_heads", model.num_key_value_heads)


def evaluated(config: Config, problems: int) -> Asked:
    """What an evaluation of so many problems samples."""
    k, rows = config.evaluation.num_samples, whole_batch(max(1, problems)) * config.evaluation.num_samples
    return Asked(config.model, config.data.max_prompt_length, config.sampling.max_completion_length, k, rows)


def trained(config: Config, tokenizer: Tokenizer, problems: int) -> list[Asked]:
    """What a training run samples: rollouts, the helpers' answers, and evaluations of so many problems."""
    P, G, T = config.data.prompts_per_step, config.sampling.num_generations, config.sampling.max_completion_length
    limits, lengths = sizes.limits_of_roles(config, tokenizer), sizes.row_limits(config, tokenizer)
    found = [
        Asked(config.model, config.data.max_prompt_length, T, G, P * G),
        evaluated(config.for_evaluation, problems),
    ]
    for role in setup.asked_helpers(config):
        found.append(Asked(config.for_helpers.model, lengths[role] - limits[role], limits[role], 1, P * G))
    return found


def fit_evaluation(
    config: Config, problems: int, say: Callable[[str], None] = lambda line: None, *, loaded: bool = False
) -> Config:
    """A configuration with slots and pages that fit beside the parameters on the mesh in force, told in a line.

    Args:
      loaded: whether the parameters stand on the devices already.

    Raises:
      ValueError: what is asked for cannot fit, with the numbers and the remedy.
    """
    asked, there = [evaluated(config, problems)], _there()
    held = _process() + _held(config.model, footprint.number_size(config.model.param_dtype))
    if loaded and there:
        there = Memory(int(there.free + held), there.limit)
    found = _sampling(asked, config, there, held, "evaluation")
    if there:
        say(f"evaluation: {found.slots} rows at a time, {in_gib(held + found.bytes)} of {in_gib(there.free)} estimated")
    return _with(config, found)


def fit_training(
    exp: Experiment,
    say: Callable[[str], None] = lambda line: None,
    elsewhere: Memory | None = None,
    *,
    refuse: bool = True,
) -> Experiment:
    """The same of a training run, with grpo.micro_batch_rows in numbers.

    Args:
      elsewhere: memory of a device that is not here.
      refuse: whether what cannot fit is refused; else it is left at its smallest.
    """
    config, tokenizer = exp.config, exp.tokenizer
    asked, there = trained(config, tokenizer, len(exp.test)), elsewhere or _there()
    held = _process() + _state(config)
    config = _micro_batches(config, tokenizer, there, held, refuse=refuse)
    found = _sampling(asked, config, there, held, "training", refuse=refuse)
    if there:
        updating = held + _update(config, config.grpo.packed_rows)
        say(
            f"training: {found.slots} rows at a time, {config.grpo.packed_rows} packed rows a micro-batch, "
            f"{in_gib(max(updating, held + found.bytes))} of {in_gib(there.free)} estimated"
        )
    return dataclasses.replace(exp, config=_with(config, found))


def taken(exp: Experiment) -> tuple[float, float, float]:
    """Bytes of a device that a training run from `fit_training` takes: throughout, and beside that for an update and
    for sampling."""
    config = exp.config
    asked = trained(config, exp.tokenizer, len(exp.test))
    found = _sampling(asked, config, None, 0.0, "training")
    return _process() + _state(config), _update(config, config.grpo.packed_rows), found.bytes


def _process() -> float:
    """Bytes that a process takes besides, shared by its devices."""
    return PROCESS.get(platform(), 0) / jax.local_device_count()


def _there() -> Memory | None:
    """Memory of the device with the least, over all hosts; None where some host does not know."""
    seen = hosts.gather(memory.of_device())
    return None if None in seen else Memory(*map(min, zip(*seen, strict=True)))


def _share() -> float:
    return SHARE.get(platform(), MOST)


def _sampling(
    asked: Sequence[Asked], config: Config, there: Memory | None, held: float, what: str, *, refuse: bool = True
) -> Sampling:
    slots = config.sampling.slots
    longest = max(config.sampling.max_completion_length, config.evaluation.max_completion_length)
    pages = None if config.sampling.pages == "auto" else config.sampling.pages
    least = whole_batch(1) * -(-longest // PAGE)
    if pages is not None and pages < least:
        raise ValueError(
            f"sampling.pages: expected at least {least}, since a completion of {longest} tokens takes "
            f"{least // whole_batch(1)} pages of {PAGE} tokens on its device, got {pages}; raise it"
        )
    found, free = None, there.free if there else ENOUGH
    for size in (_share() * free - held, free - held):
        if slots == "auto":
            found = found or rows_that_fit(asked, size, pages=pages)
        else:
            found = found or fitting(asked, slots, size, pages=pages)
    if found:
        return found
    smallest = fitting(asked, whole_batch(1), ENOUGH)
    assert smallest  # everything fits there
    if not refuse:
        return smallest
    given = [f"sampling.{name}={n}" for name, n in (("slots", slots), ("pages", pages)) if n not in ("auto", None)]
    wanted = fitting(asked, whole_batch(1) if slots == "auto" else slots, ENOUGH, pages=pages) or smallest
    remedies = [f"leave out {' and '.join(given)}"] if given and held + smallest.bytes <= free else []
    section = "evaluation" if longest == config.evaluation.max_completion_length else "sampling"
    remedies += [f"lower {section}.max_completion_length={longest}"]
    remedies += [] if config.model.param_dtype == "bfloat16" else ["set model.dtype and model.param_dtype to bfloat16"]
    raise ValueError(
        f"memory: {what} needs {in_gib(held + wanted.bytes)} ({in_gib(held)} before anything is sampled), got "
        f"{in_gib(free)} free; {', or '.join(remedies)}"
    )


def _micro_batches(config: Config, tokenizer: Tokenizer, there: Memory | None, held: float, *, refuse: bool) -> Config:
    """With grpo.micro_batch_rows in numbers: the largest power of 2 up to MOST_PACKED_ROWS that fits."""
    parts, given = whole_batch(1), config.grpo.micro_batch_rows
    free = there.free if there else ENOUGH
    longest = max(sizes.row_limits(config, tokenizer)[role] for role in _roles(config))
    if given == "auto":
        choices = [parts * 2**n for n in range(max(1, MOST_PACKED_ROWS // parts).bit_length() - 1, -1, -1)]
        fits = [n for share in (_share(), 1.0) for n in choices if held + _update(config, n) <= share * free]
        rows = fits[0] if fits else parts
    else:
        rows = given
    needed = held + _update(config, rows)
    if refuse and needed > free:
        smaller = given != "auto" and held + _update(config, parts) <= free
        remedy = "set grpo.micro_batch_rows to auto" if smaller else f"lower grpo.row_length (to {longest} at least)"
        remedy += "" if config.model.remat else ", or set model.remat to true"
        raise ValueError(
            f"memory: an update with grpo.micro_batch_rows={rows} of grpo.row_length={config.grpo.row_length} tokens "
            f"needs {in_gib(needed)} ({in_gib(held)} of them for parameters, optimiser and the process), got "
            f"{in_gib(free)} free; {remedy}"
        )
    return dataclasses.replace(config, grpo=dataclasses.replace(config.grpo, micro_batch_rows=rows))


def _roles(config: Config) -> tuple[str, ...]:
    """The roles whose rows an update may hold."""
    return tuple(dict.fromkeys((*setup.played_by_policy(config), *setup.asked_helpers(config))))


def _update(config: Config, rows: int) -> float:
    """Bytes that an update takes of a device beside the state: of the policies that are trained the larger."""
    models = [config.model] + ([config.helper_model] if run_state.trains_helper(config) else [])
    tokens = rows * config.grpo.row_length
    return max(
        footprint.update(m, tokens / whole_batch(1), _split(m), parts_of("vocab", m.vocab_size), config.lora)
        for m in models
    )


def _state(config: Config) -> float:
    """Bytes that a training run holds of a device throughout, see `footprint.state`."""
    start = run_state.keeps_start(config) or run_state.renews_teacher(config)
    held = footprint.state(config.model, config.lora, start=start) / _split(config.model)
    if not config.agents.separate:
        return held
    if run_state.trains_helper(config):
        return held + footprint.state(config.helper_model, config.lora, start=True) / _split(config.helper_model)
    return held + _held(config.helper_model, footprint.number_size(config.helper_model.param_dtype))


def _held(model: ModelConfig, bytes_each: int) -> float:
    return footprint.num_params(model) * bytes_each / _split(model)


def _split(model: ModelConfig) -> int:
    """Devices that parameters are split over."""
    return parts_of("embed", model.hidden_size) * parts_of("mlp", model.intermediate_size)


def _with(config: Config, found: Sampling) -> Config:
    sampling = dataclasses.replace(config.sampling, slots=found.slots, pages=found.pages)
    return dataclasses.replace(config, sampling=sampling)
