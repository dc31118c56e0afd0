"""Who decodes where: requests, the slots they take, the prompts they share and the pages they fill. Integers alone.

Everything here is about one part of the mesh, which has slots, requests, prompts and pages of its own, so that nothing
is ever passed between devices; the engine maps over the parts. Axes besides those of `types`:

    N requests of a part, row n = p * G + g       B slots       E pages of the pool      O most pages of a slot
    U parties, rows of a group that share one copy of its prompt: R rows each, u = n // R       Q copies held at a time
    W tokens of a slot that a pass feeds          Z tokens of a page

A number that is out of range stands for "none": request N, slot B, copy Q, party U, page E.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jaxreason.ops.attention_paged import Places
from jaxreason.types import pytree

RESERVE = 8
"""No request begins while fewer pages are free than one for so many slots at work: it would only be sent back."""


@pytree
class Slots:
    """What each slot is at."""

    row: jax.Array  # int32 [B], the request it decodes
    token: jax.Array  # int32 [B], what it is fed next
    place: jax.Array  # int32 [B], where: 0 is the prompt's last token, t + 1 the completion's token t
    machine: jax.Array  # int32 [B], state of the constraint
    pages: jax.Array  # int32 [B], how many it owns
    table: jax.Array  # int32 [B O], which, in order


@pytree
class Queue:
    """What is still to do, and what is taken."""

    waiting: jax.Array  # bool [N], requests that have not begun, or were sent back
    left: jax.Array  # int32 [U], requests of each party that are not done
    groups: jax.Array  # int32 [], groups with anything to do; they come first
    read: jax.Array  # int32 [], how many of them have had their prompt read
    copy_of: jax.Array  # int32 [U], where each party's copy of its prompt is held
    party_of: jax.Array  # int32 [Q], whose copy each is
    owner: jax.Array  # int32 [E], slot that each page belongs to
    number: jax.Array  # int32 [E], which of its owner's pages it is
    sent_back: jax.Array  # int32 [], requests that began and were sent back for want of a page


def at_start(
    limit_PG: jax.Array, *, slots: int, readers: int, copies: int, pages: int, most_pages: int
) -> tuple[Slots, Queue]:
    """Every slot idle, every request with a limit above 0 waiting. Groups without one must stand last.

    Args:
      readers: rows of a party, which divide a group's.
    """
    N = limit_PG.size
    left_U = (limit_PG.reshape(-1, readers) > 0).sum(1, dtype=jnp.int32)
    zero = jnp.int32(0)
    return _idle(slots, most_pages, N, pages), Queue(
        waiting=limit_PG.reshape(-1) > 0,
        left=left_U,
        groups=(limit_PG > 0).any(1).sum(dtype=jnp.int32),
        read=zero,
        copy_of=jnp.full(len(left_U), copies, jnp.int32),
        party_of=jnp.full(copies, len(left_U), jnp.int32),
        owner=jnp.full(pages, slots, jnp.int32),
        number=jnp.zeros(pages, jnp.int32),
        sent_back=zero,
    )


def _idle(slots: int, most_pages: int, N: int, E: int) -> Slots:
    zero_B = jnp.zeros(slots, jnp.int32)
    return Slots(
        row=jnp.full(slots, N, jnp.int32),
        token=zero_B,
        place=zero_B,
        machine=zero_B,
        pages=zero_B,
        table=jnp.full((slots, most_pages), E, jnp.int32),
    )


def startable(queue: Queue) -> jax.Array:
    """Requests that could begin: bool [N], those whose prompt is held."""
    R = queue.waiting.shape[0] // queue.left.shape[0]
    return queue.waiting & jnp.repeat(queue.copy_of < queue.party_of.shape[0], R)


def wants_prompts(slots: Slots, queue: Queue, count: int, parties: int) -> jax.Array:
    """Whether to read prompts now: a slot waits for one, or there is room for those of `count` groups; bool [].

    Args:
      parties: of a group.
    """
    unread = queue.groups - queue.read
    free = (queue.party_of == queue.left.shape[0]).sum(dtype=jnp.int32) // parties
    idle = (slots.row == queue.waiting.shape[0]).sum(dtype=jnp.int32)
    starved = startable(queue).sum(dtype=jnp.int32) < idle
    return (unread > 0) & (free > 0) & (starved | (free >= jnp.minimum(count, unread)))


def next_prompts(queue: Queue, count: int, parties: int) -> tuple[jax.Array, jax.Array, Queue]:
    """The next groups to read and where to hold their prompts, as many of `count` as there are and fit.

    Args:
      parties: of a group, each of which gets a copy where it has anything to do.

    Returns:
      (group [count], copy [count parties], queue); none for those that don't fit.
    """
    U, Q = queue.left.shape[0], queue.party_of.shape[0]
    group_K = queue.read + jnp.arange(count, dtype=jnp.int32)
    party_KS = group_K[:, None] * parties + jnp.arange(parties, dtype=jnp.int32)[None]
    wants_KS = queue.left.at[party_KS].get(mode="fill", fill_value=0) > 0
    (free_M,) = jnp.nonzero(queue.party_of == U, size=count * parties, fill_value=Q)
    at_KS = jnp.where(wants_KS, free_M[jnp.cumsum(wants_KS).reshape(wants_KS.shape) - 1], Q).astype(jnp.int32)
    fits_K = (group_K < queue.groups) & ((at_KS < Q) | ~wants_KS).all(1)
    at_KS = jnp.where(fits_K[:, None], at_KS, Q)
    party_KS = jnp.where(at_KS < Q, party_KS, U)
    return (
        jnp.where(fits_K, group_K, U // parties),
        at_KS,
        dataclasses.replace(
            queue,
            read=queue.read + fits_K.sum(dtype=jnp.int32),
            copy_of=queue.copy_of.at[party_KS].set(at_KS, mode="drop"),
            party_of=queue.party_of.at[at_KS].set(party_KS, mode="drop"),
        ),
    )


def _needs(slots: Slots, queue: Queue, W: int, Z: int) -> jax.Array:
    """Which slots at work need another page for their next W tokens, bool [B]."""
    at_work_B = slots.row < queue.waiting.shape[0]
    return at_work_B & (slots.place + W > slots.pages * Z) & (slots.pages < slots.table.shape[1])


def refill(slots: Slots, queue: Queue, last_token_P: jax.Array, W: int, Z: int) -> tuple[Slots, Queue]:
    """Let idle slots take the next requests in order.

    Args:
      last_token_P: int32, the last token of each group's prompt.
    """
    B, N, P = slots.row.shape[0], queue.waiting.shape[0], last_token_P.shape[0]
    E = queue.owner.shape[0]
    idle_B = slots.row == N
    # Pages come first to those at work. A pool with room for all slots at their limits never runs out.
    spoken_for = _needs(slots, queue, W, Z).sum(dtype=jnp.int32) + (~idle_B).sum(dtype=jnp.int32) // RESERVE
    free = (queue.owner == B).sum(dtype=jnp.int32)
    enough = B if B * slots.table.shape[1] <= E else free - spoken_for
    (next_B,) = jnp.nonzero(startable(queue), size=B, fill_value=N)
    rank_B = jnp.cumsum(idle_B) - 1
    row_B = jnp.where(idle_B & (rank_B < enough), next_B[rank_B], N).astype(jnp.int32)
    takes_B = row_B < N
    token_B = last_token_P.at[row_B // (N // P)].get(mode="fill", fill_value=0)
    return (
        dataclasses.replace(
            slots,
            row=jnp.where(takes_B, row_B, slots.row),
            token=jnp.where(takes_B, token_B, slots.token),
            place=jnp.where(takes_B, 0, slots.place),
            machine=jnp.where(takes_B, 0, slots.machine),
        ),
        dataclasses.replace(queue, waiting=queue.waiting.at[row_B].set(False, mode="drop")),
    )


def grow(slots: Slots, queue: Queue, W: int, Z: int) -> tuple[Slots, Queue, jax.Array]:
    """Give each slot at work the page that its next W tokens (at most Z) need.

    Where pages are short, slots without one wait, and the request furthest back in the queue is sent back: its pages
    serve those before it, and later it is drawn again, token for token. As the first request is never sent back and
    its limit fits the pool, all come to an end.

    Returns:
      (slots, queue, able [B]: whether the slot takes part in the pass).
    """
    (B, most), N, E = slots.table.shape, queue.waiting.shape[0], queue.owner.shape[0]
    active_B, needs_B = slots.row < N, _needs(slots, queue, W, Z)
    (free_B,) = jnp.nonzero(queue.owner == B, size=B, fill_value=E)
    page_B = jnp.where(needs_B, free_B[jnp.cumsum(needs_B) - 1], E).astype(jnp.int32)
    gets_B = page_B < E
    row_B = jnp.arange(B, dtype=jnp.int32)
    grown = dataclasses.replace(
        slots,
        pages=slots.pages + gets_B,
        table=slots.table.at[row_B, jnp.where(gets_B, slots.pages, most)].set(page_B, mode="drop"),
    )
    queue = dataclasses.replace(
        queue,
        owner=queue.owner.at[page_B].set(row_B, mode="drop"),
        number=queue.number.at[page_B].set(slots.pages, mode="drop"),
    )
    able_B = active_B & (gets_B | ~needs_B)
    if B * most <= E:
        return grown, queue, able_B
    last = jnp.argmax(jnp.where(active_B, slots.row, -1))
    back_B = (row_B == last) & (needs_B & ~gets_B).any()
    queue = dataclasses.replace(
        queue,
        waiting=queue.waiting.at[jnp.where(back_B, slots.row, N)].set(True, mode="drop"),
        sent_back=queue.sent_back + back_B.any(),
    )
    grown, queue = _empty(grown, queue, back_B)
    return grown, queue, able_B & ~back_B


def release(slots: Slots, queue: Queue, done_B: jax.Array) -> tuple[Slots, Queue]:
    """Free what slots held whose request is done: slot, pages, and the prompt's copy if no other request reads it."""
    N, U = queue.waiting.shape[0], queue.left.shape[0]
    party_B = jnp.where(done_B, slots.row, N) // (N // U)
    left_U = queue.left.at[party_B].add(-1, mode="drop")
    kept_Q = left_U.at[queue.party_of].get(mode="fill", fill_value=0) > 0
    queue = dataclasses.replace(
        queue,
        left=left_U,
        copy_of=jnp.where(left_U > 0, queue.copy_of, queue.party_of.shape[0]),
        party_of=jnp.where(kept_Q, queue.party_of, U),
    )
    return _empty(slots, queue, done_B)


def _empty(slots: Slots, queue: Queue, emptied_B: jax.Array) -> tuple[Slots, Queue]:
    """Make slots idle and their pages free."""
    B, N, E = slots.row.shape[0], queue.waiting.shape[0], queue.owner.shape[0]
    freed_E = emptied_B.at[queue.owner].get(mode="fill", fill_value=True)
    return (
        dataclasses.replace(
            slots,
            row=jnp.where(emptied_B, N, slots.row),
            pages=jnp.where(emptied_B, 0, slots.pages),
            table=jnp.where(emptied_B[:, None], E, slots.table),
        ),
        dataclasses.replace(queue, owner=jnp.where(freed_E, B, queue.owner)),
    )


def narrow(slots: Slots, queue: Queue, few: int) -> tuple[Slots, Queue]:
    """The slots at work as the first of `few`, who keep their pages. No more than that may be at work."""
    B, N = slots.row.shape[0], queue.waiting.shape[0]
    (kept_F,) = jnp.nonzero(slots.row < N, size=few, fill_value=B)
    seat_B = jnp.full(B, few, jnp.int32).at[kept_F].set(jnp.arange(few, dtype=jnp.int32), mode="drop")
    owner = seat_B.at[queue.owner].get(mode="fill", fill_value=few)
    with_an_idle_one = _behind(slots, queue, 1)
    return jax.tree.map(lambda x: x[kept_F], with_an_idle_one), dataclasses.replace(queue, owner=owner)


def widen(slots: Slots, queue: Queue, many: int) -> tuple[Slots, Queue]:
    """The same slots as the first of `many`, of which the others are idle."""
    few = slots.row.shape[0]
    owner = jnp.where(queue.owner < few, queue.owner, many)
    return _behind(slots, queue, many - few), dataclasses.replace(queue, owner=owner)


def _behind(slots: Slots, queue: Queue, more: int) -> Slots:
    """So many idle slots behind these."""
    idle = _idle(more, slots.table.shape[1], queue.waiting.shape[0], queue.owner.shape[0])
    return jax.tree.map(lambda x, y: jnp.concatenate([x, y]), slots, idle)


def places(slots: Slots, queue: Queue, able_B: jax.Array, held_P: jax.Array) -> Places:
    """Who reads what in a pass; a slot that takes no part writes nothing.

    Args:
      held_P: int32 tokens of each group's prompt that are held.
    """
    B, N, U, Q = slots.row.shape[0], queue.waiting.shape[0], queue.left.shape[0], queue.party_of.shape[0]
    R, parties = N // U, U // held_P.shape[0]
    copy_B = queue.copy_of.at[slots.row // R].get(mode="fill", fill_value=Q)
    seat_B = jnp.where(copy_B < Q, copy_B * R + slots.row % R, Q * R)
    reader_S = jnp.full(Q * R, B, jnp.int32).at[seat_B].set(jnp.arange(B, dtype=jnp.int32), mode="drop")
    return Places(
        start=slots.place,
        seat=seat_B,
        reader=reader_S.reshape(Q, R),
        held=held_P.at[queue.party_of // parties].get(mode="fill", fill_value=0),
        table=jnp.where(able_B[:, None], slots.table, queue.owner.shape[0]),
        owner=queue.owner,
        number=queue.number,
    )
