"""Segments by a Segment Anything model: what is proposed, whose pixel is whose, and where the model comes from."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.base import clone
from transformers import pipeline

from lvlm_va import LVLMVAClassifier, OracleCritic
from lvlm_va.common.fingerprint import fingerprint
from lvlm_va.segmentation import SAM, resolve_segmenter
from lvlm_va.segmentation.sam_masks import (
    bounding_boxes,
    cells_of_masks,
    first_of_each,
    load_sam,
    propose_masks,
    stability,
)

# What lets masks of random weights pass.
LENIENT = {"points_per_side": 3, "stability_score_thresh": 0.0, "box_nms_thresh": 1.0}


def picture(seed: int, channels: int = 3, height: int = 40, width: int = 28) -> torch.Tensor:
    """Return one image (1, C, H, W) of blocks of colour."""
    blocks = np.random.default_rng(seed).random((1, channels, 4, 4))
    return torch.nn.functional.interpolate(torch.from_numpy(blocks), (height, width))


def proposed(tiny_sam: Path, image: torch.Tensor, **options) -> torch.Tensor:
    settings = {
        "points_per_side": 4,
        "points_per_batch": 5,
        "pred_iou_thresh": 0.9,
        "stability_score_thresh": 0.02,
        "box_nms_thresh": 1.0,
    }
    return propose_masks(*load_sam(tiny_sam, "cpu"), image, **{**settings, **options})


def test_the_same_masks_as_from_transformers_own_steps(tiny_sam: Path):
    model, processor = load_sam(tiny_sam, "cpu")
    rgb = (255 * picture(0)[0]).byte()
    image = Image.fromarray(rgb.permute(1, 2, 0).numpy())
    generator = pipeline("mask-generation", model=model, image_processor=processor, device="cpu")
    expected = []
    for inputs in generator.preprocess(image, points_per_batch=5, points_per_crop=4):
        with torch.no_grad():
            found = generator._forward(inputs, pred_iou_thresh=0.9, stability_score_thresh=0.02)
        for rle in found["masks"]:
            counts, values = rle["counts"], np.arange(len(rle["counts"])) % 2 == 1
            expected.append(np.repeat(values, counts).reshape(rle["size"][::-1]).T)
    masks = proposed(tiny_sam, rgb)
    assert 2 <= len(masks) == len(expected) < 48
    assert {mask.numpy().tobytes() for mask in masks} == {mask.tobytes() for mask in expected}


def test_thresholds_drop_masks(tiny_sam: Path):
    rgb = (255 * picture(0)[0]).byte()
    everything = proposed(tiny_sam, rgb, pred_iou_thresh=0.0, stability_score_thresh=0.0)
    for stricter in ({"pred_iou_thresh": 2.0}, {"stability_score_thresh": 0.1}, {"box_nms_thresh": 0.5}):
        options = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, **stricter}
        assert len(proposed(tiny_sam, rgb, **options)) < len(everything)
    assert proposed(tiny_sam, rgb, pred_iou_thresh=1e9).shape == (0, 40, 28)


def test_stability_is_the_iou_of_two_cut_offs():
    logits = torch.tensor([[[2.0, 0.5], [-0.5, -2.0]], [[2.0, 3.0], [-3.0, -2.0]], [[-2.0] * 2] * 2])
    assert stability(logits)[:2].tolist() == pytest.approx([1 / 3, 1.0])
    assert stability(logits)[2].isnan()


def test_bounding_boxes():
    masks = torch.zeros(2, 5, 6, dtype=torch.bool)
    masks[0, 1, 2] = masks[0, 3, 4] = masks[1] = True
    assert bounding_boxes(masks).tolist() == [[1, 2, 4, 5], [0, 0, 5, 6]]


corners = st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(1, 4), st.integers(1, 4))


@given(st.lists(corners, max_size=8), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_each_object_stays_once(corners, threshold):
    boxes = [(top, left, top + height, left + width) for top, left, height, width in corners]
    pixels = torch.zeros(len(boxes), 8, 8, dtype=torch.bool)
    for box, mask in zip(boxes, pixels, strict=True):
        mask[box[0] : box[2], box[1] : box[3]] = True
    stays = first_of_each(torch.tensor(boxes, dtype=torch.int64).reshape(-1, 4), threshold).tolist()
    for i in range(len(boxes)):
        alike = [
            stays[j] and int((pixels[i] & pixels[j]).sum()) > threshold * int((pixels[i] | pixels[j]).sum())
            for j in range(i)
        ]
        assert stays[i] != any(alike)


def test_the_smallest_mask_has_the_pixel_and_the_rest_is_background():
    masks = torch.zeros(4, 3, 4, dtype=torch.bool)
    masks[0, 0, 0] = True  # as small as the next, and better
    masks[1, 0, 0] = True
    masks[2, :2, :2] = True
    masks[3, :, :3] = True
    cells = cells_of_masks(masks)
    assert cells[0, 0] != cells[0, 1] != cells[2, 0] != cells[0, 3] == 1
    assert len(cells.unique()) == 4
    assert (cells == cells[0, 1]).sum() == 3
    assert (cells == cells[2, 0]).sum() == 5
    assert cells_of_masks(masks[:0]).unique().tolist() == [1]
    assert torch.equal(cells_of_masks(masks[:1]) > 1, masks[0])
    assert int(cells_of_masks(masks[:2])[0, 0]) == 3  # painted last: the first


def test_it_follows_the_image_and_not_its_batch_mates(tiny_sam: Path):
    segmenter = SAM(tiny_sam, **LENIENT)
    images = torch.cat([picture(0), picture(1)])
    attributions = torch.ones(2, 1, 40, 28)
    state = torch.get_rng_state()
    found = segmenter.segment(attributions, images, 0)
    assert torch.equal(torch.get_rng_state(), state)
    assert (found.n_segments > 2).all()
    assert not torch.equal(found.labels[0], found.labels[1])
    swapped = SAM(tiny_sam, **LENIENT).segment(attributions, images.flip(0), 1)
    assert torch.equal(swapped.labels.flip(0), found.labels)
    few = replace(segmenter, n_segments=2).segment(attributions, images, 0)
    assert few.shares.shape == (2, 2)
    assert torch.equal(few.labels, found.labels.where(found.labels <= 2, 0))


def test_grey_images_are_shown_in_grey(tiny_sam: Path):
    segmenter, grey = SAM(tiny_sam, **LENIENT), picture(0, channels=1)
    attributions = torch.ones(1, 1, 40, 28)
    found = segmenter.segment(attributions, grey, 0)
    for channels in (2, 3):
        repeated = segmenter.segment(attributions, grey.expand(1, channels, 40, 28), 0)
        assert torch.equal(repeated.labels, found.labels)


def test_standardised_images_are_shown_stretched(tiny_sam: Path):
    segmenter, image = SAM(tiny_sam, **LENIENT), picture(0)
    stretched = (image - image.min()) / (image.max() - image.min())
    attributions = torch.ones(1, 1, 40, 28)
    found = segmenter.segment(attributions, (stretched - 0.5) / 0.25, 0)
    assert torch.equal(found.labels, segmenter.segment(attributions, stretched, 0).labels)


def test_images_are_checked(tiny_sam: Path):
    with pytest.raises(ValueError, match=r"'images' argument must have shape"):
        SAM(tiny_sam).segment(torch.ones(1, 1, 6, 6), torch.zeros(1, 1, 6, 5), 0)


def test_names_and_copies(tiny_sam: Path):
    segmenter = resolve_segmenter(f"sam:{tiny_sam}")
    assert segmenter == SAM(str(tiny_sam))
    ones = torch.ones(1, 1, 8, 8)
    segmenter.segment(ones, ones, 0)
    for other in (copy.deepcopy(segmenter), pickle.loads(pickle.dumps(segmenter))):
        assert other == segmenter
        assert "_model" not in vars(other)
        assert torch.equal(other.segment(ones, ones, 0).labels, segmenter.segment(ones, ones, 0).labels)
    clone(LVLMVAClassifier(segmenter=segmenter))
    with pytest.raises(ValueError, match=r"'segmenter' argument must be one of .*'sam:FOLDER'"):
        resolve_segmenter("sam")


def test_the_fingerprint_is_of_the_content(tiny_sam: Path, tmp_path: Path):
    moved = tmp_path / "moved"
    shutil.copytree(tiny_sam, moved)
    key = fingerprint(SAM(tiny_sam))
    assert fingerprint(SAM(moved, points_per_batch=7, device="cpu")) == key
    assert fingerprint(SAM(moved, points_per_side=7)) != key
    weights = bytearray((moved / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (moved / "model.safetensors").write_bytes(weights)
    assert fingerprint(SAM(moved)) != key


class TestErrors:
    def test_a_hub_name_says_how_to_fetch_it(self):
        with pytest.raises(
            FileNotFoundError, match=r"'checkpoint' argument.*Nothing is downloaded.*hf download"
        ):
            resolve_segmenter("sam:facebook/sam-vit-base")

    def test_no_path(self):
        with pytest.raises(TypeError, match=r"'checkpoint' argument must be a folder .* Got 3 instead"):
            SAM(3)

    def test_another_model(self, tmp_path: Path):
        with pytest.raises(ValueError, match=r"config.json names no model"):
            SAM(tmp_path)
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
        with pytest.raises(ValueError, match=r"which holds a model of type 'vit'"):
            SAM(tmp_path)

    @pytest.mark.parametrize("missing", ["model.safetensors", "preprocessor_config.json"])
    def test_missing_files(self, tiny_sam: Path, tmp_path: Path, missing: str):
        shutil.copytree(tiny_sam, tmp_path / "copy")
        (tmp_path / "copy" / missing).unlink()
        ones = torch.ones(1, 1, 8, 8)
        with pytest.raises(ValueError, match=r"'checkpoint' argument .* which does not load"):
            SAM(tmp_path / "copy").segment(ones, ones, 0)

    def test_missing_weights(self, tiny_sam: Path, tmp_path: Path):
        from safetensors.torch import load_file, save_file

        shutil.copytree(tiny_sam, tmp_path / "copy")
        path = tmp_path / "copy" / "model.safetensors"
        weights = load_file(path)
        del weights["mask_decoder.iou_token.weight"]
        save_file(weights, path, {"format": "pt"})
        ones = torch.ones(1, 1, 8, 8)
        with pytest.raises(ValueError, match=r"which lacks weights: \['mask_decoder.iou_token.weight'\]"):
            SAM(tmp_path / "copy").segment(ones, ones, 0)

    @pytest.mark.parametrize(
        ("parameters", "error", "message"),
        [
            ({"n_segments": 0}, ValueError, "'n_segments' argument must be at least 1"),
            ({"points_per_side": 1.5}, TypeError, "'points_per_side' argument must be an integer"),
            ({"points_per_batch": 0}, ValueError, "'points_per_batch'"),
            ({"pred_iou_thresh": -1}, ValueError, "'pred_iou_thresh'"),
            ({"stability_score_thresh": 1.0}, ValueError, "'stability_score_thresh'"),
            ({"box_nms_thresh": "a"}, TypeError, "'box_nms_thresh' argument must be a number"),
            ({"min_share": 1}, ValueError, "'min_share'"),
            ({"effect": "negative"}, ValueError, "'effect'"),
            ({"device": "tpux"}, ValueError, "'device' argument must be .* Got 'tpux' instead"),
        ],
    )
    def test_parameters(self, tiny_sam: Path, parameters, error, message):
        with pytest.raises(error, match=message):
            SAM(tiny_sam, **parameters)


def test_the_estimator_from_end_to_end(tiny_sam: Path, blobs, tmp_path: Path):
    X, y = blobs
    masks = np.zeros((60, 8, 8), bool)
    masks[:, :, :4] = True
    defaults = {"epochs": 2, "align_epochs": 1, "n_align": 8, "random_state": 0, "run_dir": tmp_path}
    segmenter = SAM(tiny_sam, **LENIENT, effect="absolute")
    clf = LVLMVAClassifier("mlp", critic=OracleCritic(masks), segmenter=segmenter, propagate=20, **defaults)
    clf.fit(X, y)
    assert int(clf.segments_.n_segments.sum()) == len(clf.verdicts_.verdicts) >= 8
    again = LVLMVAClassifier("mlp", critic=OracleCritic(masks), segmenter=segmenter, propagate=20, **defaults)
    assert torch.equal(again.fit(X, y).segments_.labels, clf.segments_.labels)
    assert len(list(tmp_path.glob("segment-*"))) == 1
