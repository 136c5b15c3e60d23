"""
Does my classifier cheat?
=========================

You have a trained net and some images that it was not trained on, and nothing else: no groups, no masks, no description. An *audit*
explains its answers, groups the regions that they rest on, and tries each group on other images.

The net here tells healthy from arthritic knees, on drawn radiographs. In its training images a letter in a corner gives the class
away nine times in ten.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

import lvlm_va
from lvlm_va.datasets import tagged_radiographs
from lvlm_va.report import write_audit

train = tagged_radiographs("train", n=400, size=48, seed=0)
other = tagged_radiographs("train", n=300, size=48, seed=1)
clf = lvlm_va.LVLMVAClassifier(
    "resnet8", epochs=8, batch_size=16, lr=1e-3, schedule="cosine", random_state=0
).fit(train.images, train.labels)

# %%
# The audit
# ---------
# It takes the estimator, or any torch module. The labels only say how often the net is right.
found = lvlm_va.audit(clf, other.images, other.labels, n_pairs=60)
print(found)

# %%
# A *family* is a group of regions that lie at the same place, look alike and are the same to the net. The first are the most suspicious: put
# into images of the other class, where they cover little of what counts there, they turn many predictions, and the control, the same
# place of another image of the receiver's own class, turns hardly any.
fig, axes = plt.subplots(3, 6, figsize=(9, 5), layout="constrained")
for family, row in zip(found.families, axes, strict=False):
    row[0].set_title(f"family {family.number}: {family.where}", loc="left")
    for ax, image, mask in zip(row, family.images, family.masks, strict=False):
        ax.imshow(image)
        ax.contour(mask, [0.5], colors="orange")
    for ax in row:
        ax.axis("off")

# %%
# Letters in corners. Whether a letter may tell the class, the audit cannot know: a person must look.
#
# A page for everybody else
# -------------------------
# One file that opens in any browser and loads nothing, with every family's pictures and figures, and what to do next.
page = write_audit(
    found,
    Path(tempfile.mkdtemp()) / "audit.html",
    title="Does the knee classifier cheat?",
)
print(f"{page.name}: {page.stat().st_size / 1e6:.1f} MB")

# %%
# From the shell, ``lvlm-va audit FOLDER --module ... --out audit`` writes the same page. How suspicion is computed, and what an audit cannot
# know, stands in :doc:`/how_to/audit`.
