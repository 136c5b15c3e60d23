"""The transpose of a strided convolution of few channels, as one plain convolution.

oneDNN computes the gradient to the three channels of an image some channels at a time, most of which are not
there. The output positions that leave the same remainder when divided by the stride s, a phase, are a plain
convolution of the gradient with every s-th value of the kernel. All s x s phases together are one convolution to
s * s times as many channels, whose results interleave. For the 7x7 stem of a ResNet that is three times as fast.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# A vector holds this many float32 values: with no more channels than that in all phases, none is computed for nothing.
_LANES = 16


@dataclass(frozen=True, eq=False)
class Phases:
    """A strided convolution, ready to carry multipliers from its output to its input.

    Attributes
    ----------
    kernel : Tensor of shape (s * s * C, O, T, T)
        Kernels of the phases, channels_last; the phase by rows, then that by columns, then the channel C.
    stride : int
        s, the same along rows and columns.
    first : tuple of (int, int)
        Offset of the output value that the kernel's first one meets, along rows and columns.
    """

    kernel: Tensor
    stride: int
    first: tuple[int, int]

    @classmethod
    def of(
        cls, weight: Tensor, stride: list[int], padding: list[int], dilation: list[int], groups: int
    ) -> Phases | None:
        """Return the phases of a convolution by `weight` (O, C, kH, kW); None where they do not help."""
        s = stride[0]
        n_channels = weight.shape[1]
        if stride != [s, s] or s == 1 or dilation != [1, 1] or groups != 1 or s * s * n_channels > _LANES:
            return None
        taps = [_taps(size, s, p) for size, p in zip(weight.shape[2:], padding, strict=True)]
        first = [min(offset for _, _, offset in axis) for axis in taps]
        sizes = [
            max(offset for _, _, offset in axis) - low + 1 for axis, low in zip(taps, first, strict=True)
        ]
        kernel = weight.new_zeros(s, s, n_channels, weight.shape[0], *sizes)
        for row, row_phase, row_offset in taps[0]:
            for column, column_phase, column_offset in taps[1]:
                place = kernel[row_phase, column_phase, :, :, row_offset - first[0], column_offset - first[1]]
                place.copy_(weight[:, :, row, column].T)
        flat = kernel.flatten(0, 2).contiguous(memory_format=torch.channels_last)
        return cls(flat, s, (first[0], first[1]))

    def to_input(self, grad: Tensor, height: int, width: int) -> Tensor:
        """Return the multipliers of the input, (N, C, height, width), from those of the output, (N, O, h, w)."""
        s = self.stride
        counts = [-(-size // s) for size in (height, width)]
        before = [-low for low in self.first]
        after = [
            count + low + size - 1 - n
            for count, low, size, n in zip(
                counts, self.first, self.kernel.shape[2:], grad.shape[2:], strict=True
            )
        ]
        padding = [max(0, *both) for both in zip(before, after, strict=True)]
        phases = torch.conv2d(grad, self.kernel, None, 1, padding)
        for axis, (pad, start, count) in enumerate(zip(padding, before, counts, strict=True), start=2):
            phases = phases.narrow(axis, pad - start, count)
        apart = phases.permute(0, 2, 3, 1).unflatten(3, (s, s, -1))  # (N, rows, columns, s, s, C)
        together: Tensor = apart.transpose(2, 3).flatten(3, 4).flatten(1, 2)
        return together[:, :height, :width].permute(0, 3, 1, 2)


def _taps(size: int, stride: int, padding: int) -> list[tuple[int, int, int]]:
    """Return (position in the kernel, phase, offset of the output value): output i meets input s i + k - p."""
    return [
        (k, phase, (phase + padding - k) // stride)
        for k in range(size)
        for phase in range(stride)
        if (phase + padding - k) % stride == 0
    ]
