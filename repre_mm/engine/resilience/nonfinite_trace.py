"""Find where in a training step the first NaN or infinite value appears."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from repre_mm.checkpoint import CheckpointError, read_checkpoint
from repre_mm.engine.hooks.momentum import take_over_averages
from repre_mm.engine.launch import read_config
from repre_mm.engine.resilience.replay import set_random_states
from repre_mm.models.build import build_model
from repre_mm.models.selfsup import DINO, CosineEMA


@dataclass(frozen=True)
class Finding:
    """A tensor that is not finite.

    Attributes:
        where: In words, with the module's name: ``output of algorithm.neck.fc1 (Linear)``.
        bad: How many of its values are NaN or infinite, as ``12 of 64 NaN``.
    """

    where: str
    bad: str

    def __str__(self) -> str:
        return f'{self.where}: {self.bad}'


@dataclass
class Trace:
    """What was not finite in a step, each list in the order in which it came about.

    Attributes:
        batch: Normalised views.
        forward: Inputs and outputs of modules, and the losses.
        backward: Gradients of modules' outputs and inputs.
        parameters: Names of the parameters whose gradient is not finite.
        losses: What the step logs.
    """

    batch: list[Finding] = field(default_factory=list)
    forward: list[Finding] = field(default_factory=list)
    backward: list[Finding] = field(default_factory=list)
    parameters: list[str] = field(default_factory=list)
    losses: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        losses = ', '.join(f'{name}={value:.4g}' for name, value in self.losses.items())
        lines = [f'losses: {losses}']
        if self.batch:
            lines.append(f'the batch itself is not finite: {"; ".join(map(str, self.batch))}')
        for title, found in (('forward', self.forward), ('backward', self.backward)):
            if not found:
                lines.append(f'{title}: all values are finite')
                continue
            lines.append(f'{title}: the first value that is not finite is in the {found[0]}')
            lines += [f'    then the {each}' for each in found[1:6]]
            lines += [f'    and {len(found) - 6} more'] if len(found) > 6 else []
        if self.parameters:
            more = f', and {len(self.parameters) - 5} more' if len(self.parameters) > 5 else ''
            lines.append(
                f'{len(self.parameters)} parameters get such a gradient: {", ".join(self.parameters[:5])}{more}'
            )
        if not (self.batch or self.forward or self.backward or self.parameters):
            lines.append('the step does not break with this model: give the one that was kept beside it (model.pth)')
        return '\n'.join(lines)


def replay_step(
    file: Path, config: str, checkpoint: Path, amp: bool = False, device: str = 'cpu'
) -> tuple[dict[str, Any], Trace]:
    """Build the model of a training and run a kept step again.

    Args:
        file: What :class:`~repre_mm.engine.NonFiniteHook` kept of a process, ``rank_R.pth``.
        config: The training's.
        checkpoint: ``model.pth`` beside the file, or a training checkpoint.
        amp: The training ran with ``--amp``.
        device: Where to.

    Returns:
        The content of the file, and the trace.

    Raises:
        CheckpointError: A file cannot be read, or is not what it should be.
    """
    step = read_checkpoint(file)
    if 'steps' not in step or any(each['batch']['inputs'] is None for each in step['steps']):
        raise CheckpointError(f'{file} is no kept step of pre-training: name a nonfinite/iter_N/rank_R.pth')
    state = read_checkpoint(checkpoint, map_location=device)
    if 'state_dict' not in state:
        raise CheckpointError(f'{checkpoint} holds no model: name the model.pth beside {file}')
    args = Namespace(config=config, work_dir=None, data=None, amp=amp, launcher='none', cfg_options=None)
    cfg = read_config(args)
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    model = build_model(cfg)
    take_over_averages(model)
    try:
        model.load_state_dict(state['state_dict'])
    except RuntimeError as error:
        raise CheckpointError(f'{checkpoint} does not fit the model of {config}: {error}') from error
    for module in model.modules():
        if isinstance(module, CosineEMA):
            module.max_steps = 1  # it makes no update here
        if isinstance(module, DINO):
            module.epoch = step['epoch']
    model.to(device)
    return step, trace_step(model, step['steps'], build_optim_wrapper(model, cfg.optim_wrapper))


def trace_step(model: BaseModel, steps: list[dict[str, Any]], optim_wrapper: OptimWrapper) -> Trace:
    """Run the forwards and backwards of one optimizer step again, and watch every module.

    Args:
        model: In the state before the step; it is put into train mode, and its buffers and gradients change.
        steps: What :class:`~repre_mm.engine.NonFiniteHook` kept: a batch and the random states, for each forward.
        optim_wrapper: Gives the precision and the scale of the loss.

    Returns:
        What was found; empty lists where every value was finite.
    """
    trace = Trace()
    model.train()
    model.zero_grad()
    with ExitStack() as stack:
        for name, module in model.named_modules():
            if name and not isinstance(module, BaseDataPreprocessor):
                for handle in _watch(f'{name} ({type(module).__name__})', module, trace):
                    stack.callback(handle.remove)
        for step in steps:
            set_random_states(step['random'])
            with optim_wrapper.optim_context(model):
                data = model.data_preprocessor({'inputs': step['batch']['inputs'], 'data_samples': None}, True)
                for number, view in enumerate(_tensors(data['inputs']), start=1):
                    _note(trace.batch, f'view {number}', view)
                losses = model(**data, mode='loss')
            total, logged = model.parse_losses(losses)
            trace.losses = {key: float(value.detach()) for key, value in logged.items()}
            _note(trace.forward, 'loss', total)
            optim_wrapper.scale_loss(total).backward()
    trace.parameters = [
        name for name, p in model.named_parameters() if p.grad is not None and not p.grad.isfinite().all()
    ]
    return trace


def _watch(name: str, module: nn.Module, trace: Trace) -> Iterator[Any]:
    def before(module: nn.Module, args: tuple, kwargs: dict) -> None:
        for tensor in _tensors((args, kwargs)):
            _note(trace.forward, f'input of {name}', tensor)
            _note_gradient(trace.backward, f'gradient of the input of {name}', tensor)

    def after(module: nn.Module, args: tuple, output: Any) -> None:
        for tensor in _tensors(output):
            _note(trace.forward, f'output of {name}', tensor)
            _note_gradient(trace.backward, f'gradient of the output of {name}', tensor)

    yield module.register_forward_pre_hook(before, with_kwargs=True)
    yield module.register_forward_hook(after)


def _note(found: list[Finding], where: str, tensor: Tensor) -> None:
    values = tensor.detach()
    if values.is_floating_point() and not values.isfinite().all():
        counts = {'NaN': int(values.isnan().sum()), 'infinite': int(values.isinf().sum())}
        bad = ', '.join(f'{count} {kind}' for kind, count in counts.items() if count)
        found.append(Finding(where, f'{bad} of {values.numel()}'))


def _note_gradient(found: list[Finding], where: str, tensor: Tensor) -> None:
    if tensor.requires_grad:
        tensor.register_hook(lambda gradient: _note(found, where, gradient))


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _tensors(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _tensors(each)
