"""What a whole image is like, as numbers: how bright, coloured, sharp, noisy, compressed or framed.

Each function takes images (n, C, H, W), floating and in [0, 1], and returns (n, d), float64.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from scipy.fft import dctn
from torch import Tensor

# Outermost pixels that count as background, in shorter sides.
_FRAME = 1 / 12
# Pixels of a border differ by so little: JPEG and resizing leave that much.
_UNIFORM = 3 / 255
# Widest border on each side, in sides: beyond it an image is empty rather than framed.
_WIDEST = 0.4
# Variance of what rounding to 256 shades leaves.
_ROUNDING = 1 / 12 / 255**2
# Mean of the absolute value of normal noise whose median is 1.
_MEDIAN_OF_NORMAL = 0.6745
# Coefficients of a block of 8 x 8 pixels from here on, u + v, are those that compression drops first.
_FINE = 6


def brightness(images: Tensor) -> Tensor:
    """Return the mean of all values, (n, 1)."""
    return images.mean((1, 2, 3))[:, None].double()


def background_level(images: Tensor) -> Tensor:
    """Return the median of the outermost pixels, one twelfth of the shorter side wide, mean of the channels: (n, 1)."""
    return frame_pixels(images).median(2).values.mean(1, keepdim=True).double()


def background_texture(images: Tensor) -> Tensor:
    """Return the median difference of the outermost pixels to what is around them, (n, 1)."""
    return frame_pixels(details(images)).abs().median(2).values.mean(1, keepdim=True).double()


def contrast(images: Tensor) -> Tensor:
    """Return the standard deviation of the values about the mean of their channel, (n, 1)."""
    return images.var((2, 3), correction=0).mean(1, keepdim=True).sqrt().double()


def colour_cast(images: Tensor) -> Tensor:
    """Return the logarithms of mean red and of mean blue over mean green, (n, 2), of images with three channels."""
    red, green, blue = (images.mean((2, 3)).double() + 1e-3).log().unbind(1)
    return torch.stack([red - green, blue - green], 1)


def sharpness(images: Tensor) -> Tensor:
    """Return the logarithm of the root mean squared frequency, in cycles per pixel, (n, 1).

    It falls with blur, and with enlarging from a low resolution. An image of one colour counts as all blur.
    """
    power, squares = spectrum(images)
    return rms_frequency(power, squares)


def noise(images: Tensor) -> Tensor:
    """Return the standard deviation of the noise, by the median of diagonal details, (n, 1).

    Edges and shapes hardly enter it (Donoho and Johnstone 1994).
    """
    x = images
    diagonal = (x[..., :-1, :-1] - x[..., :-1, 1:] - x[..., 1:, :-1] + x[..., 1:, 1:]) / 2
    if not diagonal.numel():
        return torch.zeros(len(x), 1, dtype=torch.float64)
    return diagonal.abs().flatten(2).median(2).values.mean(1, keepdim=True).double() / _MEDIAN_OF_NORMAL


def compression(images: Tensor) -> Tensor:
    """Return how much JPEG compression shows, (n, 1): 0 where none does.

    It is the logarithm of the power of fine details in blocks of 8 x 8 pixels that lie across JPEG's blocks, over that
    in JPEG's own, where quantisation removed it. Images that were resized after compression read 0.
    """
    x = images.mean(1)
    if min(x.shape[1:]) < 16:
        return torch.zeros(len(x), 1, dtype=torch.float64)
    own, across = (_fine_power(part) for part in (x, x[:, 4:-4, 4:-4]))
    return ((across + _ROUNDING) / (own + _ROUNDING)).log()[:, None].double()


def border(images: Tensor) -> Tensor:
    """Return the widths of uniform borders at the top, the bottom, the left and the right, (n, 4), in sides."""
    x = images
    return torch.stack(
        [_uniform_share(turned) for turned in (x, x.flip(2), x.transpose(2, 3), x.transpose(2, 3).flip(2))], 1
    )


def frame_pixels(images: Tensor) -> Tensor:
    """Return the outermost pixels (n, C, p)."""
    return images.flatten(2)[:, :, frame(images).flatten()]


def frame(images: Tensor) -> Tensor:
    """Return which pixels are outermost, (H, W), bool."""
    height, width = images.shape[2:]
    wide = max(1, round(_FRAME * min(height, width)))
    outermost = torch.ones(height, width, dtype=torch.bool)
    outermost[wide : height - wide, wide : width - wide] = False
    return outermost


def details(images: Tensor) -> Tensor:
    """Return what images have beyond the mean of 5 x 5 pixels around each, in the same shape."""
    return images - F.avg_pool2d(images, 5, 1, 2, count_include_pad=False)


def spectrum(images: Tensor, n_bins: int = 1024) -> tuple[Tensor, Tensor]:
    """Return the power of the mean of the channels at squared frequencies, without the constant part.

    Frequencies are those of a cosine transform, which knows no jump from one side of the image to the other.

    Returns
    -------
    power : Tensor of shape (n, n_bins)
        Sums over about the same frequencies.
    squares : Tensor of shape (n_bins,)
        Their mean squares, in squared cycles per pixel.
    """
    grey = images.double().mean(1)
    power = torch.from_numpy(dctn(grey.numpy(), axes=(1, 2), norm="ortho")).square().flatten(1)
    squares = squared_frequencies(*grey.shape[1:]).flatten()
    power, squares = power[:, 1:], squares[1:]
    bins = (squares.sqrt() * (n_bins / math.sqrt(0.5))).long().clamp(max=n_bins - 1)
    counts = torch.zeros(n_bins).double().index_add_(0, bins, torch.ones(len(bins)).double())
    means = torch.zeros(n_bins).double().index_add_(0, bins, squares) / counts.clamp(min=1)
    return torch.zeros(len(grey), n_bins).double().index_add_(1, bins, power), means


def squared_frequencies(height: int, width: int) -> Tensor:
    """Return the squared frequencies (H, W) of a cosine transform, in cycles per pixel."""
    down, across = (torch.arange(side).double() / (2 * side) for side in (height, width))
    return down[:, None] ** 2 + across**2


def rms_frequency(power: Tensor, squares: Tensor) -> Tensor:
    """Return the logarithm of the root mean squared frequency, (n, 1), of what `spectrum` returns."""
    total = power.sum(1)
    mean = torch.where(total > 1e-12, power @ squares / total.clamp(min=1e-300), 0)
    return mean.clamp(min=1e-6).log()[:, None] / 2


def _fine_power(grey: Tensor) -> Tensor:
    """Return the mean power (n,) of fine details in blocks of 8 x 8 pixels from the upper left on."""
    blocks = grey.unfold(1, 8, 8).unfold(2, 8, 8)
    waves = torch.arange(8).to(grey)
    basis = torch.cos(math.pi * (2 * waves + 1) * waves[:, None] / 16) / 2
    basis[0] /= math.sqrt(2)
    fine = waves[:, None] + waves >= _FINE
    return (basis @ blocks @ basis.T).square()[..., fine].mean((1, 2, 3))


def _uniform_share(x: Tensor) -> Tensor:
    """Return for each image (n, C, H, W) the share of rows from the top that are of the colour of its first pixels."""
    off = (x - x[:, :, :1].mean(3, keepdim=True)).abs().amax((1, 3)) <= _UNIFORM
    share = off.long().cumprod(1).sum(1).double() / x.shape[2]
    return torch.where(share <= _WIDEST, share, 0)
