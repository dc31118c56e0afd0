"""Sampling many completions: a fixed number of slots decodes, and a slot whose row is done takes the next request.

All of it is one jitted while_loop over one frozen state; nothing returns to the host inside. Each round reads prompts
where slots wait for them (once a group), hands requests to idle slots, pages to rows that grow, and feeds every slot.

A row's draws depend on its request's key and its own place alone, so who its neighbours are, how many slots there are
and in what order requests come decide nothing. Knows nothing of text, roles or rewards.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from jaxreason.ops import logprob
from jaxreason.parallel.rules import everywhere, parts_of, shard
from jaxreason.policy import api, cache
from jaxreason.policy.cache import Cache
from jaxreason.sampling import draft, methods, slots
from jaxreason.sampling.query import Decoding, Query
from jaxreason.sampling.room import BLOCK, PAGE, Room, holds, widths
from jaxreason.sampling.slots import Queue, Slots
from jaxreason.types import Constraint, Params, Rollout, pytree

READ_TOKENS = 2048
"""Prompts are read so many tokens at a time: enough to fill a device, few enough to fit beside the pages."""
AHEAD = 4
"""For so many slots the prompt of one more row is held, which is read before a slot waits for it."""
PLACES = 16
"""A prompt takes a multiple of so many places: a product with 63 keys takes a CPU three times as long as with 64."""


@pytree
class Requests:
    """What is to be sampled, in the order in which it is begun. X parts, each with its own."""

    prompt: jax.Array  # int32 [X P L], left-padded
    length: jax.Array  # int32 [X P]
    limit: jax.Array  # int32 [X P G]
    key: jax.Array  # uint32 [X N 2], key data of each row
    constraint: Constraint | None  # [X N states A]


@pytree
class State:
    """Where the loop stands: everything it reads and writes, and nothing else."""

    slots: Slots
    queue: Queue
    cache: Cache
    tokens: jax.Array  # int32 [X N T]
    logp: jax.Array  # float32 [X N T]
    length: jax.Array  # int32 [X N], of rows that are done
    finished: jax.Array  # bool [X N], done by an end-of-sequence token
    candidates: jax.Array | None  # int32 [X N T A]
    passes: jax.Array  # int32 [], rounds of the loop
    computed: jax.Array  # int32 [], slots of a part that they were computed for, added up
    fed: jax.Array  # int32 [X], slots that took part in them, added up


@functools.partial(jax.jit, static_argnames="how")
def generate(params: Params, query: Query, key: jax.Array, temperature: jax.Array, how: Decoding) -> Rollout:
    """Sample G completions a prompt.

    A row whose limit is longer than all pages of `how.room` together stays empty, as one of limit 0 does.

    Args:
      params: the policy's.
      key: every draw of the call comes from it: the same key repeats the call, and the caller never passes one twice.
      temperature: float32 scalar; 0 decodes greedily.

    Returns:
      Rollout with T = how.max_completion_length. logp is of the distribution sampled from, after temperature, filters
      and constraint (greedy: of the unscaled distribution). On a mesh every device holds all of it, so that every host
      can read it.
    """
    requests, order_XP = arrange(query, key, how)
    state = advance(api.unstack(params, how.config), begin(requests, how), requests, key, temperature, how=how)
    return everywhere(collect(state, order_XP, query.limit.shape[1]))


def block_of(room: Room, constraint: Constraint | None) -> int:
    """Tokens of a row that a pass feeds."""
    return room.block or (1 if constraint is None else BLOCK)


def admitted(limit_PG: jax.Array, room: Room) -> jax.Array:
    """The limits of rows that find pages enough, 0 for others: they would wait for ever."""
    return jnp.where(holds(room, limit_PG, limit_PG.shape[0]), limit_PG, 0)


def arrange(query: Query, key: jax.Array, how: Decoding) -> tuple[Requests, jax.Array]:
    """Requests by parts of the mesh and in the order they begin in, and that order [X P]; see `generate`."""
    prompts, constraint = query.prompts, query.constraint
    chex.assert_rank([prompts.tokens, prompts.length, query.limit], [2, 1, 2])
    P, G = prompts.tokens.shape[0], query.limit.shape[1]
    chex.assert_shape(query.limit, (P, G))
    limit_PG = admitted(query.limit, how.room)
    tokens_PL = jnp.pad(prompts.tokens, ((0, 0), (-(prompts.tokens.shape[1] - 1) % PLACES, 0)))
    X = parts_of("batch", P)
    number_P = jnp.arange(P) if query.number is None else query.number
    expected_P = jnp.zeros(P, jnp.float32) if query.expected is None else query.expected
    # Groups without a request come last: their prompts are not read.
    rank_P = jnp.where((limit_PG > 0).any(1), -expected_P.astype(jnp.float32), jnp.inf)
    order_XP = jnp.argsort(rank_P.reshape(X, -1), axis=1, stable=True)
    key_PG = jax.vmap(lambda p: jax.vmap(functools.partial(jax.random.fold_in, jax.random.fold_in(key, p)))(
        jnp.arange(G)
    ))(number_P)  # fmt: skip

    def in_order(x):
        """[P*a ...] or [P ...] as [X P*a ...], prompts in order."""
        by_prompt = x.reshape(X, P // X, -1, *x.shape[1:]) if x.shape[0] != P else x.reshape(X, P // X, *x.shape[1:])
        found = jax.vmap(lambda x, order: x[order])(by_prompt, order_XP)
        found = found.reshape(X, -1, *x.shape[1:])
        return shard(found, "batch", *(None,) * (found.ndim - 1))

    N = P * G
    rows = None if constraint is None else jax.tree.map(lambda x: x.reshape(P, G, *x.shape[1:]), constraint)
    requests = Requests(
        prompt=in_order(tokens_PL),
        length=in_order(prompts.length),
        limit=in_order(limit_PG),
        key=in_order(jax.random.key_data(key_PG)).reshape(X, N // X, -1),
        constraint=jax.tree.map(lambda x: in_order(x).reshape(X, N // X, *x.shape[2:]), rows),
    )
    return requests, order_XP


def begin(requests: Requests, how: Decoding) -> State:
    """Nothing is read yet and no token drawn."""
    (X, P, L), T, room = requests.prompt.shape, how.max_completion_length, how.room
    N, Z = requests.key.shape[1], min(PAGE, T)
    A = 0 if requests.constraint is None else requests.constraint.token.shape[-1]
    B, most = min(N, -(-room.slots // X) or N), -(-T // Z)
    E = cache.pool_size(min(room.pages // X, B * most) if room.pages else B * most)
    Q, R = copies_held(B, P, N // P, room.shares), N // P if room.shares else 1
    one = functools.partial(slots.at_start, slots=B, readers=R, copies=Q, pages=E, most_pages=most)
    begun, queue = jax.tree.map(_by_parts, jax.vmap(one)(requests.limit))
    return State(
        slots=begun,
        queue=queue,
        cache=cache.empty(how.config, parts=X, prompts=Q, length=max(L - 1, 1), pages=E, page=Z),
        tokens=_by_parts(jnp.full((X, N, T), how.pad_id, jnp.int32)),
        logp=_by_parts(jnp.zeros((X, N, T), jnp.float32)),
        length=_by_parts(jnp.zeros((X, N), jnp.int32)),
        finished=_by_parts(jnp.zeros((X, N), bool)),
        candidates=_by_parts(jnp.full((X, N, T, A), -1, jnp.int32)) if A else None,
        passes=jnp.int32(0),
        computed=jnp.int32(0),
        fed=_by_parts(jnp.zeros(X, jnp.int32)),
    )


def ahead(B: int, G: int) -> int:
    """Groups whose prompt is read before a slot waits for it."""
    return max(1, B // (AHEAD * G))


def copies_held(B: int, P: int, G: int, shares: bool) -> int:
    """Copies of prompts to hold at a time for B slots and P groups of G rows.

    Where every row has its own: one for each slot, and those of the groups that come next. Where all of a group share
    one: one for each group at work, of which the slower rows are left behind. Of G rows of random length the last takes
    about 1 + ln G times as long as the mean, and so long is a prompt held.

    Args:
      shares: see `Room`.

    >>> copies_held(64, 100, 8, True), copies_held(64, 100, 8, False), copies_held(64, 100, 1, True)
    (48, 80, 80)
    """
    if shares and G > 1:
        return min(P, -(-B * (2 + G.bit_length()) // G))
    return min(P * G, B + ahead(B, G) * G)


def advance(
    params: Params,
    state: State,
    requests: Requests,
    key: jax.Array,
    temperature: jax.Array,
    until: jax.Array | None = None,
    *,
    how: Decoding,
) -> State:
    """Go on until every request is done, or `until` passes (int32) were made in all; stops and goes on without a trace.

    Args:
      params: from `api.unstack`.
      key: gives its kind only; what is drawn comes from the keys of the requests.
    """
    config, method, block = how.config, how.method, block_of(how.room, requests.constraint)
    head_VD, temperature = api.head(params, config), jnp.asarray(temperature, jnp.float32)
    (P, L), Q, Z = requests.prompt.shape[1:], state.queue.party_of.shape[1], cache.page_size(state.cache)
    lifted = None if requests.constraint is None else requests.constraint.lift
    B, G, parties = state.slots.row.shape[1], requests.key.shape[1] // P, state.queue.left.shape[1] // P
    W, count = min(block, Z), min(Q if parties < G else ahead(B, G), max(1, READ_TOKENS // L))
    # A prompt's last token is fed to every row, so that the first token is drawn like all others; the rest is held.
    held_XP = requests.length - 1

    def wants(state: State) -> jax.Array:
        return _mapped(slots.wants_prompts, count=count, parties=parties)(state.slots, state.queue).any()

    def read(state: State) -> State:
        group_XK, at_XKS, queue = _mapped(slots.next_prompts, count=count, parties=parties)(state.queue)
        tokens_XKL = _rows(requests.prompt[:, :, : max(L - 1, 1)], group_XK)
        held = api.read_prompts(params, state.cache, tokens_XKL, _rows(held_XP, group_XK), at_XKS, config=config)
        return dataclasses.replace(state, queue=queue, cache=held)

    def body(state: State) -> State:
        state = jax.lax.while_loop(wants, read, state)
        refill = _mapped(slots.refill, W=W, Z=Z)
        taken, queue = refill(state.slots, state.queue, requests.prompt[:, :, -1])
        taken, queue, able_XB = _mapped(slots.grow, W=W, Z=Z)(taken, queue)
        if requests.constraint is None:
            ahead = draft.Draft(fed=taken.token[..., None], machine=taken.machine[..., None], allowed=None)
        else:
            ahead = _mapped(draft.along, width=W)(requests.constraint, taken.row, taken.token, taken.machine)
        where = jax.vmap(slots.places)(taken, queue, able_XB, held_XP)
        hidden_XBWD, grown = api.decode(params, state.cache, ahead.fed, where, config=config)
        choice_XBW, logp_XBW = draw(taken, ahead, hidden_XBWD)
        state = dataclasses.replace(state, slots=taken, queue=queue, cache=grown)
        return _record(state, requests, ahead, able_XB, choice_XBW, logp_XBW, how.eos_ids)

    def draw(taken: Slots, ahead: draft.Draft, hidden_XBWD: jax.Array) -> tuple[jax.Array, jax.Array]:
        """What each place is drawn to be, a number of the vocabulary or of what is allowed, and its log-probability."""
        shape, h_ND = hidden_XBWD.shape[:3], hidden_XBWD.reshape(-1, hidden_XBWD.shape[-1])
        place_XBW = taken.place[..., None] + jnp.arange(W)[None, None]
        own_XBW = jnp.repeat(_rows(requests.key, taken.row)[:, :, None], W, axis=2)
        own_N = jax.random.wrap_key_data(own_XBW.reshape(len(h_ND), -1), impl=jax.random.key_impl(key))
        uniform_N2 = jax.vmap(methods.uniforms)(jax.vmap(jax.random.fold_in)(own_N, place_XBW.reshape(-1)))
        if ahead.allowed is None:
            index_N, logp_N = methods.sample(uniform_N2, logprob.head_logits(h_ND, head_VD), temperature, method)
        else:
            few_NA = ahead.allowed.reshape(len(h_ND), -1)
            lift = jax.tree.map(lambda x_XN: jnp.repeat(_rows(x_XN, taken.row).reshape(-1), W), lifted)
            logits_NA = methods.scale(logprob.candidate_logits(h_ND, head_VD, few_NA, lift), temperature)
            index_N, logp_N = methods.draw(uniform_N2, logits_NA, temperature)
        return index_N.reshape(shape), logp_N.reshape(shape)

    def until_left(state: State, above: int, may: jax.Array | bool = True) -> State:
        """Go on until no more than `above` requests of each part are left."""

        def goes_on(state: State) -> jax.Array:
            more = (state.queue.left.sum(1) > above).any() & may
            return more if until is None else more & (state.passes < until)

        return jax.lax.while_loop(goes_on, body, state)

    _, *fewer = (*widths(state.slots.row.shape[1], how.room), 0)
    state = until_left(state, fewer[0])
    for few, above in itertools.pairwise(fewer):
        state = _in_few(state, few, functools.partial(until_left, above=above))
    return state


def _in_few(state: State, few: int, go_on: Callable[..., State]) -> State:
    """Go on in so many slots of each part, where no more requests are left; otherwise, as when `until` came first, no
    pass is made and nothing changes."""
    fits = (state.queue.left.sum(1) <= few).all()
    slots_XF, queue = _mapped(slots.narrow, few=few)(state.slots, state.queue)
    state_few = go_on(dataclasses.replace(state, slots=slots_XF, queue=queue), may=fits)
    slots_XB, queue = _mapped(slots.widen, many=state.slots.row.shape[1])(state_few.slots, state_few.queue)
    taken, queue = jax.tree.map(functools.partial(jnp.where, fits), (slots_XB, queue), (state.slots, state.queue))
    return dataclasses.replace(state_few, slots=taken, queue=queue)


def _record(
    state: State, requests: Requests, ahead: draft.Draft, able_XB, choice_XBW, logp_XBW, eos_ids: tuple[int, ...]
) -> State:
    """Keep what was drawn up to the first place that turned out otherwise than was fed, and end what is over."""
    taken, N, W = state.slots, state.tokens.shape[1], choice_XBW.shape[2]
    token_XBW = choice_XBW
    if ahead.allowed is not None:
        token_XBW = jnp.take_along_axis(ahead.allowed, choice_XBW[..., None], axis=3)[..., 0]
    limit_XB = _rows(requests.limit.reshape(requests.limit.shape[0], N), taken.row)
    place_XBW = taken.place[..., None] + jnp.arange(W)[None, None]
    ends_XBW = functools.reduce(jnp.logical_or, [token_XBW == e for e in eos_ids])
    onward_XBW = ~ends_XBW[..., :-1] & (token_XBW[..., :-1] == ahead.fed[..., 1:])
    foreseen_XBW = jnp.concatenate([able_XB[..., None], onward_XBW], axis=2)
    kept_XBW = jax.lax.cummin(foreseen_XBW.astype(jnp.int32), axis=2).astype(bool) & (place_XBW < limit_XB[..., None])
    count_XB = kept_XBW.sum(2, dtype=jnp.int32)
    last_XB1 = jnp.maximum(count_XB - 1, 0)[..., None]

    def at_last(x_XBW):
        return jnp.take_along_axis(x_XBW, last_XB1, axis=2)[..., 0]

    length_XB = taken.place + count_XB
    finished_XB = able_XB & at_last(ends_XBW)
    done_XB = able_XB & (finished_XB | (length_XB >= limit_XB))
    machine_XB = taken.machine
    if requests.constraint is not None:
        machine_XB = jax.vmap(draft.after)(requests.constraint, taken.row, at_last(ahead.machine), at_last(choice_XBW))
    taken = dataclasses.replace(
        taken,
        token=jnp.where(able_XB, at_last(token_XBW), taken.token),
        place=length_XB,
        machine=jnp.where(able_XB, machine_XB, taken.machine),
    )
    row_XBW = jnp.where(kept_XBW, taken.row[..., None], N)
    done_row_XB = jnp.where(done_XB, taken.row, N)
    emptied, queue = jax.vmap(slots.release)(taken, state.queue, done_XB)

    def put(into, at, new):
        return jax.vmap(lambda into, at, new: into.at[at].set(new, mode="drop"))(into, at, new)

    return dataclasses.replace(
        state,
        slots=emptied,
        queue=queue,
        tokens=put(state.tokens, (row_XBW, place_XBW), token_XBW),
        logp=put(state.logp, (row_XBW, place_XBW), logp_XBW),
        length=put(state.length, done_row_XB, length_XB),
        finished=put(state.finished, done_row_XB, finished_XB),
        candidates=None if state.candidates is None else put(state.candidates, (row_XBW, place_XBW), ahead.allowed),
        passes=state.passes + 1,
        computed=state.computed + taken.row.shape[1],
        fed=state.fed + able_XB.sum(1, dtype=jnp.int32),
    )


def collect(state: State, order_XP: jax.Array, G: int) -> Rollout:
    """What was sampled, in the order that it was given in."""
    X, P = order_XP.shape
    back_XP = jnp.argsort(order_XP, axis=1)

    def of(x):
        found = _rows(x.reshape(X, P, G, *x.shape[2:]), back_XP)
        return found.reshape(X * P, G, *x.shape[2:])

    candidates = None if state.candidates is None else of(state.candidates)
    return Rollout(
        tokens=of(state.tokens),
        length=of(state.length),
        logp=of(state.logp),
        finished=of(state.finished),
        candidates=candidates,
    )


def _rows(x: jax.Array, at: jax.Array) -> jax.Array:
    """Rows of each part; a number out of range gives the last one, which nobody looks at."""
    return jax.vmap(lambda x, at: x.at[at].get(mode="clip"))(x, at)


def _mapped(function, **static):
    """A function of one part for all of them."""
    return jax.vmap(functools.partial(function, **static))


def _by_parts(x: jax.Array) -> jax.Array:
    return shard(x, "batch", *(None,) * (x.ndim - 1))
