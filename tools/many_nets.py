"""Explain nets of timm and transformers as they come, and write what came of it into docs/background/nets.md.

    python tools/many_nets.py [--out docs/background/nets.md] [NAME ...]

Weights are random, arithmetic is float64: what counts is which calls a net makes. A net whose relative completeness
error is above 1e-8 without a warning, or that is not left as it was, makes the exit code 1. A library that is not
installed is left out. The page is written after each net; rows of nets that were well are kept where it stands already,
of the same versions.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lvlm_va.attribution import DeepLiftShap

LIMIT = 1e-8
N_IMAGES, N_REFERENCES, N_CLASSES = 2, 2, 5

# Of timm, by the side of the images.
TIMM: dict[int, str] = {
    64: "convnext_atto convnextv2_atto cspresnet50 densenet121 dla34 edgenext_xx_small efficientnet_b0 "
    "efficientnet_lite0 fbnetc_100 fastvit_t8 ghostnet_100 hardcorenas_a hgnetv2_b0 hrnet_w18_small "
    "inception_next_atto lcnet_050 mixnet_s mnasnet_050 mobilenetv2_050 mobilenetv3_small_050 "
    "mobilenetv4_conv_small_035 poolformer_s12 regnetx_002 regnety_002 repghostnet_050 repvgg_a0 dpn48b resnet18 "
    "resnetv2_18 rexnet_100 selecsls42b semnasnet_075 skresnet18 starnet_s1 tf_efficientnetv2_b0 tinynet_e vovnet39a "
    "mobilevit_xxs mobilevitv2_050 efficientvit_b0 gernet_s legacy_seresnet18 mobileone_s0 pvt_v2_b0 repvit_m0_9 "
    "resnest14d res2net50_14w_8s caformer_s18 mambaout_femto vgg11 xception41 nf_regnet_b0 eca_resnext26ts "
    "fasternet_t0 shvit_s1 swiftformer_xs",
    224: "levit_128s efficientformerv2_s0",
    240: "crossvit_tiny_240",
}
# The same, of those that fix the side when they are made.
TIMM_FIXED = (
    "coat_lite_tiny deit_tiny_patch16_224 pit_ti_224 swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 "
    "vit_tiny_patch16_224 xcit_nano_12_p16_224 mixer_s32_224 resmlp_12_224 gmlp_ti16_224 cait_xxs24_224 convit_tiny "
    "visformer_tiny eva02_tiny_patch14_224 tnt_s_legacy_patch16_224"
)


def timm_nets() -> Iterator[tuple[str, int, Callable[[], nn.Module]]]:
    """Yield name, side and maker of nets of timm."""
    import timm

    fixed = {"img_size": 64}
    listed: list[tuple[str, int, dict[str, int]]] = [
        (name, side, {}) for side, names in TIMM.items() for name in names.split()
    ]
    for name, side, more in listed + [(name, 64, fixed) for name in TIMM_FIXED.split()]:
        yield (
            f"timm {name}",
            side,
            lambda name=name, more=more: timm.create_model(name, num_classes=N_CLASSES, **more),
        )


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
    "Bit": {"embedding_size": 32, "hidden_sizes": [32, 64], "depths": [1, 1], "num_groups": 4},
    "PoolFormer": {},
    "Segformer": {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]},
    "MobileNetV1": {"depth_multiplier": 0.25},
    "MobileNetV2": {"depth_multiplier": 0.25},
    "MobileViT": {"hidden_sizes": [16, 24, 32], "neck_hidden_sizes": [8, 16, 24, 32, 40, 48, 64]},
    "MobileViTV2": {"width_multiplier": 0.5},
    "EfficientNet": {"width_coefficient": 0.5, "depth_coefficient": 0.5, "hidden_dim": 640},
    "FocalNet": {"embed_dim": 16, "depths": [1, 1, 1, 1]},
    "Pvt": {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 2, 3, 4]},
    "PvtV2": {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 2, 3, 4]},
    "SwiftFormer": {"depths": [1, 1, 1, 1]},
    "Cvt": {"embed_dim": [16, 24, 32], "depth": [1, 2, 3], "num_heads": [1, 2, 2]},
    "DonutSwin": {"embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4},
    "Hiera": {"embed_dim": 16, "depths": [1, 1, 1, 1], "image_size": [64, 64]},
    "HGNetV2": {},
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
                return model(config(**{"image_size": 64, **options}, num_labels=N_CLASSES))

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


def settle(module: nn.Module, images: Tensor) -> nn.Module:
    """Give constant parameters other values, and batch norms the statistics of images.

    As nets are made, many a branch counts for nothing: its last weight is zero, or its scale 1e-6.
    """
    module = module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            if bool((parameter == parameter.flatten()[0]).all()):
                parameter.normal_(1.0 if parameter.any() else 0.0, 0.2)
        for part in module.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.momentum = 1.0
        module.train()(images)
    return module.eval()


def row(name: str, side: int, make: Callable[[], nn.Module]) -> str:
    """Return a net's row of the table."""
    torch.manual_seed(0)
    x = torch.rand(N_IMAGES, 3, side, side, dtype=torch.float64)
    references = torch.rand(N_REFERENCES, 3, side, side, dtype=torch.float64)
    module = settle(make(), torch.cat([x, references]))
    before = held(module)
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        explanation = DeepLiftShap().attribute(module, x, torch.arange(N_IMAGES), references)
    messages = " ".join(
        str(warning.message) for warning in record if "attributions miss" in str(warning.message)
    )
    named = ", ".join(re.findall(r"(\w+) \([\d.e+-]+\)", messages)) or messages or "-"
    left = "" if held(module) == before else CHANGED
    return f"| {name} | {explanation.relative_completeness_error():.0e} | {named}{left} |"


def well(line: str) -> bool:
    """Return whether a row says that a net was explained, or what was not, and the net left as it was."""
    _, _, error, named, _ = (cell.strip() for cell in line.split("|"))
    return error != "-" and CHANGED not in named and (float(error) <= LIMIT or named != "-")


def main() -> int:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="words that a net's name must contain one of")
    parser.add_argument("--out", type=Path, help="a file to write the page into")
    options = parser.parse_args()
    installed = [name for name in ("timm", "transformers") if importlib.util.find_spec(name)]
    versions = ", ".join(
        f"{name} {importlib.import_module(name).__version__}" for name in ["torch", *installed]
    )
    page = PAGE.format(versions=versions, **globals())
    text = options.out.read_text(encoding="utf-8") if options.out and options.out.exists() else ""
    kept = text.removeprefix(page).splitlines() if text.startswith(page) else []
    rows = {line.split("|")[1].strip(): line for line in kept if well(line)}
    nets = [net for name in installed for net in globals()[f"{name}_nets"]()]
    chosen = [net for net in nets if not options.names or any(word in net[0] for word in options.names)]
    for name, side, make in chosen:
        if name in rows:
            continue
        try:
            rows[name] = row(name, side, make)
        except Exception as error:
            said = " ".join(str(error).replace("|", "/").split())
            rows[name] = f"| {name} | - | {type(error).__name__}: {said[:200]} |"
        sys.stdout.write(rows[name] + "\n")
        sys.stdout.flush()
        if options.out:
            lines = "".join(rows[name] + "\n" for name, *_ in nets if name in rows)
            options.out.write_text(page + lines, encoding="utf-8")
        gc.collect()
    failed = [name for name, *_ in chosen if not well(rows[name])]
    sys.stderr.write(f"{len(chosen)} nets, not well: {', '.join(failed) or 'none'}\n")
    return 1 if failed else 0


CHANGED = "; module changed"
PAGE = """# Nets that were explained as they come

Made by `python tools/many_nets.py --out docs/background/nets.md`, with {versions}.
Random weights, float64, {N_IMAGES} images against {N_REFERENCES} references.
Parameters that a new net has constant (such as the zeros that end its branches)
were drawn too, and batch norms took the images' statistics, so that every branch counts. Each net was left as it was:
the same parameters, flags, buffers and hooks.

- **error**: relative completeness error of DeepLIFT SHAP, the largest difference between the sum of an image's
  attributions and the change of its logit, over the mean change. Up to 1e-8 it is rounding;
  above, a logit may hardly change (in MobileViT, drawn so, by 3e-14; in transformers' EfficientNet
  not at all), and rounding is large beside that. efficientvit_b0 computes its attention in float32
  whatever its weights are in; without that cast its error is 3e-14.
- **named**: calls that a warning named; they have no rule, or could not be met.

| net | error | named |
|---|---|---|
"""

if __name__ == "__main__":
    sys.exit(main())
