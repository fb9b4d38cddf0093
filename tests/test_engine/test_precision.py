"""Training in bf16 autocast."""

import torch
from fixtures.data import make_image_folder
from fixtures.resuming import make_runner


def test_amp_runs_the_encoder_in_bf16_and_keeps_fp32_weights(tmp_path):
    runner = make_runner(make_image_folder(tmp_path / 'images'), tmp_path / 'run', amp=True)
    dtypes = set()
    block = runner.model.backbone.layers[0]
    block.attn.proj.register_forward_hook(lambda module, args, output: dtypes.add(output.dtype))
    runner.train()
    assert torch.bfloat16 in dtypes
    assert all(p.dtype == torch.float32 for p in runner.model.parameters())
    assert torch.isfinite(torch.tensor(runner.message_hub.get_scalar('train/loss').data[0])).all()
