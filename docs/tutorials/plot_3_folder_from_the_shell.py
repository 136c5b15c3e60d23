"""
A folder of radiographs, from the shell
=======================================

No line of Python is needed where images lie in a folder, beside a table of their labels. Here the radiographs are drawn: knees,
with a letter in a corner that gives the diagnosis away in training, and tells nothing in the test.
"""

import csv
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
from PIL import Image

from lvlm_va.datasets import RADIOGRAPH_CLASSES, tagged_radiographs

folder = Path(tempfile.mkdtemp())
scans = folder / "scans"
scans.mkdir()
rows = []
for split, n in (("train", 300), ("test", 100)):
    data = tagged_radiographs(split, n, size=48)
    for i, (image, label, group) in enumerate(
        zip(data.images, data.labels, data.groups, strict=True)
    ):
        path = f"{split}-{i}.png"
        Image.fromarray((image[0] * 255).astype("uint8")).save(scans / path)
        rows.append([path, RADIOGRAPH_CLASSES[label], split, group])
with (scans / "labels.csv").open("w", newline="") as file:
    csv.writer(file).writerows([["path", "label", "split", "group"], *rows])

fig, axes = plt.subplots(1, 6, figsize=(9, 2), layout="constrained")
for ax, (path, label, *_) in zip(axes, rows, strict=False):
    ax.imshow(Image.open(scans / path), cmap="gray")
    ax.set(title=label, xticks=[], yticks=[])

# %%
# The table
# ---------
# ``labels.csv`` has a row per image. Other names of columns are told by ``--column label=grade``; folders may be labels instead
# (``--table folders``).
print("\n".join((scans / "labels.csv").read_text().splitlines()[:4]))


# %%
# Is all well?
# ------------
# ``lvlm-va doctor`` looks at the installation and the folder before a long run.
def run(line):
    print(f"$ lvlm-va {line}")
    command = [sys.executable, "-m", "lvlm_va", *line.split()]
    done = subprocess.run(
        command, cwd=folder, check=True, text=True, capture_output=True
    )
    print(done.stdout)


run("doctor scans")

# %%
# Train, critique, align
# ----------------------
# A built-in net is trained first (``--epochs``); your own is ``--module mynets:make_net --weights net.safetensors``. That the letters
# stand in the corners can be said without any model: ``--irrelevant corners``. Otherwise ``--critic`` names one.
run(
    "align scans --module resnet8 --epochs 10 --align-epochs 10 --image-size 48 48 --grey --lr 1e-3 "
    "--irrelevant corners --n-align 60 --propagate 300 --segmenter ppeps_wgm --out run"
)

# %%
# What it left
# ------------
# ``run/report.html`` is for the expert, ``run/aligned.safetensors`` holds the weights, ``run/figures`` pictures for slides:
print(
    *sorted(
        path.name
        for path in (folder / "run").iterdir()
        if path.suffix in (".html", ".safetensors", ".json", ".png")
    )
)
fig, axes = plt.subplots(2, 1, figsize=(9, 8), layout="constrained")
for ax, name in zip(axes, ("before_after", "groups"), strict=True):
    ax.imshow(Image.open(folder / "run" / "figures" / f"{name}.png"))
    ax.axis("off")

# %%
# From here: correct verdicts in the browser (``lvlm-va review run``, :doc:`/how_to/review`), hand masks and net on
# (``lvlm-va export run out --masks coco --verdicts csv``, :doc:`/how_to/export`), or run again with other words: what is done is
# kept, and not asked again.
