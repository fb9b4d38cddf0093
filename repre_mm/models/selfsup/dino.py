"""DINO (Caron et al., ICCV 2021, arXiv 2104.14294): self-distillation with no labels, over several crops.

The teacher sees the global crops, the student all crops. Each output of the student learns to predict the teacher's for
every *other* global crop; the teacher follows the student. Centring and sharpening prevent collapse.

Epoch, frozen last layer and clipping need the Runner: :mod:`repre_mm.engine.hooks.dino`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce
from mmengine.model import BaseModule
from mmpretrain.models.selfsup import BaseSelfSupervisor
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from repre_mm.models.selfsup.ema import CosineEMA, disable_drop_path
from repre_mm.models.taps import pooled
from repre_mm.registry import MODELS
from repre_mm.utils.modules import no_autocast


@MODELS.register_module()
class DINO(BaseSelfSupervisor):
    """A student and a teacher of one architecture, on several crops of each image (Sec. 3.1, Algorithm 1).

    The teacher stays in train mode, as the authors' does, but drops no paths. Crops of one size pass through the
    student's backbone in one batch, and the features of all crops through its neck in one.

    Training needs two hooks: ``repre_mm.MomentumUpdateHook`` and ``repre_mm.DINOHook``.

    Args:
        backbone: The encoder; its last output is a vector (B, C) or a map (B, C, h, w), which is pooled.
        neck: The projection head ("head" in the paper), :class:`DINONeck` by default.
        head: The loss, :class:`DINOHead` by default. ``out_channels`` is the neck's.
        base_momentum: First weight of the student in the teacher's update, one minus the paper's momentum of 0.996; it
            falls to 0 along a cosine.
        data_preprocessor: As in every algorithm of mmpretrain.

    Attributes:
        epoch: The current epoch, from 0, set by :class:`~repre_mm.engine.DINOHook`. None counts as 0.
    """

    def __init__(
        self,
        backbone: dict | nn.Module,
        neck: dict,
        head: dict | None = None,
        base_momentum: float = 0.004,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        neck = MODELS.build({'type': 'repre_mm.DINONeck', **neck})
        head = MODELS.build({'type': 'repre_mm.DINOHead', 'out_channels': neck.out_channels, **(head or {})})
        super().__init__(backbone, neck, head, data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.momentum_encoder = _TeacherEMA(self._student(), momentum=base_momentum)
        disable_drop_path(self.momentum_encoder.module)
        self.epoch: int | None = None

    def init_weights(self) -> None:
        """Initialise the student and copy it to the teacher."""
        super().init_weights()
        self.momentum_encoder.module.load_state_dict(self._student().state_dict())

    def loss(self, inputs: list[Tensor], data_samples: list | None = None, **kwargs) -> dict[str, Tensor]:
        """Compute the loss of V >= 2 crops, each (B, 3, h, w): two global ones of one size, then local ones.

        Raises:
            ValueError: Fewer than two crops, or global crops of different sizes.
            RuntimeError: A Runner trains without :class:`~repre_mm.engine.DINOHook`.
        """
        self._check(inputs)
        with torch.no_grad():
            self.momentum_encoder.update_parameters(self._student())
            teacher = self.momentum_encoder(torch.cat(inputs[:2]))[0]  # (2 * B, K)
        sizes = [torch.cat(list(crops)) for _, crops in groupby(inputs, key=lambda crop: crop.shape[-2:])]
        features = torch.cat([pooled(self.backbone(crops)) for crops in sizes])  # (V * B, C)
        student = self.neck((features,))[0]  # (V * B, K)
        return dict(loss=self.head.loss(student, teacher, self.epoch or 0))

    def _student(self) -> nn.Sequential:
        return nn.Sequential(self.backbone, self.neck)

    def _check(self, inputs: list[Tensor]) -> None:
        if isinstance(inputs, Tensor) or len(inputs) < 2:
            raise ValueError(
                'DINO needs at least two views of each image, the global crops, and got one: set num_views=[1, 1] or, '
                'with n local crops, num_views=[1, 1, n] in the MultiView transform of the training pipeline'
            )
        first, second = (tuple(view.shape[-2:]) for view in inputs[:2])
        if first != second:
            raise ValueError(
                f'the two global crops (views 1 and 2) are {first[0]} x {first[1]} and {second[0]} x {second[1]} '
                'pixels: give both one size, and list them before the local crops'
            )
        if self.epoch is None and self.momentum_encoder.max_steps is not None:
            raise RuntimeError(
                'DINO is not told the epoch, which sets its teacher temperature and freezes its last layer: '
                "add dict(type='repre_mm.DINOHook') to custom_hooks"
            )


@MODELS.register_module()
class DINONeck(BaseModule):
    """Projection head: a 3-layer MLP, unit length, and one weight-normalised layer (Sec. 3.1, App. C).

    Args:
        in_channels: C of the encoder.
        hid_channels: Width of the two hidden layers.
        bottleneck_channels: Width of the vector that is scaled to unit length.
        out_channels: K, the number of outputs ("prototypes").
        norm_last_layer: Keep each output's weight vector at length 1. The authors do so for ViT-B, for stability, and
            learn the lengths for ViT-S, which scores better.
    """

    def __init__(
        self,
        in_channels: int,
        hid_channels: int = 2048,
        bottleneck_channels: int = 256,
        out_channels: int = 65536,
        norm_last_layer: bool = True,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.out_channels = out_channels
        self.mlp = nn.Sequential(
            nn.Linear(in_channels, hid_channels),
            nn.GELU(),
            nn.Linear(hid_channels, hid_channels),
            nn.GELU(),
            nn.Linear(hid_channels, bottleneck_channels),
        )
        for layer in self.mlp[::2]:
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
        self.last_layer = weight_norm(nn.Linear(bottleneck_channels, out_channels, bias=False))
        lengths = self.last_layer.parametrizations.weight.original0
        nn.init.ones_(lengths)
        lengths.requires_grad = not norm_last_layer

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor]:
        """Project an encoder's last output, (B, C) or (B, C, h, w), to a tuple with (B, K)."""
        x = self.mlp(pooled(inputs))
        # The outputs are divided by temperatures of 0.04 to 0.1: in bf16 their rounding would show in the softmax.
        with no_autocast(x):
            return (self.last_layer(F.normalize(x.float(), dim=-1)),)


@MODELS.register_module()
class DINOHead(BaseModule):
    """Cross-entropy between the teacher's centred, sharpened outputs and the student's (Eq. 1, 3 and 4).

    Args:
        out_channels: K.
        student_temp: Temperature of the student.
        teacher_temp: Temperature of the teacher after the warm-up.
        warmup_teacher_temp: Temperature of the teacher in epoch 0.
        warmup_teacher_temp_epochs: Epochs over which it changes linearly; 0 for no warm-up.
        center_momentum: How much of the centre stays in each step.

    """

    center: Tensor  # (1, K): running mean of the teacher's outputs

    def __init__(
        self,
        out_channels: int,
        student_temp: float = 0.1,
        teacher_temp: float = 0.04,
        warmup_teacher_temp: float = 0.04,
        warmup_teacher_temp_epochs: int = 0,
        center_momentum: float = 0.9,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.student_temp = student_temp
        self.teacher_temp = teacher_temp
        self.warmup_teacher_temp = warmup_teacher_temp
        self.warmup_teacher_temp_epochs = warmup_teacher_temp_epochs
        self.center_momentum = center_momentum
        self.register_buffer('center', torch.zeros(1, out_channels))

    def teacher_temp_at(self, epoch: int) -> float:
        """Return the teacher's temperature in an epoch (from 0)."""
        epochs = self.warmup_teacher_temp_epochs
        if epoch >= epochs:
            return self.teacher_temp
        progress = epoch / max(epochs - 1, 1)
        return self.warmup_teacher_temp + (self.teacher_temp - self.warmup_teacher_temp) * progress

    def loss(self, student: Tensor, teacher: Tensor, epoch: int) -> Tensor:
        """Average the cross-entropy over all pairs of a teacher's crop and another crop, in fp32.

        In train mode the centre moves towards the mean of all processes.

        Args:
            student: (V * B, K), crop after crop, the global ones first.
            teacher: (2 * B, K), the global crops, without gradients.
            epoch: From 0.
        """
        crops = 2 * len(student) // len(teacher)
        with no_autocast(student):
            student, teacher = student.float(), teacher.float()
            targets = F.softmax((teacher - self.center) / self.teacher_temp_at(epoch), dim=-1)
            predictions = F.log_softmax(student / self.student_temp, dim=-1)
            # (2, B * K) x (B * K, V) -> (2, V): summed over images, for each pair of crops
            pairs = -targets.view(2, -1) @ predictions.view(crops, -1).T
            others = pairs.sum() - pairs.diagonal().sum()  # a crop does not predict itself
            loss = others / ((2 * crops - 2) * (len(teacher) // 2))
            if self.training:
                self._update_center(teacher)
        return loss

    @torch.no_grad()
    def _update_center(self, teacher: Tensor) -> None:
        mean = teacher.mean(dim=0, keepdim=True)  # (2 * B, K) -> (1, K)
        all_reduce(mean, op='mean')
        self.center.mul_(self.center_momentum).add_(mean, alpha=1 - self.center_momentum)


class _TeacherEMA(CosineEMA):
    """CosineEMA with the authors' schedule: the update after step k has the momentum of step k, not k + 1."""

    def momentum_at(self, step: int) -> float:
        return super().momentum_at(step - 1)
