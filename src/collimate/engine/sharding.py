"""FSDP2: every process holds a part of each weight, gradient and optimiser slot."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from collimate._checks import BadModel
from collimate.engine.model import LogProbModel, causal_model
from collimate.engine.processes import Processes, whole
from collimate.engine.recompute import outermost_layers


def shard(model: LogProbModel, processes: Processes) -> None:
    """Turn the parameters into DTensors, layer by layer; forward and backward put them together.

    Gradients are summed over processes, not averaged: each adds its share of one objective.
    `LogProbModel` is the root because nothing outside it touches backbone or head. Errors: BadModel
    for layers that share weights.
    """
    mesh = init_device_mesh(processes.device.type, (processes.count,))
    layers = outermost_layers(model)
    held = [id(p) for layer in layers for p in layer.parameters()]
    if len(set(held)) < len(held):
        name = type(causal_model(model.model)).__name__
        raise BadModel(f"{name} shares weights between layers and cannot be sharded: use ddp")
    for layer in layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


def whole_state(model: nn.Module, processes: Processes) -> Mapping[str, Tensor]:
    """The state of a sharded model put together, in main memory of the main process.

    Every process must ask. Tensors that are tied stay one tensor.
    """
    found: dict[int, Tensor] = {}
    state: dict[str, Tensor] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in found:
            together = whole(tensor.detach())
            found[id(tensor)] = together.cpu() if processes.is_main else together.new_empty(0)
        state[name] = found[id(tensor)]
    return state
