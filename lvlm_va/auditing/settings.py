"""Change whole images so that a statistic of theirs takes a given value, and little else changes.

Each function takes images (n, C, H, W), floating and in [0, 1], values (n, d), float64, as the function of the same
name in `lvlm_va.auditing.image_statistics` reads them, and a generator; it returns new images. A value that cannot be
reached, as no camera makes sharp what is blurred away, is come as near to as the image allows.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.fft import dctn, idctn
from torch import Tensor

from lvlm_va.auditing import image_statistics as read

# Largest factor of brightness, contrast and texture, and of the finest frequency when sharpening.
_MOST = 16.0
_HALVINGS = 14
# Qualities of JPEG that are tried.
_WORST, _BEST = 5, 95


def brightness(images: Tensor, values: Tensor, generator: torch.Generator) -> Tensor:
    """Multiply all values: another exposure."""
    return _solved(images, lambda factor: images * factor, read.brightness, values, 0, _MOST)


def contrast(images: Tensor, values: Tensor, generator: torch.Generator) -> Tensor:
    """Spread values about the mean of their channel."""
    mean = images.mean((2, 3), keepdim=True)
    return _solved(images, lambda factor: mean + factor * (images - mean), read.contrast, values, 0, _MOST)


def background_level(images: Tensor, values: Tensor, generator: torch.Generator) -> Tensor:
    """Shift what looks like the outermost pixels."""
    ground = _ground(images)
    return _solved(images, lambda level: images + level * ground, read.background_level, values, -1, 1)


def background_texture(images: Tensor, values: Tensor, generator: torch.Generator) -> Tensor:
    """Make details rougher or smoother in what looks like the outermost pixels."""
    rough = read.details(images) * _ground(images)
    return _solved(
        images, lambda factor: images + (factor - 1) * rough, read.background_texture, values, 0, _MOST
    )


def colour_cast(images: Tensor, values: Tensor, generator: torch.Generator) -> Tensor:
    """Multiply the channels: light of another colour, no brighter."""
    changed, level = images, read.brightness(images)
    for _ in range(4):  # clipped values make up for others
        red, blue = (values - read.colour_cast(changed)).exp().unbind(1)
        factors = torch.stack([red, torch.ones_like(red), blue], 1)[:, :, None, None].to(images.dtype)
        changed = changed * factors
        changed = (
            changed * (level / read.brightness(changed).clamp(min=1e-6))[..., None, None].to(changed)
        ).clamp(0, 1)
    return changed


def sharpness(images: Tensor, values: Tensor, generator: torch.Generator) -> Tensor:
    """Blur by a Gaussian, or sharpen by its inverse, up to sixteen-fold."""
    power, squares = read.spectrum(images)
    low = values.new_full((len(images), 1), -2 * math.log(_MOST))
    high = values.new_full((len(images), 1), 2 * (math.pi * min(images.shape[2:]) / 8) ** 2)
    for _ in range(3 * _HALVINGS):
        middle = (low + high) / 2
        found = read.rms_frequency(power * (-2 * middle * squares).exp(), squares)
        low, high = torch.where(found > values, middle, low), torch.where(found > values, high, middle)
    gains = (-high[..., None, None] * read.squared_frequencies(*images.shape[2:])).exp()
    waves = dctn(images.double().numpy(), axes=(2, 3), norm="ortho") * gains.numpy()
    return torch.from_numpy(idctn(waves, axes=(2, 3), norm="ortho")).to(images.dtype).clamp(0, 1)


def noise(images: Tensor, values: Tensor, generator: torch.Generator) -> Tensor:
    """Add normal noise, or smooth away details as faint as the noise is."""
    own = read.noise(images)
    more = (values.square() - own.square()).clamp(min=0).sqrt()[..., None, None].to(images.dtype)
    drawn = torch.randn(images.shape, generator=generator).to(images)
    kernel = images.new_tensor([1, 2, 1]) / 4
    around = F.conv2d(
        F.pad(images, (1, 1, 1, 1), "replicate").flatten(0, 1)[:, None],
        torch.outer(kernel, kernel)[None, None],
    ).view_as(images)
    fine = images - around
    fine = fine * (fine.abs() <= 3 * own[..., None, None] + 1 / 255)
    smoothed = _solved(images, lambda factor: images + (factor - 1) * fine, read.noise, values, 0, 1)
    return torch.where((values > own)[..., None, None], images + more * drawn, smoothed).clamp(0, 1)


def compression(images: Tensor, values: Tensor, generator: torch.Generator) -> Tensor:
    """Write and read as JPEG, of the quality that comes nearest; what is compressed stays so."""
    low, high = (torch.full((len(images),), quality) for quality in (_WORST, _BEST))
    best, missed = images, (read.compression(images) - values).abs()
    while bool((high > low + 1).any()):
        middle = (low + high) // 2
        tried = torch.stack(list(map(_as_jpeg, images, middle.tolist())))
        found = read.compression(tried)
        nearer = (found - values).abs() < missed
        best, missed = (
            torch.where(nearer[..., None, None], tried, best),
            torch.where(nearer, (found - values).abs(), missed),
        )
        more = (found < values)[:, 0]
        low, high = torch.where(more, low, middle), torch.where(more, middle, high)
    return best


def border(images: Tensor, values: Tensor, generator: torch.Generator) -> Tensor:
    """Fit what lies within the borders into others, of the colour of the outermost pixels."""
    height, width = images.shape[2:]
    sides = images.new_tensor([height, height, width, width]).double()
    own, wanted = ((found * sides).round().long() for found in (read.border(images), values))
    colour = read.frame_pixels(images).median(2).values.to(images.dtype)[..., None, None]
    changed = []
    for image, shade, (top, bottom, left, right), new in zip(
        images, colour, own.tolist(), wanted.tolist(), strict=True
    ):
        inside = image[:, top : height - bottom, left : width - right]
        box = height - new[0] - new[1], width - new[2] - new[3]
        canvas = shade.expand_as(image).clone()
        if min(box) > 0:
            canvas[:, new[0] : height - new[1], new[2] : width - new[3]] = (
                inside
                if inside.shape[1:] == box
                else F.interpolate(inside[None], box, mode="bilinear", antialias=True)[0]
            )
        changed.append(canvas)
    return torch.stack(changed)


def _solved(
    images: Tensor,
    change: Callable[[Tensor], Tensor],
    reading: Callable[[Tensor], Tensor],
    values: Tensor,
    low: float,
    high: float,
) -> Tensor:
    """Return the images changed as much as gives them the values, found by halving, and kept in [0, 1]."""
    lows, highs = torch.full_like(values, low), torch.full_like(values, high)
    for _ in range(_HALVINGS):
        middle = (lows + highs) / 2
        less = reading(change(middle[..., None, None].float()).clamp(0, 1)) < values
        lows, highs = torch.where(less, middle, lows), torch.where(less, highs, middle)
    changed = change(highs[..., None, None].float()).clamp(0, 1)
    return torch.where((reading(images) == values)[..., None, None], images, changed)


def _ground(images: Tensor) -> Tensor:
    """Return how much each pixel (n, 1, H, W) looks like the outermost ones, in [0, 1]."""
    pixels = read.frame_pixels(images)
    middle = pixels.median(2).values[..., None, None]
    spread = (pixels - middle[..., 0]).abs().median(2).values[..., None, None] / 0.67 + 0.02
    off = ((images - middle) / spread).square().mean(1, keepdim=True)
    return ((16 - off) / 7).clamp(0, 1)


def _as_jpeg(image: Tensor, quality: int) -> Tensor:
    """Return an image (C, H, W) written and read; other than three channels each alone."""
    shades = (image.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    parts = [shades.transpose(1, 2, 0)] if len(shades) == 3 else list(shades)
    found = []
    for part in parts:
        stream = io.BytesIO()
        Image.fromarray(part).save(stream, "JPEG", quality=quality)
        found.append(np.asarray(Image.open(stream), np.float32) / np.float32(255))
    whole = found[0].transpose(2, 0, 1) if len(shades) == 3 else np.stack(found)
    return torch.from_numpy(np.ascontiguousarray(whole)).to(image.dtype)
