"""Just train twice: images that a first classifier gets wrong count more for the second."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar

import torch
from sklearn.utils._param_validation import HasMethods, Interval
from torch import Tensor, nn

from lvlm_va.comparison.errors import NotApplicableError
from lvlm_va.comparison.rival import PlainRival, RivalClassifier
from lvlm_va.data.training_data import TrainingData
from lvlm_va.modules.checks import check_module
from lvlm_va.modules.logits import predict_logits

# A first classifier that errs on more than this share has not learned the shortcut, nor anything else.
NEARLY_ALL = 0.9


@dataclass(eq=False, repr=False)
class JTTClassifier(PlainRival):
    """Just train twice (JTT; Liu et al. 2021, arXiv 2107.09044).

    A first classifier is trained for a few epochs, or given; the training images that it gets wrong are the error
    set E. A second one starts from `module` as it was and is trained on all images and `upweight` extra copies of
    each in E. No group label is needed in training; the paper chooses its settings by worst-group accuracy on
    held-out images with groups.

    =============  =====================  ========  ======  ====  ====  ==========
    published for  identification_epochs  upweight  epochs  lr    l2    batch_size
    =============  =====================  ========  ======  ====  ====  ==========
    Waterbirds     60                     100       300     1e-5  0.5   64
    CelebA         1                      50        50      1e-5  0.05  64
    =============  =====================  ========  ======  ====  ====  ==========

    (ResNet-50, ``optimizer="sgd"``; the gradient of `l2` is twice the weights, so it is half of the weight decay.)

    A net that fits its training images makes no error there: identify early, or with a small `lr` and a large `l2`.

    Parameters
    ----------
    module : optional
        As of `lvlm_va.comparison.RivalClassifier`.
    identification_epochs : int, default=1
        Epochs of the first classifier, from `module` as it is.
    identifier : torch.nn.Module or None, default=None
        A trained first classifier; None trains one.
    upweight : int, default=50
        Extra copies of each image of the error set.
    classes, image_shape, preprocess, attribution, references, n_references : optional
        Likewise, and the attributes.
    epochs, batch_size, lr, optimizer, schedule, l2, device, random_state, verbose : optional
        Likewise.

    Attributes
    ----------
    error_set_ : ndarray of shape (e,), int64
        Rows of X that the first classifier got wrong.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **RivalClassifier._parameter_constraints,
        "identification_epochs": [Interval(Integral, 0, None, closed="left")],
        "identifier": [HasMethods("forward"), None],
        "upweight": [Interval(Integral, 1, None, closed="left")],
    }

    identification_epochs: int = 1
    identifier: nn.Module | None = None
    upweight: int = 50

    def _make_module(self, module: nn.Module, data: TrainingData, seed: int) -> nn.Module:
        identifier = self.identifier
        if identifier is None:
            epochs = self.identification_epochs
            identifier = self._train("identify", module, data.images, data.labels, seed, epochs=epochs).module
        else:
            check_module(
                identifier,
                data.images[:2],
                (len(self.classes_),),
                differentiable=False,
                argument="identifier",
            )
        logits = predict_logits(identifier, data.images, batch_size=self.batch_size)
        wrong = logits.argmax(1) != data.labels
        _check_error_set(wrong)
        self.error_set_ = wrong.nonzero()[:, 0].numpy()
        repeats = 1 + self.upweight * wrong.to(torch.int64)
        return self._train("train", module, data.images, data.labels, seed, repeats=repeats).module


def _check_error_set(wrong: Tensor) -> None:
    n, n_wrong = len(wrong), int(wrong.sum())
    expected = "The first classifier of JTT must get some training images wrong, but not nearly all"
    if not n_wrong:
        raise NotApplicableError(
            f"{expected}. Got an empty error set out of {n} images: nothing can be weighted up. Lower "
            "'identification_epochs' or 'lr', raise 'l2', or pass an 'identifier' that was trained for less long."
        )
    if n_wrong > NEARLY_ALL * n:
        raise NotApplicableError(
            f"{expected}. Got {n_wrong} errors out of {n} images: it has learned nothing yet. Raise "
            "'identification_epochs' or 'lr', or pass an 'identifier' that was trained for longer."
        )
