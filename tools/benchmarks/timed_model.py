"""A config's model and optimizer, stepping on random pixels, in a process of its own."""

import ctypes
import logging
import math
import statistics
import time
from contextlib import nullcontext
from pathlib import Path


class TimedModel:
    """What a training step computes, without data and Runner.

    Args:
        config: Path of a pre-training config.
        batch: Images in a step.
        device: ``'cpu'`` or ``'cuda'``.
        precision: ``'bf16'`` (autocast, as the shipped configs say) or ``'fp32'``.
        switches: Of ``repre_mm.FastStepHook``, and ``fused``: the optimizer's; ``ema``: our moving average.
    """

    def __init__(self, config: str, batch: int, device: str, precision: str, switches: dict | None = None) -> None:
        import torch
        from mmengine.config import Config
        from mmengine.logging import MessageHub, MMLogger

        from repre_mm.datasets import view_sizes
        from repre_mm.distributed.sync_batchnorm import sync_batchnorm_on_cpu
        from repre_mm.engine.hooks.momentum import take_over_averages
        from repre_mm.engine.hooks.step import FastStepHook
        from repre_mm.models.build import build_model
        from repre_mm.models.selfsup import CosineEMA

        switches = dict(switches or {})
        fused, own_average = switches.pop('fused', True), switches.pop('ema', True)
        self.device, self.precision = device, precision
        self.before = _resident() if device == 'cpu' else 0.0
        MMLogger.get_instance('mmengine').setLevel(logging.ERROR)
        torch.manual_seed(0)
        cfg = Config.fromfile(config)
        MessageHub.get_instance('benchmark').update_info('max_iters', 1000)
        self.model = build_model(cfg)
        self.model.init_weights()
        if own_average:
            take_over_averages(self.model)
        self.model.to(device)
        if device == 'cpu':
            sync_batchnorm_on_cpu(self.model)
        self.targets = [module for module in self.model.modules() if isinstance(module, CosineEMA)]
        for module in self.model.modules():
            if isinstance(module, CosineEMA):
                module.max_steps = 1000
            if hasattr(module, 'epoch'):
                module.epoch = 0
        # Kept memory would hide what a step needs: see serve().
        self._keep_memory = device == 'cpu' and switches.pop('memory', True)
        self.notes = FastStepHook(memory=False, **switches).switch(self.model)
        self.views = [
            torch.randn(batch, 3, size, size, device=device)
            for size in view_sizes(cfg.train_dataloader.dataset.pipeline)
        ]
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=fused)

    def step(self, batch: int | None = None) -> float:
        """One training step, of all images or the first ``batch``, in seconds."""
        self.synchronise()
        started = time.perf_counter()
        with self._precision():
            loss, _ = self.model.parse_losses(self.model([view[:batch] for view in self.views], None, mode='loss'))
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        for target in self.targets:
            target.step()
        self.synchronise()
        if not math.isfinite(loss.item()):
            raise RuntimeError('the loss is not finite')
        return time.perf_counter() - started

    def branch_step(self) -> float:
        """Forward, backward and update of the reconstruction branch alone, in seconds; 0 where there is none.

        The first call runs a whole step, to see the encoder's levels.
        """
        import torch

        if not hasattr(self.model, 'repre_decoder'):
            return 0.0
        if not hasattr(self, 'branch'):
            branch = [self.model.repre_neck, self.model.repre_decoder, self.model.loss_weighting]
            handle = branch[0].register_forward_pre_hook(lambda module, args: setattr(self, 'levels', args[0]))
            self.step()
            handle.remove()
            self.levels = [level.detach().requires_grad_() for level in self.levels]
            params = [p for module in branch for p in module.parameters()]
            self.branch = (*branch, torch.optim.AdamW(params, lr=1e-4, fused=True))
        neck, decoder, weighting, optimizer = self.branch
        self.synchronise()
        started = time.perf_counter()
        with self._precision():
            recon = decoder.loss(neck(self.levels), self.model.pixels(self.views[0]))
            total, _ = weighting(torch.ones_like(recon), recon)
        total.backward()
        optimizer.step()
        optimizer.zero_grad()
        self.synchronise()
        return time.perf_counter() - started

    def _precision(self):
        import torch

        return torch.autocast(self.device, dtype=torch.bfloat16) if self.precision == 'bf16' else nullcontext()

    def synchronise(self) -> None:
        """Wait for a GPU."""
        import torch

        if self.device == 'cuda':
            torch.cuda.synchronize()

    def peak_memory(self, batch: int | None = None) -> float:
        """GiB that the model, its optimizer and a step of ``batch`` images need at most.

        On a GPU what torch's allocator has handed out; on a CPU the resident memory of the process above what it had
        before the model was built. There the C library is told to give freed memory back at once, and to keep it
        afterwards, as it does by default: giving back costs time.
        """
        import torch

        if self.device == 'cuda':
            torch.cuda.reset_peak_memory_stats()
        else:
            _mmap_threshold(2**16)
            Path('/proc/self/clear_refs').write_text('5')  # the peak starts anew
        self.step(batch)
        if self.device == 'cuda':
            return torch.cuda.max_memory_allocated() / 2**30
        _mmap_threshold(2**25)
        return _resident('VmHWM') - self.before

    def serve(self, desk) -> None:
        """Answer ``memory=BATCH`` with its GiB and ``steps=N`` with the median seconds of a step.

        With ``branch=True`` also with those of its reconstruction branch. Ask for the memory first.
        """
        from repre_mm.engine.optim.cpu_kernels import keep_memory

        def answer(command: dict) -> dict:
            if 'memory' in command:
                self.step(2)  # the optimizer's state appears
                return {'gib': self.peak_memory(command['memory'])}
            timed = {'seconds': self.step} | ({'branch': self.branch_step} if command.get('branch') else {})
            if self._keep_memory:
                self._keep_memory = not keep_memory()
                for run in timed.values():
                    run()
            return {name: statistics.median(run() for _ in range(command['steps'])) for name, run in timed.items()}

        desk.serve(answer)


def _resident(field: str = 'VmRSS') -> float:
    """Memory of this process, in GiB."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 2**20


def _mmap_threshold(size: int) -> None:
    """From how many bytes on an allocation is a mapping of its own, which is given back when it is freed."""
    ctypes.CDLL(None).mallopt(-3, size)  # M_MMAP_THRESHOLD
