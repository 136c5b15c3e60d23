"""
Compare methods
===============

Is it worth it? `lvlm_va.comparison` holds what else there is, each as an estimator with the same parameters. They differ in what they
must be told: nothing, the group of every image, the mask of every image. This method needs a critic that judges some.

The figures are of one seed of a small data set, to show how it is done; :doc:`/background/results` has the comparison.
"""

import time

import matplotlib.pyplot as plt

from lvlm_va import LVLMVAClassifier, RegionCritic
from lvlm_va.comparison import (
    CounterexampleClassifier,
    ERMClassifier,
    GroundTruthRRRClassifier,
)
from lvlm_va.datasets import decoy_digits
from lvlm_va.metrics import alignment_score, group_accuracies

train, test = decoy_digits("train"), decoy_digits("test")
common = {"epochs": 20, "batch_size": 32, "random_state": 0}
methods = {
    "plain training": (ERMClassifier("mlp", **common), {}),
    "counterexamples, all masks": (
        CounterexampleClassifier("mlp", **common),
        {"masks": train.masks},
    ),
    "right reasons, all masks": (
        GroundTruthRRRClassifier("mlp", **common),
        {"masks": train.masks},
    ),
    "this method, 150 critiques": (
        LVLMVAClassifier(
            "mlp",
            critic=RegionCritic({"irrelevant": ["corners"]}),
            n_align=150,
            sampler="random",
            align_epochs=20,
            **common,
        ),
        {},
    ),
}

# %%
# Fit all
# -------
# Two measures, which are not the same: *accuracy*, also of the worst *group* (images of one class with one shade of the patch), says
# how right a classifier is where the shortcut misleads; *alignment* is the share of absolute attribution outside the patch, and says
# where it looks.
worst, looks = {}, {}
for name, (method, told) in methods.items():
    began = time.perf_counter()
    method.fit(train.images, train.labels, **told)
    seconds = time.perf_counter() - began
    found = group_accuracies(
        test.labels, method.predict(test.images), groups=test.groups
    )
    worst[name] = found.worst
    looks[name] = alignment_score(
        method.explain(test.images[:200]).attributions, test.masks[:200]
    )
    print(
        f"{name:28} accuracy {method.score(test.images, test.labels):.3f}, worst group {worst[name]:.3f}, "
        f"alignment {looks[name]:.3f}, {seconds:.0f} s"
    )

# %%
fig, ax = plt.subplots(figsize=(8, 3), layout="constrained")
ax.barh(
    [i + 0.2 for i in range(len(worst))],
    list(worst.values()),
    height=0.4,
    label="worst group",
)
ax.barh(
    [i - 0.2 for i in range(len(looks))],
    list(looks.values()),
    height=0.4,
    label="alignment",
)
ax.set(yticks=range(len(worst)), yticklabels=list(worst), xlim=(0, 1))
ax.invert_yaxis()
ax.legend(loc="lower left")

# %%
# Methods that are told groups (``DFRClassifier``, ``SUBGClassifier``, ``GroupDROClassifier``) need images of every group, and say so
# where there are none, as here: `lvlm_va.comparison.NotApplicableError`. Whole tables over data sets and seeds, with figures:
#
# .. code-block:: sh
#
#    lvlm-va experiment main --quick --seeds 3 --out main
