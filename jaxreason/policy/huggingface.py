"""Released Hugging Face checkpoints in, Hugging Face checkpoints out: what other rooms use of the `hf_` modules."""

from jaxreason.policy.hf_config import model_config as model_config
from jaxreason.policy.hf_export import TOKENIZER as TOKENIZER
from jaxreason.policy.hf_export import export as export
from jaxreason.policy.hf_export import refuse_target as refuse_target
from jaxreason.policy.hf_files import FETCHED as FETCHED
from jaxreason.policy.hf_files import SHAPE as SHAPE
from jaxreason.policy.hf_files import resolve as resolve
from jaxreason.policy.hf_load import load as load
from jaxreason.policy.hf_load import stored_type as stored_type
from jaxreason.policy.hf_names import num_tensors as num_tensors
