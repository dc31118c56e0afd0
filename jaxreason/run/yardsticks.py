"""What a step's answers are held against: the frozen scorer, what chunks contribute, a teacher, the task's labels."""

from jaxreason.agents import constraints, contribution, frozen_scorer, lessons, teacher
from jaxreason.agents.episode import Clock, Episode
from jaxreason.agents.outcome import outcome
from jaxreason.grpo.learner import Answers
from jaxreason.rewards.methods import Method, teacher_of
from jaxreason.rewards.outcome import Outcome
from jaxreason.run.programs import Programs
from jaxreason.tasks import oracle
from jaxreason.types import Params


def measure(
    played: Episode,
    method: Method,
    start: Params | None,
    helper_start: Params | None,
    helpers: Params | None,
    teaches: Params | None,
    programs: Programs,
    clock: Clock,
) -> tuple[Outcome, dict[str, Answers]]:
    """What the reward looks at, and the answers that are shown in place of sampled ones, by role.

    Args:
      start: the policy before step 0, where something reads it.
      helper_start: the policy that played the helpers then.
      helpers: the one that plays them now; None for a method without helpers.
      teaches: the teacher of a method that reads one.
      clock: gets the seconds of each yardstick.
    """
    config, tokenizer = programs.exp.config, programs.exp.tokenizer
    found, shown = {}, {}
    if method.helpers == "train":
        assert helper_start is not None  # `run.state.keeps_start`
        found["frozen_PGK"] = frozen_scorer.expected_scores(
            helper_start, played, programs.expect, config, tokenizer, shapes=programs.frozen_shapes
        )
    clock.lap("frozen_scorer")
    if method.measured:
        found["contribution_PGK"] = contribution.contributions(
            start, played, programs.likelihood,
            count=contribution.num_problems(config), shapes=programs.contribution_shapes,
            look=contribution.look_for(config.agents, tokenizer),
        )  # fmt: skip
        if config.agents.decoding == "constrained":
            found["digit_ids"] = constraints.digit_tokens(tokenizer)
            shown = lessons.corrected(
                played, found["contribution_PGK"], config.reward.contribution_scale, programs.learners[-1], helpers,
                found["digit_ids"],
            )  # fmt: skip
        clock.lap("contribution")
    if told := teacher_of(config):
        assert teaches is not None  # it stands in the state, or is the start
        found["teacher_PGT"] = teacher.gap(
            teaches, played, told.instruction, programs.exp.task, programs.learners[0].reference, config, tokenizer,
            shapes=programs.teacher_shapes,
        )  # fmt: skip
        clock.lap("teacher")
    if method.labelled:
        shape = played.rollouts["reason"].tokens.shape
        found["truth"] = oracle.true_chunks(programs.exp.task, played.labels, played.reasonings, tokenizer, shape)
    return outcome(played, **found), shown
