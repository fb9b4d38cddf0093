"""SyncBatchNorm that also runs on CPUs: batch statistics over all processes."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm


class CPUSyncBatchNorm(_BatchNorm):
    """BatchNorm over the joined batch of all processes, with collectives that gloo has too.

    torch's ``SyncBatchNorm`` refuses CPUs, as does DDP any subclass of it. This one has the same state-dict keys, and
    the numbers of ``nn.BatchNorm*d`` on the joined batch: outputs, gradients and running statistics (with the unbiased
    variance). Batch sizes may differ. Outside a process group, and in evaluation, it is BatchNorm.

    The gradient of the input is that of the *sum* of the processes' losses, which is what DDP averages.
    """

    # nn.SyncBatchNorm sets it per instance; None is all processes.
    process_group: dist.ProcessGroup | None = None

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f'expected an input of (B, C, ...), got {tuple(input.shape)}')

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, ...) to the same shape and dtype; statistics are computed in fp32 at least.

        Raises:
            ValueError: All processes together have a single value per channel, which has no variance.
        """
        if not (self.training and dist.is_initialized()):
            return super().forward(input)
        self._check_input_dim(input)
        values = input.to(torch.promote_types(input.dtype, torch.float32))
        dims, shape = [0, *range(2, input.dim())], [1, -1, *[1] * (input.dim() - 2)]
        # (B, C, ...) -> (C + 1,): the sum of each channel, then the number of values in a channel
        count = values.new_tensor([input.numel() / input.shape[1]])
        sums = all_reduce(torch.cat([values.sum(dims), count]), group=self.process_group)
        count = sums[-1].detach()
        if count < 2:
            raise ValueError(
                f'BatchNorm over {int(count)} value per channel has no variance: give the processes together at '
                'least two images (train_dataloader.batch_size, drop_last=True)'
            )
        mean = sums[:-1] / count
        # Squares of centred values: the difference of two large sums would lose digits.
        centred = values - mean.view(shape)
        var = all_reduce(centred.square().sum(dims), group=self.process_group) / count
        if self.track_running_stats:
            self._track(mean.detach(), var.detach() * count / (count - 1))
        output = centred * (var + self.eps).rsqrt().view(shape)
        if self.affine:
            output = output * self.weight.view(shape) + self.bias.view(shape)
        return output.to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, unbiased_var: Tensor) -> None:
        self.num_batches_tracked += 1
        momentum = self.momentum if self.momentum is not None else 1 / self.num_batches_tracked.item()
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        self.running_var.lerp_(unbiased_var.to(self.running_var.dtype), momentum)


def sync_batchnorm_on_cpu(module: nn.Module) -> None:
    """Make every ``nn.SyncBatchNorm`` in a module run on CPUs, in place.

    Only the class changes: parameters, buffers and hooks stay.
    """
    for child in module.modules():
        if isinstance(child, nn.SyncBatchNorm):
            child.__class__ = CPUSyncBatchNorm
