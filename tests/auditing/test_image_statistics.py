"""Each statistic reads what was put into an image, and is set to what another image has."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from lvlm_va.auditing import image_statistics as read
from lvlm_va.auditing import settings
from lvlm_va.auditing.image_wide import IMAGE_STATISTICS
from lvlm_va.datasets import bandaged_lesions, decoy_digits

BY_NAME = {statistic.name: statistic for statistic in IMAGE_STATISTICS}
GENERATOR = torch.Generator()


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    return torch.from_numpy(bandaged_lesions(n=12, size=48, shortcut=False).images)


def flat(*shades: float, channels: int = 3) -> torch.Tensor:
    return torch.tensor(shades)[:, None, None, None].expand(-1, channels, 32, 40).clone()


def test_brightness_background_and_contrast_of_a_square_on_a_ground():
    images = flat(0.2, 0.7)
    images[:, :, 8:24, 10:30] = 0.5
    inside = 16 * 20 / (32 * 40)
    outside = torch.tensor([0.2, 0.7], dtype=torch.float64)
    mean = inside * 0.5 + (1 - inside) * outside
    assert torch.allclose(read.brightness(images)[:, 0], mean)
    assert torch.allclose(read.background_level(images)[:, 0], outside)
    spread = (0.5 - outside).abs() * (inside * (1 - inside)) ** 0.5
    assert torch.allclose(read.contrast(images)[:, 0], spread)
    assert (read.background_texture(images) < 1e-6).all()


def test_a_colour_cast_is_the_ratio_of_the_channels():
    images = flat(0.4) * torch.tensor([1.2, 1.0, 0.5])[:, None, None]
    found = read.colour_cast(images)[0].exp()
    assert torch.allclose(found, torch.tensor([1.2, 0.5], dtype=torch.float64), rtol=1e-2)


@pytest.mark.parametrize("sigma", [0.01, 0.05])
def test_noise_has_its_standard_deviation(sigma):
    generator = torch.Generator().manual_seed(0)
    images = flat(0.5) + sigma * torch.randn(1, 3, 32, 40, generator=generator)
    assert float(read.noise(images)) == pytest.approx(sigma, rel=0.1)
    shapes = images.clone()
    shapes[:, :, 5:20, 5:20] += 0.3
    assert float(read.noise(shapes)) == pytest.approx(sigma, rel=0.1)


def test_a_wave_is_as_sharp_as_its_frequency():
    places = torch.arange(64) + 0.5
    for waves in (4, 16):
        images = (0.5 + 0.3 * torch.cos(torch.pi * waves * places / 64)).expand(1, 1, 64, 64)
        assert float(read.sharpness(images).exp()) == pytest.approx(waves / 128, rel=0.05)


def compressed(pictures: torch.Tensor, quality: int) -> torch.Tensor:
    images = []
    for image in (pictures * 255).round().byte().numpy().transpose(0, 2, 3, 1):
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "JPEG", quality=quality)
        images.append(np.asarray(Image.open(stream), np.float32) / 255)
    return torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2))


def test_compression_shows_where_there_was_one(pictures):
    shown = (pictures, compressed(pictures, 40), compressed(pictures, 10))
    none, good, poor = (float(read.compression(images).mean()) for images in shown)
    assert abs(none) < 0.3
    assert none < good < poor
    assert poor > 3


def test_borders_are_as_wide_as_they_were_painted():
    generator = torch.Generator().manual_seed(0)
    images = torch.zeros(1, 3, 40, 50)
    images[:, :, 4:32, 10:45] = 0.2 + 0.6 * torch.rand(1, 3, 28, 35, generator=generator)
    assert torch.allclose(read.border(images), torch.tensor([[4 / 40, 8 / 40, 10 / 50, 5 / 50]]).double())
    assert not read.border(flat(0.3)).any()  # an empty image has no frame
    wanted = torch.tensor([[2 / 40, 2 / 40, 0, 0]]).double()
    assert torch.allclose(read.border(settings.border(images, wanted, GENERATOR)), wanted)


@pytest.mark.parametrize("name", BY_NAME)
def test_a_statistic_is_set_to_what_another_image_has(name, pictures):
    statistic = BY_NAME[name]
    values = statistic.read(pictures)
    apart = values.amax(0) - values.amin(0)
    # Sharp, noisy and uncompressed images can be blurred, smoothed and compressed; the reverse only in part.
    wanted = values.roll(1, 0)
    if name in ("sharpness", "noise"):
        wanted = torch.minimum(wanted, values)
    if name == "JPEG quality":
        wanted = statistic.read(compressed(pictures, 10)).roll(1, 0)
        apart = wanted - values
    if name == "borders":
        wanted, apart = torch.tensor([0.125, 0.125, 0.25, 0.0]).double().expand(12, 4), torch.tensor([0.01])
    changed = statistic.set(pictures, wanted, torch.Generator().manual_seed(0))
    assert changed.shape == pictures.shape
    assert changed.dtype == pictures.dtype
    assert changed.min() >= 0
    assert changed.max() <= 1
    off = (statistic.read(changed) - wanted).abs()
    assert (off <= 0.15 * apart + 1e-9).double().mean() > 0.8


@pytest.mark.parametrize(
    ("name", "grey"),
    [
        (name, grey)
        for name in BY_NAME
        for grey in (False, True)
        if not grey or BY_NAME[name].channels is None
    ],
)
def test_an_image_set_to_its_own_value_stays_as_it_is(name, grey, pictures):
    statistic = BY_NAME[name]
    images = torch.from_numpy(decoy_digits().images[:12]) if grey else pictures
    changed = statistic.set(images, statistic.read(images), torch.Generator().manual_seed(0))
    assert (changed - images).abs().mean() < 0.004  # a shade of 256


@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 3, 1, 1), (3, 3, 20, 9)])
def test_small_and_empty_images_are_read_and_set(name, shape):
    statistic = BY_NAME[name]
    for images in (torch.zeros(shape), torch.ones(shape), torch.rand(shape, generator=GENERATOR)):
        values = statistic.read(images)
        assert values.shape[0] == shape[0]
        assert values.dtype == torch.float64
        assert values.isfinite().all()
        assert statistic.set(images, values.roll(1, 0), GENERATOR).isfinite().all()
