"""`LogProbModel`: backbone and head in one module, the only one that is ever wrapped or called."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from collimate._checks import BadModel
from collimate.axes import Signal
from collimate.engine import attention
from collimate.engine.attention import Row, SharedRow, shared_attention_in
from collimate.engine.flex import FlexRow
from collimate.engine.head import OtherModel, Readout, head_signals
from collimate.engine.packing import Packed
from collimate.engine.recompute import Context, recomputed_layers
from collimate.signals import log_prob
from collimate.token_masks import FromLayers

Watch = Callable[[Float[Tensor, "token dim"]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernels:
    """Which of the kernels for GPUs are used; none is the path that runs everywhere.

    attention: FlexAttention over a whole row (`flex`). head: Triton (`triton_head`).
    """

    attention: bool = False
    head: bool = False

    @property
    def suffix(self) -> str:
        """What they add to the layout's name in fingerprints: other kernels round differently.

        >>> Kernels(attention=True).suffix
        '+flex'
        """
        return "+flex" * self.attention + "+triton" * self.head


class LogProbModel(nn.Module):
    """A causal language model that answers with signals of answer tokens, never with logits.

    model: a transformers model, or a peft model around one. shared: whether answers share their
    prompt in one row (checked by `engine.check`), or every prompt + answer is a padded row.
    recompute: activation checkpointing, which changes memory and time and no number. kernels: those
    for GPUs that stand in for the paths which run everywhere (chosen by `engine.kernels`).

    Errors: BadModel for a model without a separate backbone and output head.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        shared: bool,
        together: int | None = None,
        recompute: bool = False,
        kernels: Kernels = Kernels(),
    ) -> None:
        super().__init__()
        self.model = model
        self.shared = shared
        self.recompute = recompute
        self.kernels = kernels
        self.together = attention.TOGETHER if together is None else together
        self.of_layers = nn.ModuleDict()  # signal -> what reads it from a reference's layers
        causal = causal_model(model)
        backbone: Any = causal.base_model
        head: Any = causal.get_output_embeddings()
        if backbone is causal or head is None:
            raise BadModel(
                f"{type(causal).__name__} has no separate backbone and output head; give a causal "
                "language model such as AutoModelForCausalLM loads"
            )

    def forward(
        self,
        packed: Packed,
        signals: Sequence[Signal] = (log_prob,),
        other: OtherModel | None = None,
        watch: Watch | None = None,
    ) -> tuple[Float[Tensor, " token"], ...]:
        """Each signal of each answer token (nats), float32 or better; gradients flow to the model.

        other: what a frozen model says at the same tokens, for signals against it. watch: is shown
        the hidden states from which each answer token is predicted, without gradient.
        """
        hidden = self._read(packed).last_hidden_state
        selected = _as_autocast(_at(packed, hidden))
        if watch is not None:
            watch(selected.detach())
        from_logits = [signal for signal in signals if not isinstance(signal, FromLayers)]
        with torch.autocast(selected.device.type, enabled=False):
            head = self._head()
            found = head(selected, packed.target, self.readout(), from_logits, other)
            values = dict(zip([signal.name for signal in from_logits], found, strict=True))
            for signal in signals:
                if isinstance(signal, FromLayers):
                    assert other is not None
                    module = self.of_layers[signal.name]
                    values[signal.name] = module(other.layers, packed.answer)
        return tuple(values[signal.name] for signal in signals)

    def _head(self) -> Callable[..., tuple[Float[Tensor, " token"], ...]]:
        if not self.kernels.head:
            return head_signals
        from collimate.engine.triton_head import fused_signals  # Triton, where it is asked for

        return fused_signals

    def said(self, packed: Packed, *, layers: bool = False) -> OtherModel:
        """What it says at the answer tokens, for another model's signals; without gradient.

        layers: the hidden states of every layer too, in float32 or better.
        """
        with torch.no_grad():
            read = self._read(packed, layers=layers)
            every = [_at(packed, hidden) for hidden in read.hidden_states[1:]] if layers else None
            return OtherModel(
                hidden=_as_autocast(_at(packed, read.last_hidden_state)),
                readout=self.readout(),
                layers=None if every is None else _float(torch.stack(every)),
            )

    def read_layers(self, signals: Sequence[Signal], reference: LogProbModel) -> None:
        """Make the modules of the signals that are read from the hidden states of `reference`'s layers.

        Their weights are drawn from torch's generator, and are this model's from now on.
        """
        config: Any = causal_model(reference.model).config.get_text_config()
        for signal in signals:
            if isinstance(signal, FromLayers):
                made = signal.make(config.num_hidden_layers, config.hidden_size)
                like = self.readout().weight
                exact = torch.promote_types(like.dtype, torch.float32)
                self.of_layers[signal.name] = made.to(like.device, exact)

    def readout(self) -> Readout:
        """How its hidden states become logits."""
        causal = causal_model(self.model)
        head: Any = causal.get_output_embeddings()
        shape = _shape_of_logits(causal.config.get_text_config())
        return Readout(head.weight, getattr(head, "bias", None), **shape)

    def clear_gradients(self) -> None:
        """Begin a new step: no gradient, or zeros in the vocabulary's tables.

        Their gradients are added to in place, so that the room of the last step serves again; to
        fault in its pages anew would cost a CPU more than the sums do.
        """
        causal: Any = causal_model(self.model)
        tables = {
            id(causal.get_input_embeddings().weight),
            id(causal.get_output_embeddings().weight),
        }
        for parameter in self.parameters():
            if parameter.grad is not None and id(parameter) in tables:
                parameter.grad.zero_()
            else:
                parameter.grad = None

    def _row(self, packed: Packed) -> Row:
        assert packed.spans is not None
        if self.kernels.attention and not self.model.training:  # flex has no dropout
            return FlexRow(packed.spans, packed.positions[0])
        return SharedRow(packed.spans, packed.ids.device, self.together)

    def _read(self, packed: Packed, *, layers: bool = False) -> Any:
        """The backbone's output: hidden states of the last layer, or of all."""
        causal = causal_model(self.model)
        backbone: Any = causal.base_model
        arguments: dict[str, Any] = {"use_cache": False, "output_hidden_states": layers}
        embedding = causal.get_input_embeddings()
        if _adds_gradient_in_place(embedding):
            arguments["inputs_embeds"] = _Embed.apply(
                embedding.weight, packed.ids, embedding.padding_idx
            )
        else:
            arguments["input_ids"] = packed.ids
        if packed.spans is None:
            arguments["attention_mask"] = None if packed.filled is None else packed.filled.long()
            context: Context = nullcontext
        else:
            arguments["position_ids"] = packed.positions
            arguments["collimate_row"] = self._row(packed)
            context = partial(shared_attention_in, backbone.config)
        recompute = self.recompute and torch.is_grad_enabled()
        with context(), recomputed_layers(backbone, context) if recompute else nullcontext():
            return backbone(**arguments)


def _at(packed: Packed, hidden: Float[Tensor, "row width dim"]) -> Float[Tensor, "token dim"]:
    """The hidden states at the positions that predict answer tokens."""
    return hidden.flatten(0, 1).index_select(0, packed.select)


def _as_autocast(hidden: Float[Tensor, "token dim"]) -> Float[Tensor, "token dim"]:
    device = hidden.device.type
    return (
        hidden.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else hidden
    )


def _float(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def causal_model(model: nn.Module) -> PreTrainedModel:
    """The transformers model inside `model`: a peft model is opened, any other returned as it is."""
    adapted: Any = model
    inner = adapted.get_base_model() if has_adapter(model) else model
    if not isinstance(inner, PreTrainedModel):
        raise BadModel(
            f"expected a transformers causal language model, got {type(inner).__name__}; load one "
            "with AutoModelForCausalLM"
        )
    return inner


def width_of(model: nn.Module) -> int:
    """The hidden size of its layers."""
    return int(causal_model(model).config.get_text_config().hidden_size)


def has_adapter(model: nn.Module) -> bool:
    """Whether it is an adapter over a base model; whoever made one has imported peft."""
    peft = sys.modules.get("peft")
    return peft is not None and isinstance(model, peft.PeftModel)


def vocabulary_of(model: nn.Module) -> int:
    """Rows of the embedding table: ids from 0 up to it can be read."""
    table: Any = causal_model(model).get_input_embeddings()
    return int(table.weight.shape[0])


def context_of(model: nn.Module) -> int | None:
    """The longest sequence that the model's positions allow, None if the config names none.

    Angles of "longrope" change for a whole micro-batch when one row of it is longer than the
    original context: there a score would depend on its neighbours, so longer rows are not read.
    """
    config: Any = causal_model(model).config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") == "longrope":
        original = rope.get("original_max_position_embeddings")
        return original or getattr(config, "original_max_position_embeddings", None)
    return getattr(config, "max_position_embeddings", None)


def _shape_of_logits(config: Any) -> dict[str, Any]:
    """What the architecture does to logits after the head, by the config fields that say so."""
    scale = getattr(config, "logit_scale", None) or 1.0
    divisor = getattr(config, "logits_scaling", None) or 1.0
    return {
        "scale": scale / divisor,
        "softcap": getattr(config, "final_logit_softcapping", None),
    }


def _adds_gradient_in_place(embedding: nn.Module) -> bool:
    """A plain trainable table: its gradient is added row by row, not as a dense matrix first."""
    return (
        type(embedding) is nn.Embedding
        and embedding.weight.requires_grad
        and embedding.weight.is_leaf
        and embedding.max_norm is None
        and not embedding.scale_grad_by_freq
        and not embedding._forward_hooks
    )


class _Embed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, ids: Int[Tensor, "row width"], padding: int | None
    ) -> Tensor:
        ctx.save_for_backward(weight, ids)
        ctx.padding = padding
        return nn.functional.embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, None]:
        weight, ids = ctx.saved_tensors
        flat, rows = ids.flatten(), gradients[0].flatten(0, 1).to(weight.dtype)
        if ctx.padding is not None:  # as nn.Embedding does: the padding row takes no gradient
            rows = rows.masked_fill((flat == ctx.padding)[:, None], 0)
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
        weight.grad.index_add_(0, flat, rows)
        return None, None, None
