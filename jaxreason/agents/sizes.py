"""How long prompts and completions of each role can be, in tokens: batches, packed rows and memory are sized by it."""

from jaxreason.agents import constraints, helper_sampling, prompts
from jaxreason.agents.roles import ANNOTATE, REASON, SCORE, SEGMENT, token_limits
from jaxreason.config import Config
from jaxreason.data.tokenizer import Tokenizer


def limits_of_roles(config: Config, tokenizer: Tokenizer) -> dict[str, int]:
    """`token_limits` with the tags of a tokenizer."""
    tags = (constraints.tag_tokens(tokenizer), constraints.tag_tokens(tokenizer, scored=True))
    return token_limits(config, tag_tokens=tags[0], scored_tag_tokens=tags[1])


def row_limits(config: Config, tokenizer: Tokenizer) -> dict[str, int]:
    """The longest prompt and completion of each role together, by role: what a packed row must hold."""
    limits = limits_of_roles(config, tokenizer)
    y = config.sampling.max_completion_length
    frame = helper_sampling.frame(prompts.render_segment([""], config.agents, tokenizer), tokenizer)
    return {
        REASON.name: config.data.max_prompt_length + y,
        SEGMENT.name: frame + y + limits[SEGMENT.name],
        SCORE.name: score_prompt_limit(config, tokenizer) + limits[SCORE.name],
        ANNOTATE.name: annotate_prompt_limit(config, tokenizer) + limits[ANNOTATE.name],
    }


def score_prompt_limit(config: Config, tokenizer: Tokenizer) -> int:
    """Tokens a scorer's prompt can have: the question, y, and a number for each chunk."""
    K = config.agents.max_chunks
    frame = helper_sampling.frame(prompts.render_score([""], [[""] * K], config.agents, tokenizer), tokenizer)
    return frame + config.data.max_prompt_length + config.sampling.max_completion_length


def annotate_prompt_limit(config: Config, tokenizer: Tokenizer) -> int:
    """Tokens such a prompt can have: the question and y."""
    frame = helper_sampling.frame(prompts.render_annotate([""], [""], config.agents, tokenizer), tokenizer)
    return frame + config.data.max_prompt_length + config.sampling.max_completion_length
