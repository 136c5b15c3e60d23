"""Seconds of an audit, stage by stage: ResNet-18 on 2,000 radiographs of 64 x 64 pixels.

``python -m benchmarks.audit`` trains the net for an epoch, which is not counted, and audits it on as many other images.

Floor, by count: explaining an image against one reference of its own is a forward and a backward of two images, six
forwards in all; 24 families with 50 pairs and two forwards each, and 8 of them with 150 pairs and six, are 9,600
forwards. So 2,000 images cost some 12,000 + 9,600 forwards, and grouping on top.
"""

from __future__ import annotations

import sys
import time

import torch

from lvlm_va import LVLMVAClassifier, audit
from lvlm_va.datasets import tagged_radiographs
from lvlm_va.modules.logits import predict_logits

N, SIDE = 2000, 64


def main() -> None:
    """Print the seconds of each stage, of all, and of as many plain forwards."""
    train, other = (tagged_radiographs("train", N, SIDE, seed) for seed in (0, 1))
    clf = LVLMVAClassifier("resnet18", epochs=1, batch_size=32, lr=1e-3, random_state=0)
    clf.fit(train.images, train.labels)
    start = time.perf_counter()
    found = audit(clf, other.images, other.labels, n_images=N)
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    predict_logits(clf.module_, torch.from_numpy(other.images), batch_size=64)
    forwards = time.perf_counter() - start
    lines = [
        f"{torch.get_num_threads()} threads, {len(found.families)} families of {len(found.table)} regions"
    ]
    lines += [f"{stage}: {spent:.1f} s" for stage, spent in found.seconds.items()]
    lines += [f"all: {seconds:.1f} s, {seconds / forwards:.1f} times {N} forwards ({forwards:.1f} s)"]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
