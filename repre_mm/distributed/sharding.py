"""Split parameters, gradients and optimizer state over the processes (FSDP2), for encoders too large for one GPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from mmengine.dist import broadcast
from mmengine.model import BaseAveragedModel
from mmengine.optim import OptimWrapper
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer
from torch.utils._pytree import tree_map_only

from repre_mm.distributed.sync_batchnorm import sync_batchnorm_on_cpu
from repre_mm.models.losses import UncertaintyWeighting
from repre_mm.models.selfsup.ema import CosineEMA
from repre_mm.registry import MODEL_WRAPPERS

#: Class names of the blocks of mmpretrain's and timm's encoders; each is gathered, used and split again by itself.
BLOCKS = ('TransformerEncoderLayer', 'SwinBlock', 'Block', 'SwinTransformerBlock', 'SwinTransformerV2Block')


@MODEL_WRAPPERS.register_module()
class FullyShardedDataParallel(nn.Module):
    """Wrap a model by torch's ``fully_shard``: ``model_wrapper_cfg=dict(type='repre_mm.FullyShardedDataParallel')``.

    Each process keeps 1/N of every parameter, gradient and optimizer state, of the online and of the target network. A
    block's parameters are gathered for its forward and again for its backward. The losses equal DDP's up to rounding.
    Checkpoints hold whole tensors under the usual keys: they can be resumed and read with or without sharding, on any
    number of processes.

    The units of gathering are the encoder's blocks, then the encoder and the projector as wholes: nothing that a moving
    average follows may belong to the model's root, whose parameters stay gathered through the forward.

    Args:
        module: The model, on its device. It is initialised here, since a split parameter cannot be.
        blocks: Class names of the encoder's blocks.
        param_dtype: ``'bfloat16'`` gathers and computes in bf16 and sums gradients in fp32; None leaves the precision
            to the optimizer wrapper's autocast.

    Raises:
        RuntimeError: There is no process group.
        ValueError: No block is found, or a parameter cannot be split; the message names it.
    """

    def __init__(self, module: nn.Module, blocks: Sequence[str] = BLOCKS, param_dtype: str | None = None) -> None:
        super().__init__()
        if not dist.is_initialized():
            raise RuntimeError(
                'repre_mm.FullyShardedDataParallel splits a model over processes: start them with tools/dist_train.sh'
            )
        scalar = next((name for name, parameter in module.named_parameters() if parameter.ndim == 0), None)
        if scalar:
            raise ValueError(f'{scalar} is a single number, which cannot be split over processes: give it shape (1,)')
        units = _units(module, blocks)
        device = next(module.parameters()).device
        if device.type == 'cpu':
            sync_batchnorm_on_cpu(module)
        if hasattr(module, 'init_weights'):
            module.init_weights()
        for tensor in [*module.parameters(), *module.buffers()]:
            broadcast(tensor.detach())
        dtype = getattr(torch, param_dtype) if param_dtype else None
        options = dict(
            mesh=init_device_mesh(device.type, (dist.get_world_size(),)),
            mp_policy=MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32 if dtype else None),
        )
        for unit in units:
            fully_shard(unit, **options)
        fully_shard(module, **options)
        if hasattr(module, 'reconstruct'):
            register_fsdp_forward_method(module, 'reconstruct')
        for child in module.modules():
            child.register_load_state_dict_pre_hook(_split_incoming)
        self.module = module

    def forward(self, *args, **kwargs) -> Any:
        """Run the model's forward."""
        outputs = self.module(*args, **kwargs)
        self._settle_weights()
        return outputs

    def train_step(self, data: Any, optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """Train for one step; see ``mmengine.model.BaseModel.train_step``."""
        # The backward reads it; mmengine's own context for gradient accumulation has ended by then.
        self.module.set_requires_gradient_sync(optim_wrapper.should_sync())
        with optim_wrapper.optim_context(self):
            data = self.module.data_preprocessor(data, True)
            losses = self(**data, mode='loss')
        total, logged = self.module.parse_losses(losses)
        optim_wrapper.update_params(total)
        return logged

    def val_step(self, data: Any) -> list:
        """Predict."""
        return self.module.val_step(data)

    test_step = val_step

    @torch.no_grad()
    def _settle_weights(self) -> None:
        # In its forward the weighting can only set a gathered copy of its parameters, which the backward drops.
        for child in self.module.modules():
            if isinstance(child, UncertaintyWeighting) and child.sets_log_vars:
                self.module.reshard()
                child.log_vars.copy_(_split(child.settled(child.log_vars.full_tensor()), child.log_vars))


def is_sharded(model: nn.Module) -> bool:
    """Return whether a model's parameters are split, so that every process takes part in each forward."""
    return isinstance(model, (FullyShardedDataParallel, FSDPModule))


@contextmanager
def whole_states(model: nn.Module, optimizer: Optimizer) -> Iterator[None]:
    """Within, ``state_dict()`` of model and optimizer give the main process whole tensors, sharded or not.

    All processes enter together, since they gather here. Tensors of a sharded model are on the CPU.
    """
    if not is_sharded(model):
        yield
        return
    weights, state = _gather(model.module.state_dict()), _gather(optimizer.state_dict())

    def give_whole(module: nn.Module, state_dict: dict, *_) -> None:
        for key in state_dict:
            state_dict[key] = weights[key]

    handles = [
        model.module.register_state_dict_post_hook(give_whole),
        optimizer.register_state_dict_post_hook(lambda *_: state),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def split_optimizer_state(optimizer: Optimizer, state: dict) -> None:
    """Split a whole optimizer state as the parameters are, in place; a hook before ``load_state_dict``."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group['params']]
    indices = [index for group in state['param_groups'] for index in group['params']]
    for index, parameter in zip(indices, parameters, strict=True):
        if index in state['state']:
            state['state'][index] = {
                name: _split(value, parameter) if torch.is_tensor(value) and value.shape == parameter.shape else value
                for name, value in state['state'][index].items()
            }


def _units(module: nn.Module, blocks: Sequence[str]) -> list[nn.Module]:
    """List blocks first, then what holds them: FSDP gives a parameter to the first unit that claims it."""
    found = [child for child in module.modules() if type(child).__name__ in blocks]
    if not found:
        raise ValueError(
            f'no block of the encoder is one of {", ".join(blocks)}: name its classes in model_wrapper_cfg.blocks'
        )
    algorithm = getattr(module, 'algorithm', module)
    wholes = [child for name, child in algorithm.named_children() if name in ('backbone', 'neck')]
    for child in module.modules():
        if isinstance(child, (CosineEMA, BaseAveragedModel)):
            wholes += child.module.children()
    return found + [whole for whole in wholes if any(True for _ in whole.parameters())]


def _split(tensor: Tensor, like: DTensor) -> DTensor:
    """Keep this process's part; every process has the whole tensor."""
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def _split_incoming(module: nn.Module, state_dict: dict, prefix: str, *_) -> None:
    for name, parameter in module.named_parameters(recurse=False):
        value = state_dict.get(prefix + name)
        if isinstance(parameter, DTensor) and value is not None and value.shape == parameter.shape:
            state_dict[prefix + name] = _split(value, parameter)


def _gather(state: dict) -> dict:
    main = dist.get_rank() == 0

    def whole(tensor: DTensor) -> Tensor:
        tensor = tensor.full_tensor()
        return tensor.cpu() if main else tensor.new_empty(0)

    return tree_map_only(DTensor, whole, state)
