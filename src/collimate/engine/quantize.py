"""QLoRA: a base model whose linear layers are 4-bit numbers (NF4, scales quantised too).

Embeddings, norms and the head stay float32, and adapters are trained in it. A layer computes on its
weights turned back into numbers, so that its log-probs do not depend on what else is in the
micro-batch; 8-bit layers (LLM.int8) quantise activations too, and theirs do: they are refused.

Source: dettmers:23.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BitsAndBytesConfig, PreTrainedConfig

from collimate._bitsandbytes import load_bitsandbytes, require_runs
from collimate._checks import BadModel
from collimate.engine.model import causal_model


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """How a model is loaded. kind: of the 4-bit numbers. compute: what layers multiply in."""

    kind: str
    compute: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, kind: str | None, *, precision: str, device: torch.device) -> Quantization | None:
        """What the settings ask for, which is None where `kind` is."""
        compute = torch.bfloat16 if precision == "bf16" else torch.float32
        return None if kind is None else cls(kind=kind, compute=compute, device=device)

    def arguments(self) -> dict[str, Any]:
        """For transformers' `from_pretrained`."""
        return {
            "quantization_config": BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type=self.kind,
                bnb_4bit_use_double_quant=True,
                bnb_4bit_compute_dtype=self.compute,
            ),
            "device_map": {"": self.device},
        }

    def require_runs(self) -> None:
        """Errors: MissingExtra without bitsandbytes, BadConfig where a layer does not run and train."""
        layers = load_bitsandbytes().nn

        def attempt() -> None:
            layer = layers.Linear4bit(64, 64, compute_dtype=self.compute, quant_type=self.kind)
            given = torch.ones(2, 64, device=self.device, requires_grad=True)
            layer.to(self.device)(given).sum().backward()

        way_out = "leave out --quantize (float32 weights)"
        require_runs(f"quantize {self.kind}", self.device.type, attempt, way_out)


def prepare_import(config: PreTrainedConfig | None = None) -> None:
    """Import bitsandbytes our way before transformers or peft do theirs.

    config: of a model that may be quantised. Errors: MissingExtra if it is, and the package is not
    installed.
    """
    if config is not None:
        method = dict(getattr(config, "quantization_config", None) or {}).get("quant_method")
        needed = str(getattr(method, "value", method)) == "bitsandbytes"
    else:
        needed = find_spec("bitsandbytes") is not None
    if needed:
        load_bitsandbytes()


def is_quantized(model: nn.Module) -> bool:
    """Whether its base model is, by any method."""
    return getattr(causal_model(model), "hf_quantizer", None) is not None


def quantization_of(model: nn.Module) -> str | None:
    """The kind of its numbers, or the method that made them; None for a plain model."""
    if not is_quantized(model):
        return None
    config: Any = causal_model(model).config.quantization_config
    if getattr(config, "load_in_4bit", False):
        return str(config.bnb_4bit_quant_type)
    return str(getattr(config.quant_method, "value", config.quant_method))


def compute_dtype(model: nn.Module) -> torch.dtype:
    """What its layers multiply in: the least exact of the model's dtype and that of 4-bit layers."""
    of_layers = {getattr(module, "compute_dtype", None) for module in model.modules()}
    half = [dtype for dtype in (torch.float16, torch.bfloat16) if dtype in of_layers]
    return half[0] if half else causal_model(model).dtype


def require_exact(model: nn.Module) -> None:
    """Make a quantised model compute what is differentiated, or refuse it.

    Where a CPU has bfloat16 products, 4-bit layers would repack their weights when called without a
    gradient, round to bfloat16 from then on, and pass no gradient back. Errors: BadModel for layers
    that have done so, and for 8-bit ones.
    """
    if getattr(causal_model(model), "is_loaded_in_8bit", False):
        raise BadModel(
            "the model's layers are 8-bit (LLM.int8), which round activations together with whatever "
            "else is in the micro-batch, so that a log-prob would depend on its neighbours: load the "
            "model in 4 bits (quantize='nf4', --quantize nf4) or plainly"
        )
    for module in model.modules():
        if getattr(getattr(module, "quant_state", None), "packing_format_for_cpu", False):
            raise BadModel(
                "the model's 4-bit layers were repacked for inference and pass no gradient back: load "
                "the model again and give it before it is used"
            )
        # A layer would do this to its bias when first called, and the model's hash would change.
        bias, compute = getattr(module, "bias", None), getattr(module, "compute_dtype", None)
        if isinstance(bias, nn.Parameter) and isinstance(compute, torch.dtype):
            bias.data = bias.data.to(compute)
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # pyright: ignore[reportArgumentType]


def entries(parameter: Tensor) -> int:
    """How many weights a parameter holds: of a 4-bit one more than it has bytes."""
    state = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else state.shape.numel()
