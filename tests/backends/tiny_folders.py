"""Checkpoints of real architectures with random weights, small enough to be made anew in a test."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessorPil,
    Gemma3Processor,
    Gemma3TextConfig,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessorPil,
    Idefics3Processor,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    SiglipVisionConfig,
)

PAD, BOS, END, IMAGE = "<pad>", "<s>", "<|end|>", "<image>"
WORDS = ("spurious", "relevant", "Yes", "No")  # one token each; "unsure" takes six
TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n"
    "{% for part in m['content'] %}{{ MARK if part['type'] == 'image' else part['text'] }}{% endfor %}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
# Weights large enough that a reply depends on every image and word.
SPREAD = 0.4
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


def build(architecture: str, folder: Path, seed: int = 0) -> Path:
    """Write a random checkpoint of an architecture, and return its folder."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model, processor = BUILDERS[architecture]()
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def tokenizer(special: tuple[str, ...] = (), **named: str) -> PreTrainedTokenizerFast:
    """Return one of bytes, a few words, and the tokens that frame a conversation."""
    framing = [PAD, BOS, END, IMAGE, "<|system|>", "<|user|>", "<|assistant|>", *special, *named.values()]
    framing = list(dict.fromkeys(framing))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate([*framing, *alphabet])}, merges=[]))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in framing])
    bpe.add_tokens(list(WORDS))
    extra = {"extra_special_tokens": named} if named else {}
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, pad_token=PAD, bos_token=BOS, eos_token=END, model_max_length=4096, **extra
    )


def _text(tokens: PreTrainedTokenizerFast) -> dict[str, object]:
    ids = {name: getattr(tokens, f"{name}_token_id") for name in ("pad", "bos", "eos")}
    ids = {f"{name}_token_id": i for name, i in ids.items()}
    return {
        **SIZES,
        **ids,
        "num_key_value_heads": 4,
        "max_position_embeddings": 4096,
        "vocab_size": len(tokens),
        "initializer_range": SPREAD,
    }


def _llava():
    tokens = tokenizer()
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            **SIZES, image_size=28, patch_size=14, projection_dim=32, initializer_range=SPREAD
        ),
        text_config=LlamaConfig(**_text(tokens)),
        image_token_index=tokens.convert_tokens_to_ids(IMAGE),
        image_seq_length=4,
        vision_feature_layer=-1,
    )
    images = CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    processor = LlavaProcessor(
        images,
        tokens,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE.replace("MARK", "'<image>'"),
    )
    return LlavaForConditionalGeneration(config), processor


def _idefics3():
    special = ["<fake_token_around_image>", "<global-img>", "<end_of_utterance>"]
    special += [f"<row_{i}_col_{j}>" for i in range(1, 7) for j in range(1, 7)]
    tokens = tokenizer(tuple(special))
    images = Idefics3ImageProcessorPil(size={"longest_edge": 56}, max_image_size={"longest_edge": 28})
    processor = Idefics3Processor(
        images, tokens, image_seq_len=4, chat_template=TEMPLATE.replace("MARK", "'<image>'")
    )
    config = Idefics3Config(
        vision_config={**SIZES, "image_size": 28, "patch_size": 7, "initializer_range": SPREAD},
        text_config=LlamaConfig(**_text(tokens)),
        image_token_id=tokens.convert_tokens_to_ids(IMAGE),
        scale_factor=2,
        pad_token_id=tokens.pad_token_id,
        tie_word_embeddings=False,
    )
    return Idefics3ForConditionalGeneration(config), processor


def _gemma3():
    named = {"boi_token": "<boi>", "eoi_token": "<eoi>", "image_token": IMAGE}
    tokens = tokenizer(**named)
    images = Gemma3ImageProcessorPil(size={"height": 28, "width": 28})
    processor = Gemma3Processor(
        images, tokens, image_seq_length=4, chat_template=TEMPLATE.replace("MARK", "'<boi>'")
    )
    config = Gemma3Config(
        text_config=Gemma3TextConfig(
            **_text(tokens),
            head_dim=8,
            query_pre_attn_scalar=8,
            sliding_window=16,
            layer_types=["sliding_attention", "full_attention"],
        ),
        vision_config=SiglipVisionConfig(**SIZES, image_size=28, patch_size=7, initializer_range=SPREAD),
        mm_tokens_per_image=4,
        image_token_index=tokens.convert_tokens_to_ids(IMAGE),
        boi_token_index=tokens.convert_tokens_to_ids("<boi>"),
        eoi_token_index=tokens.convert_tokens_to_ids("<eoi>"),
        initializer_range=SPREAD,
        tie_word_embeddings=False,  # tied ones say the last word again and again
    )
    model = Gemma3ForConditionalGeneration(config)
    # Begins as zeros, with which every image would look the same.
    torch.nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight, std=SPREAD)
    return model, processor


BUILDERS = {"llava": _llava, "idefics3": _idefics3, "gemma3": _gemma3}
