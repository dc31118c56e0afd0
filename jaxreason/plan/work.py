"""How much a call has to do."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Work:
    """What a call has to do, all devices together, with all its loops run to their limits or to given lengths."""

    trips: int  # rounds of its loops whose number is data: micro-batches, or passes of the sampler
    tokens: int  # that go through the layers
    predicted: int  # that go through the head
    pairs: float  # of a query and a key that it sees, of one head of one layer
    passes: int  # over the weights, each of about the same products: 3 with a backward pass
    cache_bytes: float = 0.0  # keys and values that are read again
    inner: float | None = None  # rounds of such a loop inside a round, on average; None: as many as `trips`
