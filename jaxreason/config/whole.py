"""A whole experiment: its sections."""

import dataclasses

from jaxreason.config.agents import AgentsConfig, SamplingConfig
from jaxreason.config.data import DataConfig, EvaluationConfig, GradingConfig, WarmupConfig
from jaxreason.config.doors import is_door
from jaxreason.config.learning import BudgetConfig, GRPOConfig, OptimizerConfig, RewardConfig
from jaxreason.config.lora import LoraConfig
from jaxreason.config.mesh import DistributedConfig, MeshConfig
from jaxreason.config.model import HelperModelConfig, ModelConfig, TokenizerConfig
from jaxreason.config.require import require
from jaxreason.config.run import MonitorConfig, RunConfig

DOORS = ("reward.reward_funcs", "reward.preset", "data.task", "agents.prompts")
"""Fields that name a user's own code, one or several, see `config.doors`; a name without a colon is built in."""


@dataclasses.dataclass(frozen=True)
class Config:
    """A whole experiment."""

    run: RunConfig = RunConfig()
    """where a run goes and how long it lasts"""
    model: ModelConfig = ModelConfig()
    """the policy's shape"""
    helper_model: HelperModelConfig = HelperModelConfig()
    """the shape of the helpers' own policy, read where agents.helper_policy is `separate`"""
    lora: LoraConfig = LoraConfig()
    """low-rank adapters in place of the whole policy"""
    tokenizer: TokenizerConfig = TokenizerConfig()
    """the tokenizer"""
    data: DataConfig = DataConfig()
    """problems"""
    warmup: WarmupConfig = WarmupConfig()
    """the supervised start"""
    sampling: SamplingConfig = SamplingConfig()
    """how completions are drawn"""
    agents: AgentsConfig = AgentsConfig()
    """the helpers"""
    reward: RewardConfig = RewardConfig()
    """what is rewarded"""
    budget: BudgetConfig = BudgetConfig()
    """a budget of tokens in place of a fixed alpha"""
    grpo: GRPOConfig = GRPOConfig()
    """the update"""
    optimizer: OptimizerConfig = OptimizerConfig()
    """the optimiser"""
    mesh: MeshConfig = MeshConfig()
    """how devices are arranged, and what is split over them"""
    distributed: DistributedConfig = DistributedConfig()
    """the processes of a run on several hosts"""
    evaluation: EvaluationConfig = EvaluationConfig()
    """evaluation"""
    grading: GradingConfig = GradingConfig()
    """checking answers"""
    monitor: MonitorConfig = MonitorConfig()
    """signs of trouble"""

    def __post_init__(self):
        require(
            self.reward.alpha > 0 or not self.budget.wanted,
            "reward.alpha",
            "above 0 beside a target: it is the scale of what is moved",
            self.reward.alpha,
        )
        require(
            self.warmup.chains == 0 or not self.agents.separate,
            "warmup.chains",
            "0 with agents.helper_policy=separate, whose helpers do not write the chains",
            self.warmup.chains,
        )

    @property
    def doors(self) -> tuple[tuple[str, str], ...]:
        """The field and the spelling of every door that is named."""
        found = []
        for key in DOORS:
            section, field = key.split(".")
            named = getattr(getattr(self, section), field)
            found += [(key, name) for name in (named if isinstance(named, tuple) else (named,)) if is_door(name)]
        return tuple(found)

    @property
    def for_evaluation(self) -> "Config":
        """The same experiment with the token limit of evaluations as that of sampling; itself where they are one."""
        longest = self.evaluation.max_completion_length
        if longest in (0, self.sampling.max_completion_length):
            return self
        return dataclasses.replace(self, sampling=dataclasses.replace(self.sampling, max_completion_length=longest))

    @property
    def for_helpers(self) -> "Config":
        """The same experiment with the model that plays the helpers as its model; itself where that is the policy."""
        if not self.agents.separate:
            return self
        return dataclasses.replace(self, model=self.helper_model)
