"""
My own training loop
====================

``fit`` trains and aligns. Who has a training loop of their own keeps it: this library says which pixels must not count, and
gives the loss that holds the net to it.
"""

import copy

import matplotlib.pyplot as plt
import torch
from torch.utils.data import DataLoader

from lvlm_va import LVLMVAClassifier, RegionCritic
from lvlm_va.alignment import MarkedBatchSampler, RightReasonsLoss
from lvlm_va.datasets import decoy_digits
from lvlm_va.report import plot_explanation

train, test = decoy_digits("train"), decoy_digits("test")

# %%
# Critique
# --------
# With ``align_epochs=0`` the net is trained, explained and critiqued, and not aligned. ``alignment_data_`` is a torch Dataset of (image,
# label, mask): every training image, those that were critiqued with their masks.
critic = RegionCritic({"irrelevant": ["corners"]})
clf = LVLMVAClassifier(
    "mlp",
    critic=critic,
    sampler="random",
    n_align=150,
    epochs=40,
    align_epochs=0,
    batch_size=32,
    random_state=0,
)
clf.fit(train.images, train.labels)
data = clf.alignment_data_
image, label, mask = data[int(data.marked.nonzero()[0])]
fig, axes = plt.subplots(1, 2, figsize=(5, 2.5), layout="constrained")
plot_explanation(image, None, ax=axes[0])
plot_explanation(image, mask.float(), ax=axes[1])
axes[1].set_title("must not count")

# %%
# The loop
# --------
# Three lines differ from any other loop: the sampler that gives marked images a fixed share of every batch, the loss that takes the
# masks, and ``set_epoch``.
net, epochs = copy.deepcopy(clf.module_), 30
sampler = MarkedBatchSampler(data, batch_size=32, seed=0)
loader = DataLoader(data, batch_sampler=sampler)
objective = RightReasonsLoss(total_steps=epochs * len(sampler))
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
losses, strengths = [], []
for epoch in range(epochs):
    sampler.set_epoch(epoch)
    net.train()
    for images, labels, masks in loader:
        loss = objective(net, images, labels, masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        strengths.append(objective.rrr_strength)

# %%
# The weight lambda of the penalty starts where both parts of the loss are equal, and rises to 1 early on.
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
left.plot(losses)
left.set(xlabel="batch", ylabel="loss", yscale="log")
right.plot(strengths)
right.set(xlabel="batch", ylabel="lambda", yscale="log")


# %%
# On test images, whose patch tells nothing:
def accuracy(net):
    with torch.no_grad():
        return float(
            (
                net.eval()(torch.from_numpy(test.images)).argmax(1).numpy()
                == test.labels
            ).mean()
        )


print(f"before {accuracy(clf.module_):.3f}, after {accuracy(net):.3f}")

# %%
# Loops of transformers' ``Trainer`` and of Lightning, how to stop and go on, and what to mind: :doc:`/how_to/own_loop`.
