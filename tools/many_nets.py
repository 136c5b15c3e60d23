"""Explain nets of timm and transformers as they come, and write what came of it into docs/nets.md.

    python tools/many_nets.py [--out docs/nets.md] [NAME ...]

Weights are random, arithmetic is float64: what counts is which calls a net makes. A net whose relative completeness
error is above 1e-8 without a warning, or that is not left as it was, makes the exit code 1. A library that is not
installed is left out.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lvlm_va.attribution import DeepLiftShap
from lvlm_va.modules.logits import forward_logits

LIMIT = 1e-8
N_IMAGES, N_REFERENCES, N_CLASSES = 2, 2, 5

# Of timm, by the side of the images. Nets that fix it when they are made are told.
TIMM: dict[int, str] = {
    64: "convnext_atto convnextv2_atto cspresnet50 densenet121 dla34 edgenext_xx_small efficientnet_b0 "
    "efficientnet_lite0 fbnetc_100 fastvit_t8 ghostnet_100 hardcorenas_a hgnetv2_b0 hrnet_w18_small "
    "inception_next_atto lcnet_050 mixnet_s mnasnet_050 mobilenetv2_050 mobilenetv3_small_050 "
    "mobilenetv4_conv_small_035 "
    "poolformer_s12 regnetx_002 regnety_002 repghostnet_050 dpn48b resnet18 resnetv2_18 rexnet_100 "
    "selecsls42b semnasnet_075 skresnet18 starnet_s1 tf_efficientnetv2_b0 tinynet_e vovnet39a",
    224: "coat_lite_tiny deit_tiny_patch16_224 levit_128s mobilevit_xxs pit_ti_224 swin_tiny_patch4_window7_224 "
    "vit_tiny_patch16_224 xcit_nano_12_p16_224",
}


def timm_nets() -> Iterator[tuple[str, int, Callable[[], nn.Module]]]:
    """Yield name, side and maker of nets of timm."""
    import timm

    for side, names in TIMM.items():
        for name in names.split():
            yield f"timm {name}", side, lambda name=name: timm.create_model(name, num_classes=N_CLASSES)


# Of transformers: name of the model's family, and what makes it small.
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
TRANSFORMERS: dict[str, dict[str, Any]] = {
    "ViT": SMALL,
    "ViTMSN": SMALL,
    "DeiT": SMALL,
    "Beit": SMALL,
    "Data2VecVision": SMALL,
    "Dinov2": SMALL,
    "Dinov2WithRegisters": SMALL,
    "IJepa": SMALL,
    "ConvNext": {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1]},
    "ConvNextV2": {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1]},
    "Swin": {"embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4},
    "Swinv2": {"embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4},
    "ResNet": {"embedding_size": 16, "hidden_sizes": [16, 24], "depths": [1, 1], "layer_type": "basic"},
    "RegNet": {"embedding_size": 16, "hidden_sizes": [16, 24], "depths": [1, 1], "groups_width": 8},
    "BiT": {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1]},
    "PoolFormer": {},
    "Segformer": {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]},
    "MobileNetV1": {"depth_multiplier": 0.25},
    "MobileNetV2": {"depth_multiplier": 0.25},
    "MobileViT": {"hidden_sizes": [16, 24, 32], "neck_hidden_sizes": [8, 16, 24, 32, 40, 48, 64]},
    "MobileViTV2": {"width_multiplier": 0.5},
    "EfficientNet": {"width_coefficient": 0.5, "depth_coefficient": 0.5},
    "FocalNet": {"embed_dim": 16, "depths": [1, 1, 1, 1]},
    "PvtV2": {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]},
    "SwiftFormer": {"depths": [1, 1, 1, 1]},
    "Cvt": {"embed_dim": [16, 24, 32], "depth": [1, 1, 1], "num_heads": [1, 2, 2]},
    "Levit": {},
    "TextNet": {},
}


def transformers_nets() -> Iterator[tuple[str, int, Callable[[], nn.Module]]]:
    """Yield name, side and maker of nets of transformers."""
    import transformers

    for name, options in TRANSFORMERS.items():
        config_class = getattr(transformers, f"{name}Config", None)
        model_class = getattr(transformers, f"{name}ForImageClassification", None)
        if config_class is not None and model_class is not None:

            def make(
                model: Any = model_class, config: Any = config_class, options: Any = options
            ) -> nn.Module:
                return model(config(**options, image_size=64, num_labels=N_CLASSES))

            yield f"transformers {name}", 64, make


def held(module: nn.Module) -> list[tuple[Any, ...]]:
    """Return all that must be the same objects, of the same values, after an explanation."""
    facts: list[tuple[Any, ...]] = []
    for part in module.modules():
        facts.append((part.training, *part._forward_hooks, *part._forward_pre_hooks, *part._backward_hooks))
        for key, value in {**vars(part), **part._parameters, **part._buffers}.items():
            if isinstance(value, Tensor):
                facts.append(
                    (
                        key,
                        id(value),
                        type(value),
                        value.requires_grad,
                        value._version,
                        float(value.detach().sum()),
                    )
                )
    return facts


def seconds(function: Callable[[], object]) -> float:
    """Return the time of a second call."""
    function()
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def row(name: str, side: int, make: Callable[[], nn.Module]) -> tuple[str, bool]:
    """Return a net's row of the table, and whether all is well."""
    torch.manual_seed(0)
    module = make().double().eval()
    x = torch.rand(N_IMAGES, 3, side, side, dtype=torch.float64)
    references = torch.rand(N_REFERENCES, 3, side, side, dtype=torch.float64)
    target = torch.arange(N_IMAGES)
    before = held(module)
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        explanation = DeepLiftShap().attribute(module, x, target, references)
    messages = " ".join(
        str(warning.message) for warning in record if "attributions miss" in str(warning.message)
    )
    error, same = explanation.relative_completeness_error(), held(module) == before

    module.requires_grad_(False)

    def gradient() -> None:
        leaf = x.clone().requires_grad_()
        torch.autograd.grad(forward_logits(module, leaf).gather(1, target[:, None]).sum(), leaf)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ratio = seconds(lambda: DeepLiftShap().attribute(module, x, target, references)) / seconds(gradient)
    named = ", ".join(re.findall(r"(\w+) \([\d.e+-]+\)", messages)) or messages or "-"
    well = same and (error <= LIMIT or named != "-")
    left = "" if same else ", module changed"
    return f"| {name} | {error:.0e} | {ratio:.1f} | {named}{left} |", well


def main() -> int:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="words that a net's name must contain one of")
    parser.add_argument("--out", type=Path, help="a file to write the page into")
    options = parser.parse_args()
    installed = [name for name in ("timm", "transformers") if importlib.util.find_spec(name)]
    nets = [net for name in installed for net in globals()[f"{name}_nets"]()]
    rows, failed = [], []
    for name, side, make in nets:
        if options.names and not any(word in name for word in options.names):
            continue
        try:
            line, well = row(name, side, make)
        except Exception as error:
            line, well = f"| {name} | - | - | {type(error).__name__}: {str(error)[:200]} |", False
        rows.append(line)
        failed += [] if well else [name]
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
        gc.collect()
    if options.out:
        versions = ", ".join(
            f"{name} {importlib.import_module(name).__version__}" for name in ["torch", *installed]
        )
        options.out.write_text(
            PAGE.format(rows="\n".join(rows), versions=versions, **globals()), encoding="utf-8"
        )
    sys.stderr.write(f"{len(rows)} nets, not well: {', '.join(failed) or 'none'}\n")
    return 1 if failed else 0


PAGE = """# Nets that were explained as they come

Made by `python tools/many_nets.py --out docs/nets.md`, with {versions}. Random weights, float64, {N_IMAGES} images
against {N_REFERENCES} references. Each net was left as it was: the same parameters, flags, buffers and hooks.

- **error**: relative completeness error of DeepLIFT SHAP, the largest difference between the sum of an image's
  attributions and the change of its logit, over the mean change. Up to 1e-8 it is rounding.
- **time**: of the explanation, over that of one gradient of the same images.
- **named**: calls that a warning named; they have no rule, or could not be met.

| net | error | time | named |
|---|---|---|---|
{rows}
"""

if __name__ == "__main__":
    sys.exit(main())
