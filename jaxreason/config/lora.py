"""Low-rank adapters in place of the whole policy."""

import dataclasses
import re

from jaxreason.config.require import require

ALL_LINEAR = "all-linear"
"""In target_modules: every linear layer of attention and SwiGLU."""


@dataclasses.dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters (LoRA), in PEFT's names: frozen weights W, and W + lora_alpha / r * B A in their place."""

    r: int = 0
    """rank of the adapters; 0: none, every weight is trained"""
    lora_alpha: float = 32.0
    """what the product of both factors is multiplied by, over r"""
    target_modules: tuple[str, ...] = (ALL_LINEAR,)
    """the layers' matrices that get adapters, each as a name or a regular expression, such as q_proj or mlp.*;
    all-linear: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj and down_proj"""

    def __post_init__(self):
        require(self.r >= 0, "lora.r", "at least 1, or 0 for none", self.r)
        require(self.lora_alpha > 0, "lora.lora_alpha", "above 0", self.lora_alpha)
        require(
            bool(self.target_modules), "lora.target_modules", "at least one name, or all-linear", self.target_modules
        )
        for pattern in self.target_modules:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(
                    f"lora.target_modules: expected names or regular expressions, got {pattern!r} ({error})"
                ) from None
        for field in dataclasses.fields(self):
            if field.name != "r" and getattr(self, field.name) != field.default:
                require(self.r > 0, "lora.r", f"at least 1 beside lora.{field.name}", self.r)

    @property
    def wanted(self) -> bool:
        """Whether adapters are trained, and not the policy's own weights."""
        return self.r > 0

    @property
    def scale(self) -> float:
        """alpha / r."""
        return self.lora_alpha / self.r
