"""Weightings that join the contrastive and the reconstruction loss: learned uncertainty (Eq. 4), or fixed.

A weighting is a module ``(contrast, recon) -> (total, weights)``.
"""

from __future__ import annotations

import math

import torch
from mmengine.dist import all_reduce
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.optim import Optimizer

from repre_mm.models.guard import before_first_update
from repre_mm.registry import MODELS
from repre_mm.utils.modules import no_autocast

Weights = dict[str, Tensor]


@MODELS.register_module()
class UncertaintyWeighting(BaseModule):
    r"""Homoscedastic-uncertainty weighting (Kendall et al., CVPR 2018; RePre, Eq. 4).

    .. math:: L = e^{-s_1} (L_{contrast} + shift) + s_1 + e^{-s_2} L_{recon} + s_2

    with learned log-variances s. At its minimum over s the weight of a loss is the inverse of its value, so the
    objective is a sum of logarithms; a loss that can be negative would make it unbounded below.

    The log-variances start at that minimum: in the first ``init_steps`` training steps they are the logarithms of the
    losses' running means over all processes; from then on the optimizer moves them. (Started at 0, both weights would
    be 1 for thousands of steps, and the small L1 would hardly count.)

    Weight decay would pull both weights towards 1, and is refused before the first update; the learning rate of the
    network is too slow. So the configs have ``paramwise_cfg=dict(custom_keys={'loss_weighting': dict(decay_mult=0,
    lr_mult=...)})``, where ``lr_mult`` makes a peak of 0.02.

    Args:
        contrast_shift: Added to the contrastive loss before weighting: minus the lower bound of a loss that can be
            negative (1.0 for SimSiam's negative cosine).
        max_ratio: Bound on the ratio of the two weights, either way; None for no bound.
        init_steps: Training steps whose losses set the start; 0 starts both log-variances at 0 (both weights 1).

    Attributes:
        check_interval: Training forwards between two checks of the contrastive loss's sign, each of which waits for the
            device; 0 for none after the first steps.

    Raises:
        ValueError: ``max_ratio`` is below 1 or ``init_steps`` below 0. In training: the contrastive loss was negative
            after the shift, or the log-variances have weight decay.
    """

    def __init__(
        self,
        contrast_shift: float = 0.0,
        max_ratio: float | None = None,
        init_steps: int = 10,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if max_ratio is not None and max_ratio < 1:
            raise ValueError(f'max_ratio={max_ratio} must be at least 1 (1 keeps both weights equal)')
        if init_steps < 0:
            raise ValueError(f'init_steps={init_steps} must not be negative')
        self.contrast_shift = contrast_shift
        self.max_ratio = max_ratio
        self.init_steps = init_steps
        self.log_vars = nn.Parameter(torch.zeros(2))  # s_contrast, s_recon
        self.register_buffer('init_means', torch.zeros(2))  # of the losses of the first steps
        self.register_buffer('steps', torch.zeros((), dtype=torch.int64))  # first steps done
        self.register_buffer('lowest', torch.full((), math.inf), persistent=False)  # shifted contrastive loss so far
        self._steps = 0  # `steps` on the host: reading it after the first steps would wait for the device
        self._starting = False  # whether the step under way is one of the first
        self._forwards = 0  # in training, since this module was made
        self.check_interval = 50

    @property
    def sets_log_vars(self) -> bool:
        """Whether this step assigns the log-variances (:meth:`settled`) rather than leaving them to the optimizer."""
        return self._starting or self.max_ratio is not None

    def forward(self, contrast: Tensor, recon: Tensor) -> tuple[Tensor, Weights]:
        """Join two scalar losses to a total in fp32; also returns the detached weights of both."""
        if self.training:
            if self._forwards == 0:
                before_first_update(self, _refuse_decay)
            self._forwards += 1
        with no_autocast(contrast):
            losses = torch.stack([contrast.float() + self.contrast_shift, recon.float()])
            with torch.no_grad():
                self.lowest.copy_(torch.fmin(self.lowest, losses[0]))
                self._starting = self.training and self._steps < self.init_steps
                due = self.training and self.check_interval > 0 and self._forwards % self.check_interval == 0
                if self._starting or due:
                    self.check_positive()
                if self._starting:
                    self._note(losses)
                if self.sets_log_vars:
                    self.log_vars.copy_(self.settled(self.log_vars))
            log_vars = self.log_vars.float()
            weights = torch.exp(-log_vars)
            total = (weights * losses).sum() + log_vars.sum()
        return total, {'weight_contrast': weights[0].detach(), 'weight_recon': weights[1].detach()}

    def check_positive(self) -> None:
        """Check the lowest contrastive loss so far; this waits for the device.

        Raises:
            ValueError: It was negative after the shift.
        """
        lowest = self.lowest.item()
        if lowest < 0:
            raise ValueError(
                f'the contrastive loss is {lowest - self.contrast_shift:.4f}, below zero with contrast_shift='
                f'{self.contrast_shift}. Uncertainty weighting minimises the logarithm of each loss, so a negative one '
                'is unbounded. Set loss_weighting=dict(type="repre_mm.UncertaintyWeighting", contrast_shift=...) to '
                'minus the lower bound of the loss (1.0 for SimSiam), or use type="repre_mm.FixedWeighting"'
            )

    def _note(self, losses: Tensor) -> None:
        """Add the losses of a first step to their running means, unless they are not finite."""
        losses = losses.clone()
        all_reduce(losses, op='mean')  # the parameters must be the same in all processes
        if losses.isfinite().all():
            self.steps += 1
            self.init_means.lerp_(losses, 1 / self.steps)
        self._steps = int(self.steps)  # not counted on the host: NonFiniteHook sets back the buffers of a skipped step

    def settled(self, log_vars: Tensor) -> Tensor:
        """Return the log-variances (2,) of this step: at the minimum in the first steps, within ``max_ratio``."""
        if self._starting and self._steps:
            log_vars = self.init_means.clamp(min=1e-6).log()
        if self.max_ratio is None:
            return log_vars
        # A projection of the parameters, not a clamp in the graph: a clamped value would have no gradient and could
        # never come back from the bound.
        middle, half_gap = log_vars.mean(), (log_vars[0] - log_vars[1]) / 2
        bound = math.log(self.max_ratio) / 2
        half_gap = half_gap.clamp(-bound, bound)
        return torch.stack([middle + half_gap, middle - half_gap])

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        # Older checkpoints have learned log-variances and no count of first steps: keep them as they are.
        if prefix + 'log_vars' in state_dict and prefix + 'steps' not in state_dict:
            state_dict[prefix + 'steps'] = torch.tensor(self.init_steps)
            state_dict[prefix + 'init_means'] = state_dict[prefix + 'log_vars'].exp()
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._steps = int(self.steps)


def _refuse_decay(weighting: UncertaintyWeighting, optimizer: Optimizer) -> bool:
    for group in optimizer.param_groups:
        if not any(parameter is weighting.log_vars for parameter in group['params']):
            continue
        if group.get('weight_decay', 0):
            raise ValueError(
                f'the log-variances of the loss weighting have weight decay {group["weight_decay"]}. Add to the '
                "config: optim_wrapper=dict(paramwise_cfg=dict(custom_keys={'loss_weighting': dict(decay_mult=0.)}))"
            )
        return True
    return False


@MODELS.register_module()
class FixedWeighting(BaseModule):
    """Constant weights: ``contrast * L_contrast + recon * L_recon``.

    With ``recon=0`` the reconstruction is still computed and logged, and training is bit-identical to the plain
    algorithm: adding zero changes no gradient.
    """

    def __init__(self, contrast: float = 1.0, recon: float = 1.0, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.register_buffer('weights', torch.tensor([contrast, recon], dtype=torch.float32), persistent=False)

    def forward(self, contrast: Tensor, recon: Tensor) -> tuple[Tensor, Weights]:
        """Join two scalar losses; also returns the weights of both."""
        total = self.weights[0] * contrast + self.weights[1] * recon
        return total, {'weight_contrast': self.weights[0], 'weight_recon': self.weights[1]}
