"""The generator of TCuP-GAN: a U-Net of convolutional LSTMs, which reads a volume slice by slice as if it were a film.

Mantha, Sankar, Fortson, "Automated 3D Tumor Segmentation using Temporal Cubic PatchGAN (TCuP-GAN)", BraTS 2023 (arXiv
2311.14148), and the published source (ramanakumars/TCuPGAN, `model.py` at commit 04943f1, `lstm_layers.py`). Stated in
the paper: five blocks of 16, 32, 48, 64, 128 filters, kernels of 3 x 3, a bottleneck of 128 x 8 x 8 for a slice of 256
x 256, five blocks up, a last convolution of 3 x 3, a sigmoid, 2.3 million parameters. From the source: no biases in the
LSTMs; the hidden states are pooled and the last cell state, too, after a 1 x 1 convolution to the width of the
decoder's block, where it is the first cell state; the blocks up have 64, 48, 32, 16 and 3 filters, a transposed
convolution (kernel 2, stride 2), an instance norm over the whole stack, and LeakyReLU 0.2. The paper has a 3 x 3
convolution before each pooling, which the source does not have: with the source the parameters are 2.3 million, with
the convolutions 2.5. What the source computes and nothing reads is left out: the decoder's own cell states, upsampled.

How it is computed (docs/decisions/0021): all slices lie on the batch axis, the loop over them is TorchScript, so that
it becomes a `Loop` instead of 155 copies, hidden states are pooled inside of it, and where the planes are small the
convolution of the inputs is done for all slices at once before it.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

ENCODER: Final = (16, 32, 48, 64, 128)
LARGEST_BATCHED_PLANE: Final = 16 * 16
"""Pixels up to which the inputs of a block are convolved for all slices at once: at 64 x 64 the gates of 155 slices
take 0.5 GB, and a loop keeps a copy of what it is given."""


class TCuPGANGenerator(nn.Module):
    """(T, channels_in, H, W), sides multiples of 2^blocks, slices in order, to (T, classes, H, W): sigmoid.

    Args:
        channels_in: number of MR sequences.
        classes: number of classes, without the background.
        widths: numbers of filters of the blocks on the way down.
        plane: sides of a slice, in pixels. They decide where inputs are convolved at once, and change no result.
    """

    def __init__(
        self,
        channels_in: int = 4,
        classes: int = 3,
        widths: tuple[int, ...] = ENCODER,
        plane: tuple[int, int] = (256, 256),
    ) -> None:
        super().__init__()
        upwards = (*widths[-2::-1], classes)
        pixels = [plane[0] * plane[1] // 4**level for level in range(len(widths) + 1)]
        self.down = nn.ModuleList(
            EncoderBlock(before, width, cell, batched=pixels[level] <= LARGEST_BATCHED_PLANE)
            for level, (before, width, cell) in enumerate(
                zip((channels_in, *widths), widths, upwards[::-1], strict=False)
            )
        )
        inputs = (widths[-1], *(2 * width for width in upwards[:-1]))
        self.up = nn.ModuleList(
            DecoderBlock(before, width, batched=pixels[-1 - level] <= LARGEST_BATCHED_PLANE)
            for level, (before, width) in enumerate(zip(inputs, upwards, strict=True))
        )
        self.head = nn.Conv2d(classes, classes, 3, padding=1)
        # PyTorch's own random weights make states so small that the norms divide by next to nothing: f32 itself is
        # then 2e-4 from f64, and nothing could be compared
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Probabilities of the classes, slice by slice."""
        skips: list[Tensor] = []
        cells: list[Tensor] = []
        for block in self.down:
            x, cell = block(x)
            skips.append(x)
            cells.append(cell)
        for level, (block, skip, cell) in enumerate(zip(self.up, skips[::-1], cells[::-1], strict=True)):
            x = block(torch.cat((x, skip), dim=1) if level else x, cell)
        return torch.sigmoid(self.head(x))


class EncoderBlock(nn.Module):
    """An LSTM whose hidden states are halved in plane; its last cell state is halved, too, and goes across.

    Args:
        channels_in: number of channels of each slice.
        width: number of channels of the hidden states.
        cell_width: number of channels of the cell state of the block on the other side.
        batched: True where the inputs of all slices are convolved at once.
    """

    def __init__(self, channels_in: int, width: int, cell_width: int, *, batched: bool) -> None:
        super().__init__()
        self.lstm = ConvLSTM(channels_in, width, batched=batched)
        self.across = nn.Conv2d(width, cell_width, 1, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(T, C, H, W) -> the hidden states (T, D, H / 2, W / 2), the cell state (1, E, H / 2, W / 2)."""
        hidden, cell = self.lstm.pooled(x)
        return hidden, functional.max_pool2d(self.across(cell), 2)


class DecoderBlock(nn.Module):
    """An LSTM that begins with the cell state of the encoder; its hidden states are doubled in plane."""

    def __init__(self, channels_in: int, width: int, *, batched: bool) -> None:
        super().__init__()
        self.lstm = ConvLSTM(channels_in, width, batched=batched)
        self.upsample = nn.ConvTranspose2d(width, width, 2, stride=2)
        self.norm = nn.InstanceNorm3d(width)

    def forward(self, x: Tensor, cell: Tensor) -> Tensor:
        """(T, C, H, W), (1, D, H, W) -> (T, D, 2 H, 2 W)."""
        x = self.upsample(self.lstm(x, cell))
        # one mean for all slices: the stack is one volume
        x = self.norm(x.transpose(0, 1).unsqueeze(0)).squeeze(0).transpose(0, 1)
        return functional.leaky_relu(x, 0.2)


class ConvLSTM(nn.Module):
    """Gates of 3 x 3 convolutions of slice and hidden state, in the order input, forget, output, cell; no biases."""

    def __init__(self, channels_in: int, width: int, *, batched: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in + width, 4 * width, 3, padding=1, bias=False)
        self.channels_in = channels_in
        self.batched = batched

    def forward(self, x: Tensor, cell: Tensor) -> Tensor:
        """(T, C, H, W) and the first cell state (1, D, H, W) -> the hidden states (T, D, H, W)."""
        return _run(x, cell, self.conv.weight, self.channels_in, self.batched, 1)[0]

    def pooled(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(T, C, H, W) -> the hidden states, halved, (T, D, H / 2, W / 2), and the last cell state (1, D, H, W)."""
        # a state that is made of nothing but zeros must be derived from a tensor, or the loop does not convert
        cell = functional.conv2d(x[0:1], self.conv.weight[: self.conv.out_channels // 4, : self.channels_in], padding=1)
        return _run(x, cell * 0.0, self.conv.weight, self.channels_in, self.batched, 2)


def _run(x: Tensor, cell: Tensor, weight: Tensor, channels_in: int, batched: bool, pool: int) -> tuple[Tensor, Tensor]:
    """The hidden states and the last cell state; in a shape that is known, which what comes out of a loop is not."""
    of_input, of_hidden = weight[:, :channels_in], weight[:, channels_in:]
    if batched:
        hidden, last = _loop_over_gates(functional.conv2d(x, of_input, padding=1), cell, of_hidden, pool)
    else:
        hidden, last = _loop(x, cell, weight, pool)
    slices, _, height, width = x.shape
    depth = weight.shape[0] // 4
    return hidden.reshape(slices, depth, height // pool, width // pool), last.reshape(1, depth, height, width)


@torch.jit.script
def _loop_over_gates(gates: Tensor, cell: Tensor, of_hidden: Tensor, pool: int) -> tuple[Tensor, Tensor]:
    hidden = cell * 0.0
    outputs: list[Tensor] = []
    for t in range(gates.shape[0]):
        i, f, o, g = torch.chunk(gates[t].unsqueeze(0) + torch.conv2d(hidden, of_hidden, padding=1), 4, dim=1)
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
        hidden = torch.sigmoid(o) * torch.tanh(cell)
        outputs.append(torch.max_pool2d(hidden, [pool, pool]) if pool > 1 else hidden)
    return torch.cat(outputs), cell


@torch.jit.script
def _loop(x: Tensor, cell: Tensor, weight: Tensor, pool: int) -> tuple[Tensor, Tensor]:
    hidden = cell * 0.0
    outputs: list[Tensor] = []
    for t in range(x.shape[0]):
        i, f, o, g = torch.chunk(
            torch.conv2d(torch.cat((x[t].unsqueeze(0), hidden), dim=1), weight, padding=1), 4, dim=1
        )
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
        hidden = torch.sigmoid(o) * torch.tanh(cell)
        outputs.append(torch.max_pool2d(hidden, [pool, pool]) if pool > 1 else hidden)
    return torch.cat(outputs), cell
