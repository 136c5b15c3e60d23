"""One run of training: its state, its epochs, and its checkpoint.

Several processes go through it in step: each takes its share of every batch and of the held-out images, and what
decides anything (losses, lambda, points) is the same number in all of them.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from lvlm_va.alignment.batch_gradient import BatchGradient
from lvlm_va.alignment.checkpoint import read_checkpoint, write_checkpoint
from lvlm_va.alignment.mixing import Batch, plan_batches
from lvlm_va.alignment.objective import TrainingRows
from lvlm_va.alignment.optimizers import (
    decays,
    make_optimizer,
    make_schedule,
    parameter_groups,
    trained_parameters,
)
from lvlm_va.alignment.options import TrainingOptions
from lvlm_va.alignment.strength import FixedStrength, RisingStrength, Strength
from lvlm_va.alignment.synchronized_batch_norm import SynchronizedBatchNorm
from lvlm_va.alignment.types import History, TrainingResult
from lvlm_va.alignment.weighting import Weighting
from lvlm_va.common.distributed import gather, on_first, rank, share_module, world_size
from lvlm_va.common.files import DamagedFileError
from lvlm_va.common.randomness import derive_seed, seed_generators
from lvlm_va.data.stored_images import ImageRows, subset
from lvlm_va.modules.heads import row_losses, share_correct
from lvlm_va.modules.logits import is_batch_norm, predict_logits


class TrainingRun:
    """All that changes while a module is trained.

    Parameters
    ----------
    module : torch.nn.Module
        Trained in place.
    rows : TrainingRows
        What it is trained on.
    held_out : tuple of (Tensor or StoredImages, Tensor), or None
        Images and labels that are measured after each epoch.
    options : TrainingOptions
        How it is trained.
    seed : int
        Of the whole run.
    path : Path or None
        Checkpoint, read here when it exists.
    key : str
        Stands for all that the run depends on; a checkpoint of another key is refused.
    repeats : Tensor of shape (n,), int64, or None
        How often each training image comes in an epoch.
    weighting : Weighting or None
        Weighs the rows of each batch; changed in place.
    points : callable or None
        Points of the module for each of some images, asked for after each epoch; the best epoch's module is kept.
    """

    def __init__(
        self,
        module: nn.Module,
        rows: TrainingRows,
        held_out: tuple[ImageRows, Tensor] | None,
        options: TrainingOptions,
        *,
        seed: int,
        path: Path | None,
        key: str,
        repeats: Tensor | None = None,
        weighting: Weighting | None = None,
        points: Callable[[nn.Module], Tensor] | None = None,
    ) -> None:
        self._module, self._rows, self._held_out, self._options = module, rows, held_out, options
        self._seed, self._path, self._key, self._weighting, self._points = seed, path, key, weighting, points
        marked = torch.empty(0, dtype=torch.bool)
        if rows.alignment is not None:
            marked = rows.alignment.masks.flatten(1).any(1)
        self._plan = plan_batches(
            len(rows.images), marked, options.batch_size, options.align_fraction, repeats
        )
        total_steps = max(1, options.epochs * self._plan.steps)
        by_factor = trained_parameters(module, options.lr_factors)
        self._parameters = [parameter for group in by_factor.values() for parameter in group]
        self._decaying = [parameter for parameter in self._parameters if decays(parameter)]
        own = set(map(id, self._parameters))
        self._held = [p for p in module.parameters() if p.requires_grad and id(p) not in own]
        for parameter in self._held:  # until the end, so that frozen layers are seen as such
            parameter.requires_grad_(False)
        self._mixes_rows = self._has_batch_statistics()
        if self._mixes_rows and world_size() > 1:
            self._require_rows_everywhere()
        groups = parameter_groups(options.optimizer, by_factor, float(options.lr))
        self._optimizer = make_optimizer(options.optimizer, groups, float(options.lr))
        self._schedule = make_schedule(options.schedule, self._optimizer, total_steps)
        self._strength: Strength
        if rows.alignment is None or not isinstance(options.rrr_strength, str):
            value = 0.0 if rows.alignment is None else float(options.rrr_strength)
            self._strength = FixedStrength(value)
        else:
            self._strength = RisingStrength(round(options.epochs * self._plan.expected_marked_steps))
        self._gradient = BatchGradient(
            module,
            rows,
            self._strength,
            weighting,
            accumulation_steps=options.accumulation_steps,
            bf16=options.precision == "bf16",
        )
        self._stops_early = held_out is not None and rows.alignment is None
        self._best: dict[str, Any] | None = None
        self._most_points: Tensor | None = None
        self._history = History()
        if path is not None and on_first(path.exists):
            self._restore(path)

    def finish(self, on_epoch: Callable[[History], object] | None, *, verbose: int) -> TrainingResult:
        """Train until the last epoch, or until early stopping or `on_epoch` calls for it."""
        plan, options, done = self._plan, self._options, len(self._history.loss)
        stopped = False
        for n_epochs in range(1, done + 1):
            stopped |= _stops(on_epoch, self._history.until(n_epochs))
        with tqdm(
            total=options.epochs * plan.steps,
            initial=done * plan.steps,
            desc="train" if self._rows.alignment is None else "align",
            unit="batch",
            leave=False,
            disable=not verbose or rank() > 0,
        ) as bar:
            while not stopped and not self._finished():
                self._train_epoch(bar)
                self._save()
                bar.set_postfix(loss=f"{self._history.loss[-1]:.3g}")
                stopped = _stops(on_epoch, self._history)
        if self._best is not None:
            self._module.load_state_dict(self._best)
        share_module(self._module)  # processors of different kinds may round differently
        self._optimizer.zero_grad(set_to_none=True)
        self._module.eval()
        for parameter in self._held:
            parameter.requires_grad_(True)
        return TrainingResult(
            self._module, self._history, self._weighting, stopped=stopped and not self._finished()
        )

    def _finished(self) -> bool:
        if len(self._history.loss) >= self._options.epochs:
            return True
        losses = self._history.validation_loss
        waited = len(losses) - 1 - losses.index(min(losses)) if losses else 0
        return self._stops_early and waited >= self._options.patience

    def _train_epoch(self, bar: tqdm[Any]) -> None:
        start = time.perf_counter()
        epoch_seed = derive_seed(self._seed, len(self._history.loss) + 1)
        # The rows of each process need a dropout of their own.
        seed_generators(self._rows.device, epoch_seed if rank() == 0 else derive_seed(epoch_seed, rank()))
        self._set_training_mode()
        alignment = self._rows.alignment
        image_device = self._rows.images.device
        batches = self._plan.epoch(
            epoch_seed, image_device, image_device if alignment is None else alignment.images.device
        )
        sums = torch.zeros(4, device=self._rows.device, dtype=self._rows.dtype)
        in_step = SynchronizedBatchNorm() if self._mixes_rows and world_size() > 1 else nullcontext()
        with in_step, self._gradient.reading_ahead(batches):
            for batch in batches:
                # Summed on the device and read once per epoch: reading would wait for the device in each step.
                sums += self._step(batch)
                bar.update()
        n_rows = sum(batch.n_rows for batch in batches)
        n_aligned = sum(self._plan.alignment_sizes)
        loss, cross_entropy, penalty, n_correct = map(sum, zip(*gather(sums.tolist()), strict=True))
        norm = torch.stack(torch._foreach_norm([parameter.detach() for parameter in self._parameters]))
        squares = on_first(lambda: norm.square().tolist())
        squared_norm = sum(squares)
        decayed = sum(value for value, p in zip(squares, self._parameters, strict=True) if decays(p))
        values = {
            "loss": loss / n_rows + self._options.l2 * decayed,
            "cross_entropy": cross_entropy / n_rows,
            "penalty": penalty / max(1, n_aligned),
            "rrr_strength": self._strength.value,
            "accuracy": n_correct / n_rows,
        }
        self._require_finite(values["loss"], squared_norm)
        values |= self._validate()
        points = None
        if self._points is not None:
            points = on_first(self._find_points)
            values["validation_score"] = float(points.mean())
        values["seconds"] = on_first(lambda: time.perf_counter() - start)
        self._history = dataclasses.replace(
            self._history, **{name: (*getattr(self._history, name), value) for name, value in values.items()}
        )
        self._keep_best(points)

    def _has_batch_statistics(self) -> bool:
        """Whether batch normalisation will normalise with the batch's own mean and variance."""
        return self._rows.alignment is None and any(
            is_batch_norm(layer) and not _is_frozen(layer) for layer in self._module.modules()
        )

    def _require_rows_everywhere(self) -> None:
        n_parts = world_size() * self._options.accumulation_steps
        smallest = min(self._plan.plain_sizes)
        if smallest < n_parts:
            raise ValueError(
                "The 'batch_size' argument must give each process a row of every batch, and of each of its "
                "accumulation_steps, to train a module with batch normalisation. "
                f"Got batches of {smallest} rows for {n_parts} parts; raise it, or take fewer processes."
            )

    def _set_training_mode(self) -> None:
        self._module.train()
        for layer in self._module.modules():
            if is_batch_norm(layer) and (self._rows.alignment is not None or _is_frozen(layer)):
                layer.eval()

    def _step(self, batch: Batch) -> Tensor:
        try:
            sums = self._gradient(batch)
        except ValueError as error:
            if self._mixes_rows and "more than 1 value per channel" in str(error):
                raise ValueError(
                    "The 'batch_size' argument must leave at least two rows in each batch, and in each of its "
                    "accumulation_steps, to train a module with batch normalisation. "
                    f"Got batches of {min(self._plan.plain_sizes)} rows in {self._options.accumulation_steps} parts."
                ) from error
            raise
        if self._options.l2 and self._decaying:
            self._add_norm_gradient()
        self._optimizer.step()
        if self._schedule is not None:
            self._schedule.step()
        self._strength.step(len(batch.marked) > 0)
        return sums

    def _add_norm_gradient(self) -> None:
        for parameter in self._decaying:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in self._decaying if parameter.grad is not None]
        weights = [parameter.detach() for parameter in self._decaying]
        torch._foreach_add_(gradients, weights, alpha=2 * self._options.l2)

    def _validate(self) -> dict[str, float]:
        if self._held_out is None:
            return {}
        images, labels = self._held_out[0], self._held_out[1]
        mine = torch.arange(len(labels), device=labels.device).tensor_split(world_size())[rank()]
        sums = [0.0, 0.0]
        if len(mine):
            labels = labels[mine].cpu()
            logits = predict_logits(self._module, subset(images, mine), batch_size=self._options.batch_size)
            sums = [
                float(row_losses(logits, labels).sum()),
                float(share_correct(logits, labels).sum()),
            ]
        loss, n_correct = map(sum, zip(*gather(sums), strict=True))
        n = len(self._held_out[1])
        return {"validation_loss": loss / n, "validation_accuracy": n_correct / n}

    def _find_points(self) -> Tensor:
        assert self._points is not None
        self._module.eval()
        return self._points(self._module).to("cpu", torch.float64)

    def _keep_best(self, points: Tensor | None) -> None:
        losses = self._history.validation_loss
        if points is not None:
            better = self._scores_best(points)
        else:
            better = self._stops_early and losses[-1] < min(losses[:-1], default=math.inf)
        if better:
            self._best = {
                name: value.detach().clone() if isinstance(value, Tensor) else value
                for name, value in self._module.state_dict().items()
            }

    def _scores_best(self, points: Tensor) -> bool:
        """Whether no epoch so far was better than this one by more than the standard error of the difference."""
        most = self._most_points
        if most is None or points.mean() >= most.mean():
            self._most_points = points
            return True
        difference = most - points
        standard_error = difference.std(correction=0) / math.sqrt(max(1, len(difference) - 1))
        return bool(difference.mean() <= standard_error)

    def _require_finite(self, loss: float, squared_norm: float) -> None:
        if math.isfinite(loss) and math.isfinite(squared_norm):
            return
        done = len(self._history.loss)
        kept = f" The weights after epoch {done} are kept in {self._path}." if self._path and done else ""
        raise FloatingPointError(
            f"Training diverged in epoch {done + 1}: loss {loss}, squared norm of the parameters {squared_norm}. "
            f"Lower lr (now {self._options.lr}) or rrr_strength (now {self._strength.value:.3g}), and "
            f"see that images lie in [0, 1].{kept}"
        )

    def _save(self) -> None:
        path = self._path
        if path is not None:
            on_first(lambda: write_checkpoint(path, self._state()))

    def _state(self) -> dict[str, Any]:
        return {
            "key": self._key,
            "epochs": self._options.epochs,
            "module": self._module.state_dict(),
            "best": self._best,
            "most_points": self._most_points,
            "optimizer": self._optimizer.state_dict(),
            "schedule": None if self._schedule is None else self._schedule.state_dict(),
            "strength": self._strength.state_dict(),
            "weighting": None if self._weighting is None else self._weighting.state_dict(),
            "history": dataclasses.asdict(self._history),
        }

    def _restore(self, path: Path) -> None:
        state = read_checkpoint(path)
        if state["key"] != self._key:
            raise DamagedFileError(
                "The 'checkpoint_path' argument must name this run's checkpoint or a new file.",
                f"{path} is that of a run of other options, seed, data or module.",
                "Remove it or name another.",
            )
        self._module.load_state_dict(state["module"])
        self._best, self._most_points = state["best"], state["most_points"]
        self._optimizer.load_state_dict(state["optimizer"])
        if self._schedule is not None:
            self._schedule.load_state_dict(state["schedule"])
        self._strength.load_state_dict(state["strength"])
        if self._weighting is not None:
            self._weighting.load_state_dict(state["weighting"])
        self._history = History(**state["history"])


def _stops(on_epoch: Callable[[History], object] | None, history: History) -> bool:
    """Tell of the last epoch of these curves, and return whether training ends with it: as the first process says."""
    if on_epoch is None:
        return False
    stopped = False
    try:
        on_epoch(history)
    except StopIteration:
        stopped = True
    return on_first(lambda: stopped)


def _is_frozen(layer: nn.Module) -> bool:
    """Whether the user froze all parameters of the layer; then its statistics stay too."""
    parameters = list(layer.parameters())
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)
