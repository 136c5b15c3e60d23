"""Augmentation moves masks with their images, is the same for the same seed, and fits what users have."""

from __future__ import annotations

import random
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lvlm_va import LVLMVAClassifier, OracleCritic
from lvlm_va.alignment import AlignmentSet, Augmentation, TrainingOptions, train
from lvlm_va.alignment.augmentation import augmented, resolve_augment


def marked(n: int = 6, side: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    """Return dark images with a bright block each, and masks of it."""
    masks = torch.zeros(n, side, side)
    for i in range(n):
        masks[i, 2 + i : 6 + i, 5:9] = 1
    return 0.2 + 0.6 * masks[:, None].repeat(1, 3, 1, 1), masks


@given(
    st.integers(0, 1000),
    st.sampled_from([{}, {"flip": 1.0}, {"shift": 0.3, "scale": 0.0}, {"brightness": 0.2}]),
)
def test_a_mask_moves_with_its_image(seed: int, changes: dict[str, float]) -> None:
    _, masks = marked()
    masks[0, :3, :3] = 1  # at an edge, which is repeated where nothing is known
    images = masks[:, None].repeat(1, 3, 1, 1)
    torch.manual_seed(seed)
    changed, moved = Augmentation(**changes)(images, masks)
    assert changed.shape == images.shape
    assert set(moved.unique().tolist()) <= {0.0, 1.0}
    assert 0 <= float(changed.min()) <= float(changed.max()) <= 1
    # Of images that are their masks, smoothed at edges and brightened by 0.2 at most.
    assert ((changed - moved[:, None]).abs() > 0.5).float().mean() < 0.05


def test_nothing_changes_nothing() -> None:
    images, masks = marked()
    changed, moved = Augmentation(0.0, 0.0, 0.0, 0.0)(images, masks)
    assert torch.equal(changed, images)
    assert torch.equal(moved, masks)


@pytest.mark.parametrize("changes", [{"flip": 2}, {"shift": 1}, {"scale": -0.1}, {"brightness": "much"}])
def test_ranges(changes: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError), match=f"'{next(iter(changes))}' argument"):
        Augmentation(**changes)


def net() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * 256, 8), nn.ReLU(), nn.Linear(8, 2))


def fit(path: Any = None, epochs: int = 4, augment: Any = None, **given: Any) -> dict[str, torch.Tensor]:
    images, masks = marked(8)
    options = TrainingOptions(epochs, batch_size=4, augment=augment or Augmentation())
    result = train(
        net(), images, torch.arange(8) % 2, options,
        alignment_set=AlignmentSet(images[:5], torch.arange(5) % 2, masks[:5]), seed=3, checkpoint_path=path, **given,
    )  # fmt: skip
    return dict(result.module.state_dict())


def test_a_resumed_run_ends_as_an_unbroken_one(tmp_path) -> None:
    class StopError(Exception):
        pass

    def stop(history: Any) -> None:
        if len(history.loss) == 2:
            raise StopError

    before = random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state()  # noqa: NPY002
    with pytest.raises(StopError):
        fit(tmp_path / "run", on_epoch=stop)
    resumed, unbroken = fit(tmp_path / "run"), fit()
    assert all(torch.equal(resumed[name], unbroken[name]) for name in unbroken)
    assert before[0] == random.getstate()
    assert before[1] == np.random.get_state()[1].tolist()  # noqa: NPY002
    assert torch.equal(before[2], torch.random.get_rng_state())


def test_other_generators_are_seeded_too() -> None:
    def noisy(images: torch.Tensor, masks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return images + 0.01 * random.random() + 0.01 * np.random.rand(), masks  # noqa: NPY002

    one, other = fit(augment=noisy), fit(augment=noisy)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_comes_back_is_checked() -> None:
    images, masks = marked()
    for wrong in (
        lambda images, masks: (images[:, :, 1:], masks),
        lambda images, masks: (images, masks[:2]),
        lambda images, masks: (images * torch.nan, masks),
        lambda images, masks: (images.numpy(), masks),
    ):
        with pytest.raises(ValueError, match="'augment' argument must return finite"):
            augmented(wrong, images, masks)


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, **content: Any) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(content)
    monkeypatch.setitem(sys.modules, name, module)
    return module


def test_torchvision_kornia_and_albumentations(monkeypatch: pytest.MonkeyPatch) -> None:
    class Image(torch.Tensor):
        pass

    class Mask(torch.Tensor):
        pass

    class Flip:
        __module__ = "torchvision.transforms.v2._geometry"

        def __call__(self, image: torch.Tensor, mask: torch.Tensor) -> Any:
            assert isinstance(image, Image)
            assert isinstance(mask, Mask)
            return image.flip(-1), mask.flip(-1)

    class FirstVersion:
        __module__ = "torchvision.transforms.transforms"

        def __call__(self, image: torch.Tensor) -> torch.Tensor:
            return image

    class Kornia:
        __module__ = "kornia.augmentation.container.augment"

        def __call__(self, images: torch.Tensor, masks: torch.Tensor, data_keys: list[str]) -> Any:
            assert data_keys == ["input", "mask"]
            return images.flip(-1), masks.flip(-1)

    class Albumentations:
        __module__ = "albumentations.core.composition"

        def __call__(self, image: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
            assert image.shape == (*mask.shape, 3)
            return {"image": image[:, ::-1], "mask": mask[:, ::-1]}

    tv_tensors = stand_in(
        monkeypatch,
        "torchvision.tv_tensors",
        Image=lambda t: t.as_subclass(Image),
        Mask=lambda t: t.as_subclass(Mask),
    )
    stand_in(monkeypatch, "torchvision", tv_tensors=tv_tensors)
    images, masks = marked()
    for transform in (Flip(), Kornia(), Albumentations()):
        changed, moved = augmented(resolve_augment(transform), images, masks[2:])
        torch.testing.assert_close(changed, images.flip(3))
        torch.testing.assert_close(moved, masks[2:].flip(2))
    with pytest.raises(TypeError, match="torchvision's first version"):
        resolve_augment(FirstVersion())
    with pytest.raises(TypeError, match="'augment' argument must be an Augmentation"):
        resolve_augment("flip")


def test_in_fit(blobs) -> None:
    X, y = blobs
    masks = np.zeros((60, 8, 8), bool)
    masks[:, :3] = True

    def make(augment: Any) -> LVLMVAClassifier:
        clf = LVLMVAClassifier(
            critic=OracleCritic(masks),
            n_align=10,
            epochs=3,
            align_epochs=2,
            batch_size=16,
            random_state=0,
            augment=augment,
        )
        return clf.fit(X, y)

    augmentation = Augmentation(flip=0.0, shift=0.1)
    one, other, plain = make(augmentation), make(augmentation), make(None)
    assert all(
        torch.equal(a, b) for a, b in zip(one.module_.parameters(), other.module_.parameters(), strict=True)
    )
    assert not torch.equal(next(one.module_.parameters()), next(plain.module_.parameters()))
