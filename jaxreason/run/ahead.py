"""A step's first completions, begun by the step before it (`run.staleness`): the device samples while the host grades.

They are drawn by the parameters before that step's update, with the key they would have been drawn with after it, and
so are one step old when they are learnt from. Their log-probabilities are of the parameters that drew them, which is
what the loss's ratio and its correction ask for. Only the reasoner's first batch is begun: whatever is sampled behind
grades (dynamic sampling's further batches, the helpers) is drawn by the newest parameters.

Begun completions are part of the state after the step, and of its checkpoint: they are small, while the parameters that
drew them are gone.
"""

import numpy as np

from jaxreason.agents import reasoner
from jaxreason.config import Config
from jaxreason.run import keys
from jaxreason.run.setup import Experiment
from jaxreason.sampling.lengths import Lengths
from jaxreason.types import Params, Rollout, on_host


def begin(params: Params, number: int, place: int, exp: Experiment, lengths: Lengths, rows: int) -> Rollout | None:
    """Have the completions that step `number` begins with sampled; returns before the device has.

    Args:
      params: the policy before the update of the step before.
      place: the row of the data at which the step before begins.
      lengths: of completions so far.
      rows: that the step before takes.

    Returns:
      None where run.staleness is 0, or there is no such step.
    """
    config = exp.config
    if not config.run.staleness or number >= config.run.max_steps:
        return None
    problems = exp.stream.rows(place + rows, exp.stream.batch_size)
    expected = lengths.expected([one.id for one in problems])
    key = keys.of_step(number, keys.SAMPLING, config)
    return reasoner.begin(params, problems, key, config, exp.tokenizer, expected)[1]


def nothing(config: Config) -> Rollout | None:
    """What stands for completions where none are begun: of their size, without a token; NumPy. None where run.staleness
    is 0."""
    if not config.run.staleness:
        return None
    P, G, T = config.data.prompts_per_step, config.sampling.num_generations, config.sampling.max_completion_length
    return on_host(
        Rollout,
        tokens=np.zeros((P, G, T), np.int32),
        length=np.zeros((P, G), np.int32),
        logp=np.zeros((P, G, T), np.float32),
        finished=np.zeros((P, G), bool),
    )


def begun(held: Rollout | None) -> Rollout | None:
    """What the step before began; None where that is nothing, as at the first step and after a rollback."""
    return None if held is None or not np.asarray(held.length).any() else held


def metrics(drawn: Rollout | None, config: Config) -> dict[str, float]:
    """How many steps old the policy was that drew a step's first completions; empty where run.staleness is 0."""
    return {"reason/staleness": float(drawn is not None)} if config.run.staleness else {}
