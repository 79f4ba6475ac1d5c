"""The attention kernel of trunks and branches under autocast; that it is right is tested with packed training."""

import torch

from recbole_genrec.backbone.branches import BranchChunk, BranchMask, attend


class Layer(torch.nn.Module):
    is_causal = True
    num_key_value_groups = 1


def test_on_a_cpu_autocast_leaves_attention_in_float32():
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 2, 5, 4, generator=generator) for _ in range(3))
    seen = torch.tensor([[True, True, False, True, False], [True, True, False, True, True]]).expand(2, 2, 5)
    branches = BranchMask(3, [BranchChunk(3, 5, 3, 3, seen)])
    expected, _ = attend(Layer(), query, key, value, None, branches=branches)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, _ = attend(Layer(), query, key, value, None, branches=branches)
    assert output.dtype == torch.float32
    torch.testing.assert_close(output, expected, atol=0, rtol=0)
