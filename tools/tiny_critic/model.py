"""The tiny LLaVA itself: a byte-level tokenizer made from the grammar, a CLIP tower, a Llama, their processor."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lvlm_va.critique.tiny.prompt import WORDS_FILE, question
from lvlm_va.critique.tiny.segment_view import SIDE
from tools.tiny_critic.grammar import draw_description, draw_label, reply, vocabulary
from tools.tiny_critic.words import COVERED

PATCH = 8
N_IMAGE_TOKENS = (SIDE // PATCH) ** 2
PAD, START, TURN, END, IMAGE = range(5)
_SPECIAL = ["<pad>", "<s>", "<|im_start|>", "<|im_end|>", "<image>"]
_VOCABULARY_SIZE = 1400
_MAX_POSITIONS = 1024
_CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for part in m['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_tokenizer() -> Any:
    """Return a fast tokenizer of the grammar's words, which can spell any other text byte by byte."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    rng = np.random.default_rng(0)
    texts = ["user\nassistant\n"] * 2
    for number in range(8000):
        description = draw_description(rng, label := draw_label(rng))
        answer = reply(COVERED[number % len(COVERED)], description.says)
        texts.append(f"{question(label if len(label) < 2 else '', description.text)} {answer}")
    pairs = Tokenizer(models.BPE())
    pairs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pairs.decoder = decoders.ByteLevel()
    pairs.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=_VOCABULARY_SIZE,
            min_frequency=4,
            special_tokens=_SPECIAL,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=pairs,
        pad_token=_SPECIAL[PAD],
        bos_token=_SPECIAL[START],
        eos_token=_SPECIAL[END],
        padding_side="left",
        model_max_length=_MAX_POSITIONS,
    )


def build_processor(tokenizer: Any) -> Any:
    """Return the processor that turns chats with 56x56 images into what the model takes."""
    from transformers import CLIPImageProcessorPil, LlavaProcessor

    pixels = CLIPImageProcessorPil(
        size={"shortest_edge": SIDE},
        crop_size={"height": SIDE, "width": SIDE},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    return LlavaProcessor(
        pixels,
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_CHAT,
    )


def build_model(vocabulary_size: int) -> Any:
    """Return the untrained model; its weights come from torch's global generator."""
    from transformers import (
        CLIPVisionConfig,
        GenerationConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
    )

    def sizes(hidden: int, layers: int) -> dict[str, Any]:
        return {
            "hidden_size": hidden,
            "intermediate_size": 2 * hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": 4,
            "initializer_range": 0.05,
        }

    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=CLIPVisionConfig(
                **sizes(64, 3), image_size=SIDE, patch_size=PATCH, projection_dim=64
            ),
            text_config=LlamaConfig(
                **sizes(96, 3),
                num_key_value_heads=4,
                max_position_embeddings=_MAX_POSITIONS,
                vocab_size=vocabulary_size,
                pad_token_id=PAD,
                bos_token_id=START,
                eos_token_id=END,
                tie_word_embeddings=True,
            ),
            image_token_index=IMAGE,
            image_seq_length=N_IMAGE_TOKENS,
            vision_feature_layer=-1,
            tie_word_embeddings=True,
        )
    )
    model.generation_config = GenerationConfig(eos_token_id=END, pad_token_id=PAD, bos_token_id=START)
    return model


def save(model: Any, processor: Any, out: str | os.PathLike[str]) -> None:
    """Write the folder that `transformers` loads: safetensors and JSON, and the words that it knows.

    Weights are kept as float16; the configuration says float32, in which any loader then computes.
    """
    out = Path(out)
    weights = {name: value.detach().half() for name, value in model.named_parameters()}
    model.save_pretrained(out, state_dict=weights)
    model.config.dtype = torch.float32  # which it has just taken from the weights
    model.config.save_pretrained(out)
    processor.save_pretrained(out)
    (out / WORDS_FILE).write_text(json.dumps({"words": vocabulary()}, indent=0) + "\n")
