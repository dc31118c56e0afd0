"""The policy and its tokenizer."""

import dataclasses
import itertools
from typing import ClassVar, Literal, NamedTuple

from jaxreason.config.require import require


class LayerRun(NamedTuple):
    """Consecutive layers of one kind, whose parameters are stacked."""

    first: int
    """number of the first layer, from 0"""
    count: int
    """layers in it"""
    sparse: bool
    """whether a mixture of experts stands where the SwiGLU layer would"""
    window: int
    """tokens that attention sees, the query's own among them; 0: all before it"""


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The policy: a released checkpoint, or a shape in the names of a Hugging Face config.json."""

    path: str = ""
    """checkpoint to start from, which brings its shape and its tokenizer: a folder, or an id of the Hugging Face hub;
    empty: random weights of the shape below"""
    revision: str = ""
    """branch, tag or commit of a hub id; empty: its newest"""
    vocab_size: int = 0
    """entries of the embedding; 0: the tokenizer's size, rounded up to a multiple of 64"""
    hidden_size: int = 128
    """width D"""
    intermediate_size: int = 384
    """width of the SwiGLU layer"""
    num_hidden_layers: int = 4
    """layers Y"""
    num_attention_heads: int = 4
    """query heads H"""
    num_key_value_heads: int = 2
    """key/value heads J; H must be a multiple of it"""
    head_dim: int = 32
    """head size C"""
    rope_theta: float = 10000.0
    """base of the rotary embedding"""
    rope_type: Literal["default", "linear", "yarn", "llama3"] = "default"
    """how the rotary embedding is stretched over more tokens than it was trained on"""
    rope_factor: float = 1.0
    """how many times as many tokens (linear, yarn, llama3)"""
    rope_original_max_position_embeddings: int = 0
    """tokens it was trained on (yarn, llama3); 0: max_position_embeddings"""
    rope_beta_fast: float = 32.0
    """turns within the original length above which a frequency is left as it is (yarn)"""
    rope_beta_slow: float = 1.0
    """turns within the original length below which a frequency is divided by the factor (yarn)"""
    rope_attention_factor: float = 0.0
    """scale of the rotated queries and keys (yarn); 0: from the factor, rope_mscale and rope_mscale_all_dim"""
    rope_mscale: float = 0.0
    """growth of that scale with the factor's logarithm (yarn); 0, or no rope_mscale_all_dim: 1"""
    rope_mscale_all_dim: float = 0.0
    """the same for what that scale is divided by (yarn); 0: it is not divided"""
    rope_truncate: bool = True
    """whether the bounds between the three kinds of frequency are rounded outward (yarn)"""
    rope_low_freq_factor: float = 1.0
    """turns within the original length below which a frequency is divided by the factor (llama3)"""
    rope_high_freq_factor: float = 4.0
    """turns within the original length above which a frequency is left as it is (llama3)"""
    no_rope_layers: tuple[int, ...] = ()
    """numbers, from 0, of the layers without rotary embedding (SmolLM3)"""
    max_position_embeddings: int = 0
    """tokens that the model is made for; 0: unknown"""
    sliding_window: int = 0
    """tokens that the layers in sliding_layers see, the query's own among them; 0: all before it"""
    sliding_layers: tuple[int, ...] = ()
    """numbers, from 0, of the layers with a sliding window"""
    num_experts: int = 0
    """experts E of a mixture-of-experts layer; 0: every layer is dense"""
    num_experts_per_tok: int = 8
    """experts that each token goes to"""
    moe_intermediate_size: int = 768
    """width F of one expert"""
    norm_topk_prob: bool = False
    """whether the weights of a token's experts are scaled to sum to 1"""
    dense_layers: tuple[int, ...] = ()
    """numbers, from 0, of the layers without experts in a model that has them"""
    rms_norm_eps: float = 1e-6
    """epsilon of every RMSNorm"""
    tie_word_embeddings: bool = True
    """whether the head is the transposed embedding"""
    qk_norm: bool = True
    """RMSNorm on queries and keys (Qwen3)"""
    attention_bias: bool = False
    """biases on q, k and v (Qwen2)"""
    initializer_range: float = 0.02
    """standard deviation of the initial weights"""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """type of the computation"""
    param_dtype: Literal["float32", "bfloat16"] = "float32"
    """type of the stored parameters"""
    attention_implementation: Literal["auto", "xla", "cudnn", "splash"] = "auto"
    """what attends over whole rows: a kernel of the platform where it can run, or xla (auto), blocks of queries (xla),
    NVIDIA's kernel in bfloat16 (cudnn), or the TPU's (splash)"""
    remat: bool = False
    """recompute each layer in the backward pass"""
    logp_chunk: int = 4096
    """tokens whose logits exist at one time"""

    _section: ClassVar[str] = "model"

    def __post_init__(self):
        for name in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "logp_chunk"):
            require(getattr(self, name) >= 1, f"{self._section}.{name}", "at least 1", getattr(self, name))
        require(
            self.num_key_value_heads >= 1,
            f"{self._section}.num_key_value_heads",
            "at least 1",
            self.num_key_value_heads,
        )
        require(
            self.num_attention_heads % self.num_key_value_heads == 0,
            f"{self._section}.num_attention_heads",
            f"a multiple of {self._section}.num_key_value_heads={self.num_key_value_heads}",
            self.num_attention_heads,
        )
        require(
            self.head_dim >= 2 and self.head_dim % 2 == 0,
            f"{self._section}.head_dim",
            "an even number (rotary embedding), at least 2",
            self.head_dim,
        )
        for name in ("rope_theta", "rms_norm_eps", "initializer_range"):
            require(getattr(self, name) > 0, f"{self._section}.{name}", "above 0", getattr(self, name))
        require(self.vocab_size >= 0, f"{self._section}.vocab_size", "at least 0", self.vocab_size)
        self._check_rope()
        self._check_layers()

    def _check_rope(self):
        for name in (
            "rope_original_max_position_embeddings",
            "rope_attention_factor",
            "rope_mscale",
            "rope_mscale_all_dim",
            "max_position_embeddings",
        ):
            require(getattr(self, name) >= 0, f"{self._section}.{name}", "at least 0", getattr(self, name))
        require(self.rope_factor >= 1, f"{self._section}.rope_factor", "at least 1", self.rope_factor)
        if self.rope_type in ("yarn", "llama3"):
            require(
                self.rope_original_max_position_embeddings > 0 or self.max_position_embeddings > 0,
                f"{self._section}.rope_original_max_position_embeddings",
                f"the length trained on, above 0, since {self._section}.rope_type is {self.rope_type} and "
                f"{self._section}.max_position_embeddings is unknown",
                self.rope_original_max_position_embeddings,
            )
        if self.rope_type == "llama3":
            require(
                0 < self.rope_low_freq_factor < self.rope_high_freq_factor,
                f"{self._section}.rope_low_freq_factor",
                f"above 0 and below {self._section}.rope_high_freq_factor={self.rope_high_freq_factor}",
                self.rope_low_freq_factor,
            )
        if self.rope_type == "yarn":
            require(
                self.rope_theta > 1,
                f"{self._section}.rope_theta",
                f"above 1 for {self._section}.rope_type=yarn",
                self.rope_theta,
            )
            require(self.rope_beta_slow > 0, f"{self._section}.rope_beta_slow", "above 0", self.rope_beta_slow)
            require(
                self.rope_beta_fast > self.rope_beta_slow,
                f"{self._section}.rope_beta_fast",
                f"above {self._section}.rope_beta_slow={self.rope_beta_slow}",
                self.rope_beta_fast,
            )

    def _check_layers(self):
        Y = self.num_hidden_layers
        require(self.sliding_window >= 0, f"{self._section}.sliding_window", "at least 0", self.sliding_window)
        require(self.num_experts >= 0, f"{self._section}.num_experts", "at least 0", self.num_experts)
        for name in ("sliding_layers", "dense_layers", "no_rope_layers"):
            layers = getattr(self, name)
            require(
                all(0 <= y < Y for y in layers) and len(set(layers)) == len(layers),
                f"{self._section}.{name}",
                f"each layer once, from 0 to {Y - 1} ({self._section}.num_hidden_layers={Y})",
                layers,
            )
        require(
            self.sliding_window > 0 or not self.sliding_layers,
            f"{self._section}.sliding_window",
            f"at least 1, since {self._section}.sliding_layers={self.sliding_layers}",
            self.sliding_window,
        )
        if self.num_experts:
            require(
                1 <= self.num_experts_per_tok <= self.num_experts,
                f"{self._section}.num_experts_per_tok",
                f"from 1 to {self._section}.num_experts={self.num_experts}",
                self.num_experts_per_tok,
            )
            require(
                self.moe_intermediate_size >= 1,
                f"{self._section}.moe_intermediate_size",
                "at least 1",
                self.moe_intermediate_size,
            )
        else:
            require(
                not self.dense_layers,
                f"{self._section}.dense_layers",
                f"empty without {self._section}.num_experts",
                self.dense_layers,
            )

    def layer_kind(self, layer: int) -> tuple[bool, int]:
        """(whether the layer has experts, its window in tokens or 0)."""
        sparse = self.num_experts > 0 and layer not in self.dense_layers
        return sparse, self.sliding_window if layer in self.sliding_layers else 0

    @property
    def layer_runs(self) -> tuple[LayerRun, ...]:
        """The layers in order, as the longest runs of one kind. Run r is `layers["r"]` of the parameters.

        >>> ModelConfig(sliding_window=8, sliding_layers=(2, 3)).layer_runs
        (LayerRun(first=0, count=2, sparse=False, window=0), LayerRun(first=2, count=2, sparse=False, window=8))
        """
        runs = []
        for kind, group in itertools.groupby(range(self.num_hidden_layers), key=self.layer_kind):
            layers = list(group)
            runs.append(LayerRun(layers[0], len(layers), *kind))
        return tuple(runs)


@dataclasses.dataclass(frozen=True)
class HelperModelConfig(ModelConfig):
    """The helpers' own policy, in the same terms."""

    _section: ClassVar[str] = "helper_model"


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
    """The tokenizer."""

    path: str = ""
    """folder of a tokenizer; empty: the one of model.path, or else a sentencepiece model trained on the training data,
    inside the run folder"""
    vocab_size: int = 420
    """pieces of a trained sentencepiece model, 256 of them byte fallbacks"""

    def __post_init__(self):
        require(self.vocab_size >= 1, "tokenizer.vocab_size", "at least 1", self.vocab_size)
