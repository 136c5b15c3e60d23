"""One training loop for plain training and for alignment."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from lvlm_va.alignment.augmentation import resolve_augment
from lvlm_va.alignment.checks import (
    check_alignment_set,
    check_images,
    check_label_width,
    check_labels,
    check_repeats,
    check_weights,
)
from lvlm_va.alignment.objective import TrainingRows
from lvlm_va.alignment.options import TrainingOptions
from lvlm_va.alignment.run import TrainingRun
from lvlm_va.alignment.types import AlignmentSet, History, TrainingResult
from lvlm_va.alignment.weighting import Weighting
from lvlm_va.common.distributed import join, on_first, require_same, share_module, world_size
from lvlm_va.common.fingerprint import fingerprint
from lvlm_va.common.randomness import derive_seed, isolated_generators
from lvlm_va.common.validation import check_integer
from lvlm_va.data.stored_images import ImageRows, subset
from lvlm_va.modules.checks import check_is_module, check_module
from lvlm_va.modules.logits import copy_module, is_compiled, module_device_and_dtype


def train(
    module: nn.Module,
    images: ImageRows,
    labels: Tensor,
    options: TrainingOptions | None = None,
    *,
    alignment_set: AlignmentSet | None = None,
    repeats: Tensor | None = None,
    weights: Tensor | None = None,
    validation: tuple[ImageRows, Tensor] | None = None,
    weighting: Weighting | None = None,
    points: Callable[[nn.Module], Tensor] | None = None,
    seed: int,
    device: str | torch.device | None = None,
    checkpoint_path: str | os.PathLike[str] | None = None,
    checkpoint_key: str | None = None,
    on_epoch: Callable[[History], object] | None = None,
    verbose: int = 0,
) -> TrainingResult:
    """Train a copy of a module, plainly or towards the right reasons.

    Minimises, over batches of plain and alignment rows (Ross et al. 2017, arXiv 1703.03717, eq. 1),

        mean_rows CE  +  lambda * mean_aligned sum_pixels (A * d/dx sum_k log y_k)^2  +  gamma ||theta||^2.

    In alignment, batch normalisation stays in evaluation mode with its statistics frozen (its scale and shift are
    trained): only then is the input gradient an image's own, whatever its batch mates, and rows with and
    without a mask can be forwarded apart. A net with batch normalisation is therefore trained plainly first.
    Dropout stays active.

    In several processes (torchrun, ``accelerate launch``; see docs/how_to/distributed.md) all call this with the same
    arguments. Each takes its share of every batch, and all return what one process would, up to rounding, dropout and
    augmentation; the weights that the module has in the first process count.

    Parameters
    ----------
    module : torch.nn.Module
        Returns logits of shape (n, K), or an object with such ``.logits``, from images; float32 or float64. It
        is copied and never touched.
    images : Tensor of shape (n, C, *spatial), floating, or StoredImages
        Training images in [0, 1]. Batches are moved to the module's device and dtype. Stored ones are read batch by
        batch, ahead of their use.
    labels : Tensor of shape (n,), or (n, K) for K findings, int64
        Class numbers from 0, of one logit per image 0 and 1; or 1 where a finding is present, else 0.
    options : TrainingOptions, default=None
        How to train; None takes the defaults.
    alignment_set : AlignmentSet or None, default=None
        Images with masks, mixed into every batch. None trains plainly. Images whose mask is empty add to the
        cross-entropy alone.
    repeats : Tensor of shape (n,), int64, default=None
        How often each training image comes in an epoch, 0 or more; None shows each once.
    weights : Tensor of shape (n,), floating, default=None
        How much each training image counts in the cross-entropy, >= 0; those of an alignment set are its own. None
        counts all alike.
    validation : (Tensor or StoredImages, Tensor), default=None
        Images and labels that are measured after each epoch, instead of a held-out `validation_fraction`.
    weighting : Weighting or None, default=None
        Weighs the rows of each batch in plain training, for example `WorstGroupWeighting`; None counts all alike. It
        is copied and never touched.
    points : callable, default=None
        Returns the points of a module, a tensor with one value for each of some images, the more the better. Called
        after each epoch with the module, in evaluation mode, which it must leave as it is. The result is the module of
        the last epoch that no earlier one beats in the mean by more than one standard error of the difference: better
        by an image or two, out of few, is not better. With a checkpoint, it counts by its fields.
    seed : int
        Fixes batches, dropout and the held-out images. The user's random generators are left as they were.
    device : str, torch.device or None, default=None
        Where to train; None stays on the module's device.
    checkpoint_path : path-like or None, default=None
        A safetensors file, rewritten after each epoch. When it exists, training goes on from there and ends as an
        unbroken run would have, bit for bit on a CPU; a finished one is returned at once.
    checkpoint_key : str or None, default=None
        Stands for all that the run depends on; a checkpoint of another key is refused. None takes a digest of the other
        arguments.
    on_epoch : callable, default=None
        Called after each epoch with the history so far, also for the epochs of a checkpoint, which stay. Training ends
        with the epoch for which it raises StopIteration, in the first process.
    verbose : int, default=0
        1 shows a progress bar.

    Returns
    -------
    TrainingResult
        The trained copy, in evaluation mode, and the history.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or the checkpoint is of another run.
    FloatingPointError
        If the loss or a parameter becomes infinite or NaN. The last checkpoint stays.

    Examples
    --------
    >>> import torch
    >>> from lvlm_va.alignment import AlignmentSet, TrainingOptions, train
    >>> images = torch.rand(20, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    >>> labels = torch.arange(20) % 2
    >>> masks = torch.zeros(20, 4, 4)
    >>> masks[:, 0, 0] = 1
    >>> module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
    >>> result = train(module, images, labels, TrainingOptions(epochs=2),
    ...                alignment_set=AlignmentSet(images, labels, masks), seed=0)
    >>> len(result.history.loss)
    2
    """
    options = TrainingOptions() if options is None else options
    check_integer("seed", seed, 0, expected="an integer >= 0")
    check_is_module(module)
    place = module_device_and_dtype(module)[0].type if device is None else device
    join(place)
    check_images("images", images)
    check_labels("labels", labels, len(images))
    if repeats is not None:
        check_repeats(repeats, len(images))
    if validation is not None:
        held_images = check_images("validation", validation[0])
        held_labels = check_labels("validation", validation[1], len(held_images))
        if held_images.shape[1:] != images.shape[1:] or held_labels.shape[1:] != labels.shape[1:]:
            raise ValueError(
                f"The 'validation' argument must hold images {tuple(images.shape[1:])} and labels as for training. Got "
                f"{tuple(held_images.shape[1:])}, and labels of shape {tuple(held_labels.shape)}."
            )
        if options.validation_fraction:
            raise ValueError("The 'validation' argument must be None with a validation_fraction. Got both.")
    if weights is not None:
        check_weights("weights", weights, len(images))
    if weighting is not None:
        weighting.check_rows(len(images))
        if weights is not None:
            raise ValueError("The 'weights' argument must be None with a weighting. Got both.")
        if alignment_set is not None or options.validation_fraction:
            raise ValueError(
                "The 'weighting' argument must be None in alignment and with held-out images, whose loss is not "
                "weighted. Got both; leave out 'alignment_set' and 'validation_fraction'."
            )
        if options.accumulation_steps > 1:
            raise ValueError(
                "The 'accumulation_steps' option must be 1 with a weighting, which must see the whole batch. "
                f"Got {options.accumulation_steps} instead."
            )
    if points is not None and options.validation_fraction and alignment_set is None:
        raise ValueError(
            "The 'points' argument must be None in plain training with held-out images, whose loss decides. Got both; "
            "leave out 'validation_fraction'."
        )
    all_labels, penalised = labels, False
    if alignment_set is not None:
        check_alignment_set(alignment_set, images.shape[1:], labels)
        all_labels = torch.cat([labels.cpu(), alignment_set.labels.cpu()])
        penalised = bool(alignment_set.masks.any())
    trained, weighting = copy_module(module), copy.deepcopy(weighting)
    if device is not None or world_size() > 1:
        trained.to(place)  # in each process its own GPU
    share_module(trained)
    seed = on_first(lambda: seed)
    if world_size() > 1:
        require_same("images and labels", fingerprint(all_labels))
    key = checkpoint_key or ""
    if checkpoint_path is not None and checkpoint_key is None:
        extras = [extra for extra in (repeats, weights, validation, weighting, points) if extra is not None]
        key = fingerprint(options, trained, images, labels, alignment_set, seed, *extras)

    n_logits = check_module(trained, images[:1], None, differentiable=penalised, trainable=True)
    check_label_width("labels", all_labels, n_logits)
    home, dtype = module_device_and_dtype(trained)
    if options.precision == "bf16" and dtype != torch.float32:
        raise ValueError(
            f"The 'precision' option must be 'float32' for a module in {dtype}. Got 'bf16', which keeps weights in "
            "float32. Pass module.float()."
        )
    # Rows are selected where the images are.
    labels = labels.to(images.device)
    if alignment_set is not None:
        where = alignment_set.images.device
        findings = alignment_set.findings
        alignment_set = AlignmentSet(
            alignment_set.images,
            alignment_set.labels.to(where),
            alignment_set.masks.to(where),
            None if findings is None else findings.to(where),
            None if alignment_set.weights is None else alignment_set.weights.to(where),
        )
    kept, held_out = _hold_out(images, labels, options.validation_fraction, seed)
    held_out = validation or held_out
    training = (images, labels) if kept is None else (subset(images, kept), labels[kept])
    if repeats is not None and kept is not None:
        repeats = check_repeats(repeats[kept.to(repeats.device)], len(kept))
    if weights is not None:
        weights = weights.to(images.device)
        weights = weights if kept is None else weights[kept]
        if alignment_set is not None and alignment_set.weights is None:
            of_its_own = torch.ones(len(alignment_set.images), device=alignment_set.images.device)
            alignment_set = replace(alignment_set, weights=of_its_own)
    rows = TrainingRows(*training, alignment_set, home, dtype, weights, resolve_augment(options.augment))
    with ExitStack() as stack:
        stack.enter_context(isolated_generators(home))
        stack.enter_context(torch.enable_grad())
        if penalised and is_compiled(trained):
            # What torch.compile makes has no second derivative.
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        path = None if checkpoint_path is None else Path(checkpoint_path).expanduser()
        run = TrainingRun(
            trained,
            rows,
            held_out,
            options,
            seed=seed,
            path=path,
            key=key,
            repeats=repeats,
            weighting=weighting,
            points=points,
        )
        return run.finish(on_epoch, verbose=verbose)


def _hold_out(
    images: ImageRows, labels: Tensor, fraction: float, seed: int
) -> tuple[Tensor | None, tuple[ImageRows, Tensor] | None]:
    """Return the rows to train on, None for all of them, and the held-out images and labels."""
    if not fraction:
        return None, None
    n = len(images)
    n_held_out = max(1, round(n * fraction))
    if n_held_out >= n:
        raise ValueError(
            f"The 'validation_fraction' argument must leave images to train on. Got {fraction!r} for {n} images."
        )
    order = torch.randperm(n, generator=torch.Generator().manual_seed(derive_seed(seed, 0)))
    held_out, kept = (
        part.sort().values.to(images.device) for part in order.split([n_held_out, n - n_held_out])
    )
    return kept, (subset(images, held_out), labels[held_out])
