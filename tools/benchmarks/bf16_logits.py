"""Errors of contrastive losses, and of their gradients, with logits in bf16 and in fp32, against fp64.

The features are random: 'early' views agree with a cosine of 0.3, and DINO's prototypes have nothing to do with them;
'late' views agree with 0.9, and some prototypes lie near them. The softmax is in fp32 throughout, as under autocast.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def unit(count: int) -> Tensor:
    return F.normalize(torch.randn(count, 256, dtype=torch.float64), dim=1)


def similar(features: Tensor, cosine: float) -> Tensor:
    return F.normalize(cosine * features + (1 - cosine**2) ** 0.5 * unit(len(features)), dim=1)


def mocov3(dtype: torch.dtype, queries: Tensor, keys: Tensor) -> Tensor:
    logits = queries.to(dtype) @ keys.to(dtype).T / 0.2
    return F.cross_entropy(logits if dtype == torch.float64 else logits.float(), torch.arange(len(keys)))


def dino(dtype: torch.dtype, student: Tensor, teacher: Tensor, prototypes: Tensor) -> Tensor:
    outputs = [features.to(dtype) @ prototypes.to(dtype).T for features in (student, teacher)]
    outputs = outputs if dtype == torch.float64 else [output.float() for output in outputs]
    predictions, targets = F.log_softmax(outputs[0] / 0.1, 1), F.softmax(outputs[1] / 0.04, 1)
    return -(targets.repeat(len(student) // len(teacher), 1) * predictions).sum(1).mean()


def main() -> None:
    torch.manual_seed(0)
    print('| loss | features | bf16: loss | bf16: gradient | fp32: loss | fp32: gradient |\n|---|---|---|---|---|---|')
    for stage, cosine in (('early', 0.3), ('late', 0.9)):
        keys, teacher, prototypes = unit(1024), unit(32), unit(65536)
        if stage == 'late':
            prototypes[:32] = similar(teacher, 0.9)
        cases = {
            'MoCo v3, batch 1024': (mocov3, similar(keys, cosine), keys),
            'DINO, 8 x 32 crops, 65536 outputs': (dino, similar(teacher.repeat(8, 1), cosine), teacher, prototypes),
        }
        for name, (loss, online, *others) in cases.items():
            results = []
            for dtype in (torch.float64, torch.bfloat16, torch.float32):
                features = online.clone().requires_grad_()
                value = loss(dtype, features, *others)
                results.append((value.double(), *torch.autograd.grad(value, features)))
            (exact, gradient), *rounded = results
            errors = [(abs(v - exact) / exact, (g - gradient).norm() / gradient.norm()) for v, g in rounded]
            print(f'| {name} | {stage} |', ' | '.join(f'{float(e):.0e}' for pair in errors for e in pair), '|')


if __name__ == '__main__':
    main()
