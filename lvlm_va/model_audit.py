"""Does a classifier cheat? Its families of regions, tried and ranked by suspicion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from torch.utils.data import Dataset

from lvlm_va.attribution import Attributor, Explainer, ReferenceSet, resolve_attributor
from lvlm_va.auditing import Audit, audit_net
from lvlm_va.auditing.families import Clusterer
from lvlm_va.common.device import resolve_device
from lvlm_va.common.validation import check_integer
from lvlm_va.data.findings import encode_findings
from lvlm_va.data.inputs import (
    as_image_rows,
    check_images,
    encode_labels,
    open_dataset,
    resolve_image_shape,
    warn_of_unusual_images,
)
from lvlm_va.data.stored_images import ImageRows, subset
from lvlm_va.data.training_data import Images
from lvlm_va.image_classifier import ImageClassifier
from lvlm_va.modules.build import build_module
from lvlm_va.modules.class_order import names_in
from lvlm_va.modules.guessing import warn_of_guessing
from lvlm_va.modules.heads import OneLogit, decisions
from lvlm_va.modules.logits import forward_logits, module_device_and_dtype, predict_logits
from lvlm_va.modules.named import preprocess_of
from lvlm_va.modules.outputs import with_output
from lvlm_va.modules.preprocessed import with_preprocess
from lvlm_va.modules.preprocessing import Preprocess, resolve_preprocess
from lvlm_va.segmentation import Segmenter, resolve_segmenter


def audit(
    model: ImageClassifier | nn.Module | Callable[[], nn.Module] | str,
    X: Images,
    y: ArrayLike | None = None,
    *,
    classes: Sequence[Any] | None = None,
    finding: Any = None,
    preprocess: Preprocess | None = None,
    output: str | int | None = None,
    image_shape: tuple[int, ...] | None = None,
    n_images: int = 1000,
    attribution: str | Attributor = "deeplift_shap",
    segmenter: str | Segmenter = "regions",
    references: str | ArrayLike | Tensor = "blurred",
    n_references: int = 10,
    clusterer: Clusterer | None = None,
    n_pairs: int = 150,
    batch_size: int = 64,
    num_workers: int | None = None,
    device: str | torch.device = "auto",
    random_state: int = 0,
    verbose: int = 0,
) -> Audit:
    """Find out what a trained classifier relies on, and what of it looks like a shortcut.

    Its predictions are explained, the explanations cut into regions, and the regions of all images grouped into
    *families*: what lies at the same place, looks alike and is the same to the net. Each family is tried: its regions
    are put into images of other classes, where they cover little of what counts there, and the changed predictions
    counted, against as much of an image of the receiver's own class. Families that change many predictions from a place
    where nothing else counts come first. Neither labels, nor groups, nor a vision-language model are needed.

    It cannot know what should count: a family is suspicious by what it does and where, and a person, or a
    description, must say whether it is what the class is about. What no region shows, such as overall brightness, is
    tested apart: whole images are set to the brightness, colour, sharpness and so on of images of another class.

    Parameters
    ----------
    model : ImageClassifier, torch.nn.Module, callable or str
        A fitted estimator of this package, of which alignment, if any, is judged as well; or what it takes as
        ``module``: a trained net, a callable that returns one, or ``"hf:FOLDER"``.
    X : array-like of shape (n, C, H, W), (n, H, W) or (n, d), Tensor, or Dataset
        Images, better such as the net was not trained on; floats in [0, 1], or uint8.
    y : array-like of shape (n,), default=None
        Their labels, to say how often the net is right.
    classes : sequence, default=None
        The labels in the order of the logits. None takes those of the estimator, of a transformers checkpoint, or of
        `y`, sorted, or else numbers them.
    finding : object, default=None
        Of a net of several findings, which to audit: one of `classes`, or its number.
    preprocess, output, image_shape : optional
        As in `lvlm_va.LVLMVAClassifier`; an estimator has its own.
    n_images : int, default=1000
        Images that are explained, drawn at random where there are more.
    attribution, segmenter : optional
        As in `lvlm_va.LVLMVAClassifier`.
    references : {"blurred", "class_balanced", "zeros", "mean"} or array-like of shape (B, C, H, W), default="blurred"
        What an image is compared with. Its own blurred copy tells what is in it; other images tell what is missing,
        too, so that where some of them have a shortcut, something seems to count in images that have none.
    n_references : int, default=10
        Of ``"class_balanced"``, how many.
    clusterer : object, default=None
        With ``fit_predict``, as scikit-learn's: ``HDBSCAN()``, ``KMeans(10)``. None takes a mixture of Gaussians, as
        many as have the least BIC.
    n_pairs : int, default=150
        Images that a family's regions are put into.
    batch_size : int, default=64
        Images at a time.
    num_workers : int or None, default=None
        Processes that read a Dataset too large for memory.
    device : str or torch.device, default="auto"
        Where a bare net runs.
    random_state : int, default=0
        Seed of everything drawn.
    verbose : int, default=0
        1 shows progress bars.

    Returns
    -------
    Audit
        Families, the most suspicious first; ``print`` shows it, ``lvlm_va.report.write_audit`` makes a page of it.

    Raises
    ------
    ValueError
        If images, labels, classes and net do not fit together, or all predictions are of one class.

    Examples
    --------
    >>> import lvlm_va
    >>> from lvlm_va.datasets import decoy_digits
    >>> data = decoy_digits("train")
    >>> net = lvlm_va.LVLMVAClassifier("mlp", epochs=2, random_state=0).fit(data.images, data.labels)
    >>> found = lvlm_va.audit(net, data.images, data.labels, n_images=100, n_pairs=20)
    >>> found.n_images, found.families[0].number
    (100, 1)
    """
    for name, value in (("n_images", n_images), ("n_pairs", n_pairs), ("batch_size", batch_size)):
        check_integer(name, value, 1)
    check_integer("random_state", random_state)
    if isinstance(X, Dataset):
        X, found = open_dataset(X, num_workers)
        y = found if y is None else y
    if isinstance(model, ImageClassifier):
        own = {"classes": classes, "preprocess": preprocess, "output": output, "image_shape": image_shape}
        for argument, given in own.items():
            if given is not None:
                raise ValueError(
                    f"The {argument!r} argument must be None where 'model' is an estimator, which has its own. "
                    f"Got {given!r} instead."
                )
        subject = _of_estimator(model, X)
    else:
        subject = _of_module(model, X, y, classes, preprocess, output, image_shape, device)
    subject = subject.about(finding)
    rng = np.random.default_rng(random_state)
    rows = torch.from_numpy(np.sort(rng.permutation(len(subject.images))[:n_images]))
    images, labels = subset(subject.images, rows), None
    predicted = decisions(predict_logits(subject.net, images, batch_size=batch_size), multilabel=False)
    if y is not None:
        known = subject.encoded(y)
        if len(known) != len(subject.images):
            raise ValueError(
                f"The 'y' argument must hold a label for each of {len(subject.images)} images. "
                f"Got {len(known)} instead."
            )
        labels = known[rows]
        warn_of_guessing(labels, predicted, len(subject.outcomes))
    chosen = ReferenceSet.choose(references, images, predicted, n_references, seed=random_state)
    sigmoid = forward_logits(subject.net, images[:1].to(*module_device_and_dtype(subject.net))).shape[1] == 1
    return audit_net(
        subject.net,
        images,
        Explainer(resolve_attributor(attribution), chosen, sigmoid=sigmoid),
        resolve_segmenter(segmenter),
        [str(name) for name in subject.outcomes],
        labels=labels,
        aligned=subject.aligned,
        clusterer=clusterer,
        n_pairs=n_pairs,
        batch_size=batch_size,
        seed=random_state,
        verbose=verbose,
    )


@dataclass(frozen=True, eq=False)
class _Subject:
    """What is audited.

    Attributes
    ----------
    net : torch.nn.Module
        Takes images in [0, 1], returns logits.
    images : Tensor or StoredImages of shape (n, C, H, W)
        All images.
    names : tuple
        The classes, or findings.
    multilabel : bool
        Whether they are findings.
    aligned : torch.nn.Module or None
        The net after alignment.
    number : int
        Of the finding that is audited.
    """

    net: nn.Module
    images: ImageRows
    names: tuple[Any, ...]
    multilabel: bool = False
    aligned: nn.Module | None = None
    number: int = 0

    @property
    def outcomes(self) -> tuple[Any, ...]:
        """What the audited predictions are."""
        name = self.names[self.number]
        return (f"no {name}", name) if self.multilabel else self.names

    def encoded(self, y: ArrayLike) -> Tensor:
        """Return true labels as they are numbered in the predictions: int64 of shape (n,)."""
        if self.multilabel:
            return torch.from_numpy(encode_findings(y, len(self.names), argument="y")[:, self.number].copy())
        return torch.from_numpy(encode_labels(y, np.asarray(self.names))[1])

    def about(self, finding: Any) -> _Subject:
        """Return the subject with one finding's logit alone; of classes, itself."""
        if not self.multilabel:
            if finding is not None:
                raise ValueError(
                    "The 'finding' argument must be None where the logits are of classes. Got "
                    f"{finding!r} instead."
                )
            return self
        if finding not in self.names:
            raise ValueError(
                f"The 'finding' argument must say which of {list(self.names)} to audit. Got {finding!r} instead."
            )
        number = self.names.index(finding)
        aligned = None if self.aligned is None else OneLogit(self.aligned, number)
        return replace(self, net=OneLogit(self.net, number), aligned=aligned, number=number)


def _of_estimator(model: ImageClassifier, X: Any) -> _Subject:
    check_is_fitted(model, "module_")
    aligned, before = model.module_, getattr(model, "unaligned_module_", model.module_)
    return _Subject(
        model._net(before),
        model._images(X),
        tuple(model.classes_.tolist()),
        model.task_ == "multilabel",
        None if aligned is before else model._net(aligned),
    )


class _Unfitted(BaseEstimator):
    """What images of a bare net are checked for."""


def _of_module(
    model: Any,
    X: Any,
    y: ArrayLike | None,
    classes: Sequence[Any] | None,
    preprocess: Preprocess | None,
    output: str | int | None,
    image_shape: tuple[int, ...] | None,
    device: str | torch.device,
) -> _Subject:
    checked, _ = check_images(_Unfitted(), X, reset=True)
    shape = resolve_image_shape(checked, image_shape)
    given = None if classes is None else list(classes)
    # A name or a callable says how many classes it has; a built-in net, untrained, would be no subject.
    module = build_module(model, shape, len(given or ()) or 2, seed=0, default_dtype=torch.float32)
    module = module.to(resolve_device(device, float64=False)).eval()
    spec = preprocess_of(model) if preprocess is None else preprocess
    normalisation = resolve_preprocess(spec, shape[0])
    if normalisation is None:
        warn_of_unusual_images(checked)
    else:
        normalisation.to(*module_device_and_dtype(module))
    net = with_preprocess(with_output(module, output), normalisation)
    images = as_image_rows(checked, shape, module_device_and_dtype(module)[1])
    n_logits = forward_logits(net, images[:1].to(*module_device_and_dtype(net))).shape[1]
    multilabel = y is not None and np.ndim(y) == 2 and np.shape(y)[1] > 1
    n = 2 if n_logits == 1 else n_logits
    found = given or names_in(module)
    if found is None and y is not None and not multilabel:
        found = np.unique(np.asarray(y)).tolist()
    names = list(range(n)) if found is None else found
    if len(names) != n:
        raise ValueError(
            f"The 'classes' argument must name the {n} classes of the net, in the order of its logits. Got "
            f"{len(names)} {'in it' if given else 'in y'}: {names} instead."
        )
    return _Subject(net, images, tuple(names), multilabel)
