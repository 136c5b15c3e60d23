"""
Mend a trained net with ten clicks
==================================

You have a trained net, and nobody who judges for you but yourself. In this tutorial a person looks at some images, says of ten
segments whether they may count, and the net is mended.

The net tells digits apart. In its training images the shade of a small patch in one corner gives the digit away, so it
learned the patch.
"""

import matplotlib.pyplot as plt

from lvlm_va import LVLMVAClassifier, VerdictTable
from lvlm_va.critique import Critique, SegmentVerdict
from lvlm_va.datasets import decoy_digits
from lvlm_va.metrics import group_accuracies
from lvlm_va.report import plot_explanation, plot_segments

train, test = decoy_digits("train"), decoy_digits("test")
net = (
    LVLMVAClassifier("mlp", epochs=40, batch_size=32, random_state=0)
    .fit(train.images, train.labels)
    .module_
)


# %%
# What does it look at?
# ---------------------
# A *critic* judges what the net looks at. Ours leaves all to us: it says "unsure" of every segment. ``fit`` explains 60 training
# images (which pixels speak for the class?), cuts each explanation into *segments*, regions that a person would circle, and asks.
# With ``epochs=0`` the net is taken as it is, and with ``align_epochs=0`` not aligned yet.
class LeftToMe:
    name = "left to me"

    def critique(self, requests):
        return [
            Critique.from_verdicts(
                request.image_id,
                [
                    SegmentVerdict(request.image_id, k + 1, "unsure")
                    for k in range(request.n_segments)
                ],
            )
            for request in requests
        ]


clf = LVLMVAClassifier(
    net,
    critic=LeftToMe(),
    n_align=60,
    sampler="random",
    epochs=0,
    align_epochs=0,
    batch_size=32,
    random_state=0,
)
clf.fit(train.images, train.labels)

fig, axes = plt.subplots(2, 5, figsize=(9, 4), layout="constrained")
for i, (above, below) in enumerate(axes.T):
    image = train.images[clf.alignment_set_[i]]
    plot_explanation(image, clf.explanation_.attributions[i].sum(0), ax=above)
    plot_segments(image, clf.segments_.labels[i], ax=below)

# %%
# Above in orange the pixels that speak for the digit, below the segments with their numbers. Strokes count, and so does a patch in
# a corner.
#
# Ten clicks
# ----------
# In a browser, ``lvlm-va review RUN_DIR`` shows the same segments, and a key settles each:
#
# .. image:: /images/review-light.png
#    :alt: The review page: an image, its segments, and the verdict on each
#    :class: framed
#
# The page writes a table of verdicts, which may as well be written in Python. Here the person who clicks is played by the true masks:
# the first five segments that lie on a patch are spurious, the first five that do not are relevant.
clicks = {"spurious": [], "relevant": []}
for i, row in enumerate(clf.alignment_set_):
    name, patch = str(row), train.masks[row]
    for segment in range(1, int(clf.segments_.n_segments[i]) + 1):
        inside = patch[clf.segments_.labels[i].numpy() == segment].mean()
        verdict = "spurious" if inside > 0.5 else "relevant"
        if len(clicks[verdict]) < 5:
            clicks[verdict].append(
                SegmentVerdict(name, segment, verdict, source="human")
            )
table = VerdictTable((*clicks["spurious"], *clicks["relevant"]))
table

# %%
# Align
# -----
# ``propagate=True`` learns from the ten verdicts what spurious segments look like and where they lie, and extends them to the other
# training images. ``realign`` then fine-tunes the net so that what was judged spurious stops to count.
clf.set_params(align_epochs=40, propagate=True)
clf.realign(table)

unaligned = LVLMVAClassifier(net, epochs=0).fit(train.images, train.labels)
for when, classifier in (("before", unaligned), ("after", clf)):
    found = group_accuracies(
        test.labels, classifier.predict(test.images), groups=test.groups
    )
    print(
        f"{when:6} accuracy {classifier.score(test.images, test.labels):.3f}, worst group {found.worst:.3f}"
    )

# %%
# A notebook shows where the classifier stands, below its parameters:
clf

# %%
# The test images have a patch, too, but its shade tells nothing. What the net looks at now:
fig, axes = plt.subplots(2, 5, figsize=(9, 4), layout="constrained")
shown = clf.explain(test.images[:5])
for i, column in enumerate(axes.T):
    plot_explanation(test.images[i], None, ax=column[0])
    plot_explanation(test.images[i], shown.attributions[i].sum(0), ax=column[1])
