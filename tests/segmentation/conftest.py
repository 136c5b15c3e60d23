"""A Segment Anything model with random weights, small enough to be made anew in a test."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import (
    SamConfig,
    SamImageProcessorPil,
    SamMaskDecoderConfig,
    SamModel,
    SamPromptEncoderConfig,
    SamVisionConfig,
)

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_dim": 64}
# Weights large enough that a mask depends on the image and on the point.
SPREAD = 0.3


@pytest.fixture(scope="session")
def tiny_sam(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a checkpoint that sees 64x64 pixels; most of its masks are neither likely nor stable."""
    config = SamConfig(
        vision_config=SamVisionConfig(
            **SIZES, output_channels=32, image_size=64, patch_size=8, num_pos_feats=16, window_size=4,
            global_attn_indexes=[1], initializer_range=SPREAD,
        ),
        prompt_encoder_config=SamPromptEncoderConfig(
            hidden_size=32, image_size=64, patch_size=8, mask_input_channels=4
        ),
        mask_decoder_config=SamMaskDecoderConfig(**SIZES, iou_head_hidden_dim=32, iou_head_depth=2),
        initializer_range=SPREAD,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SamModel(config)
    folder = tmp_path_factory.mktemp("tiny_sam")
    model.save_pretrained(folder)
    sizes = {"size": {"longest_edge": 64}, "pad_size": {"height": 64, "width": 64}}
    SamImageProcessorPil(**sizes).save_pretrained(folder)
    return folder
