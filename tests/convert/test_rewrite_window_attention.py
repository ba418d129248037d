"""Windows that attend in parts give what they give at once, and the product of all windows is never there."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from brain_edge_conversion.convert.rewrites.window_attention import AttentionInParts, attend_in_parts, window_attentions

swin = pytest.importorskip("monai.networks.nets.swin_unetr", reason="needs MONAI, whose layer this is about")


def attention(heads: int, channels: int, seed: int, side: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    layer = swin.WindowAttention(channels, heads, (side, side, side), qkv_bias=True).eval()
    nn.init.normal_(layer.relative_position_bias_table)
    return layer


@settings(max_examples=40, deadline=None)
@given(
    windows=st.integers(1, 24),
    heads=st.integers(1, 3),
    per_head=st.integers(1, 4),
    in_part=st.integers(1, 30),
    masked=st.booleans(),
    seed=st.integers(0, 99),
)
def test_parts_are_the_whole(windows, heads, per_head, in_part, masked, seed):
    layer = attention(heads, heads * per_head, seed)
    tokens = torch.randn(windows, 27, heads * per_head)
    mask = torch.where(torch.rand(windows, 27, 27) < 0.3, -100.0, 0.0) if masked else None
    if mask is not None:
        mask[torch.rand(windows) < 0.6] = 0.0  # as inside of a volume, away from the seam of a shift
    seen = []
    layer.register_forward_hook(lambda _layer, inputs, _output: seen.append(inputs[0].shape[0]))
    parts = AttentionInParts(layer, most_bytes=in_part * heads * 27 * 27 * 4)
    with torch.no_grad():
        got = parts(tokens, mask)
        assert max(seen) <= in_part
        assert sum(seen) == windows
        torch.testing.assert_close(got, layer(tokens, mask), atol=1e-6, rtol=1e-5)


def test_images_that_share_a_mask_stay_together():
    """Two images of four windows: the mask is of four, and says which window is which."""
    layer = attention(2, 4, 1)
    tokens, mask = torch.randn(8, 27, 4), torch.where(torch.rand(4, 27, 27) < 0.3, -100.0, 0.0)
    with torch.no_grad():
        torch.testing.assert_close(AttentionInParts(layer, most_bytes=1)(tokens, mask), layer(tokens, mask))


def test_a_window_that_is_larger_than_a_part_is_seen_alone():
    layer = attention(2, 4, 1)
    tokens = torch.randn(3, 27, 4)
    with torch.no_grad():
        torch.testing.assert_close(AttentionInParts(layer, most_bytes=1)(tokens, None), layer(tokens, None))


def test_layers_are_found_in_the_network_and_changed_in_place():
    network = swin.SwinUNETR(in_channels=1, out_channels=2, feature_size=12).eval()
    names = window_attentions(network)
    assert len(names) == 8, "two in each of four levels"
    attend_in_parts(network, names)
    assert window_attentions(network) == [f"{name}.attention" for name in names]
    assert isinstance(network.get_submodule(names[0]), AttentionInParts)


def test_a_layer_of_that_name_that_is_not_monais_is_left_alone():
    class WindowAttention(nn.Module):
        num_heads = 1

    assert window_attentions(nn.Sequential(WindowAttention())) == []
