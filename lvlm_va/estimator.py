"""The scikit-learn estimator in front: fit, align again, and what is told of it; the method itself is in `rounds`."""

from __future__ import annotations

import copy
import os
import webbrowser
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from numpy.typing import ArrayLike
from sklearn.utils import estimator_html_repr
from sklearn.utils.validation import check_is_fitted

from lvlm_va._parameters import AlignmentParameters
from lvlm_va.backends import ChatBackend, Estimate, Prices
from lvlm_va.common.distributed import on_first, rank
from lvlm_va.critique import (
    BehaviourSummary,
    BehaviourWriter,
    VerdictTable,
    resolve_writer,
    summarize_behaviour,
)
from lvlm_va.data.training_data import Images
from lvlm_va.datasets.mask_files import write_masks
from lvlm_va.modules.preprocessed import own_module
from lvlm_va.rounds.alignment_job import AlignmentJob
from lvlm_va.rounds.cost import estimate_job
from lvlm_va.rounds.drawn_masks import Drawings
from lvlm_va.rounds.outcome import publish
from lvlm_va.rounds.remarks import remarks_on
from lvlm_va.rounds.types import Aligned
from lvlm_va.rounds.verdicts import segment_findings
from lvlm_va.runs.facts import parameter_facts


class LVLMVAClassifier(AlignmentParameters):
    """An image classifier that is told in words what should count, and is mended accordingly.

    ``fit`` trains the module (or takes a trained one with ``epochs=0``), explains it on a small alignment set, cuts
    each explanation into segments, lets the critic judge every segment, and fine-tunes the module to ignore those
    judged spurious (LVLM-VA, arXiv 2512.21985; penalty of Ross et al. 2017, arXiv 1703.03717).

    Parameters
    ----------
    module : torch.nn.Module, callable, {"mlp", "cnn", "resnet8", "resnet18"}, "hf:FOLDER", "timm:NAME" or None, \
            default=None
        The classifier: a module (never changed; a copy is trained), a callable without arguments that returns
        one, a built-in net, or None for one hidden layer of 256 ReLUs in the dtype of X. Its output is a logits
        tensor of shape (n, n_classes) or an object with such a tensor as ``.logits``. Folders hold a trained image
        classifier that transformers (or, ``"timm:FOLDER"``, timm) saved, and say how images are normalised; other
        names of timm's are of untrained nets. Nothing is downloaded.
    critic : object with ``critique``, str, mapping or None, default=None
        Who judges the segments, for example `RegionCritic`, ``"hf:FOLDER"`` or ``"table:PATH"``; see
        `lvlm_va.critique.resolve_critic`. None only trains. A mapping holds verdicts on families, see `ask`.
    judge : object with ``judge``, str or None, default=None
        Who turns a critique in words into verdicts; see `lvlm_va.critique.resolve_judge`.
    specifications : mapping of class or finding to str or mapping, default=None
        What should count for each, in words, or as ``{"counts": ..., "does_not_count": ...}``; handed to the
        critic. A warning says what they lack for a critic that goes by them.
    classes : array-like of shape (n_classes,), default=None
        All labels in y, in the order of the module's logits; of several findings per image, their names. None takes the
        order in which a transformers checkpoint names them (``config.id2label``), or else sorts them, numbers as
        numbers even where they are text ("10" after "9"); findings it numbers. With ``epochs=0``, a module that would
        be right more often on its training images in another order is refused before anything else is done; where this
        one was given, a warning tells of it.
    image_shape : tuple of (C, H, W) or (H, W), default=None
        How to read flat rows of X. None reads a row as one line of pixels.
    preprocess : {"mean": ..., "std": ...}, transform, image processor, callable or None, default=None
        What a trained module expects of images in [0, 1]: mean and std per channel; torchvision's or timm's transform
        or transformers' image processor, of which these are read (X is not resized); or a differentiable function of
        tensors (n, C, H, W). ``module_`` does not hold it. A saved model's: `lvlm_va.preprocessing_from`, which is what
        None takes where `module` names a folder.
    task : {"auto", "multiclass", "binary", "multilabel"}, default="auto"
        What is told of an image: one of several classes (a logit for each), one of two classes (one logit, whose
        sigmoid is the probability of the second), or several findings at once (y of shape (n, n_findings) of 0 and 1; a
        logit for each, with a sigmoid of its own). "auto" goes by the shape of y and the number of logits.
    output : str, int or None, default=None
        Which part of the module's output is its logits: a key, an attribute, or a place in a tuple. None takes the
        output itself, or its ``.logits``.
    sampler : {"class_balanced", "low_entropy", "high_entropy", "random", "adaptive"} or callable, \
            default="class_balanced"
        Which training images are critiqued: by default the most confident of each class, as many of every class as can
        be; see `lvlm_va.sampling.select_alignment_set`. "adaptive" asks about a few,
        learns the verdicts, and goes on with images like those judged spurious: more spurious ones for as many
        critiques, at the price of explaining up to five times as many images (or 2,000).
    n_align : int, default=300
        Number of images critiqued in each round; in all `n_rounds` no more than the training images.
    ask : {"images", "families"}, default="images"
        What the critic is asked about. "families": 1,000 images (or `n_align`, if that is more) are explained, their
        segments are grouped into families of one kind each, one question is put on each family, by the pictures of six
        typical members, and the verdict holds for all of them. Families that are in doubt are split in two and asked
        about again. A mapping as `critic`, such as ``{"families": clf.families_.fingerprint, 1: "spurious"}``, holds
        a person's verdicts by the names of the families in `families_`; what it does not name is relevant, and
        ``critic={}`` is for a first look.
    n_questions : int, default=20
        Most questions in each round with ``ask="families"``. Some are about single images, by which the families'
        verdicts are checked; families for which no question is left are ``unsure``.
    attribution : {"deeplift_shap", "integrated_gradients", "gradient_x_input"} or Attributor, \
            default="deeplift_shap"
        How predictions are attributed to pixels.
    references : {"class_balanced", "zeros", "mean", "blurred"} or array of shape (B, C, H, W), \
            default="class_balanced"
        What attributions are measured against; the first is a random draw from the training images.
    n_references : int, default=20
        Number of references drawn by ``"class_balanced"``.
    segmenter : {"ppeps_wgm", "regions", "grid", "slic"}, "sam:FOLDER" or Segmenter, default="regions"
        How attributions are cut into segments; see `lvlm_va.segmentation`.
    propagate : bool, int or Propagation, default=False
        Whether a classifier learns the verdicts from what the segments look like, and extends them to other training
        images, all of which are then aligned with; to how many in all. See `lvlm_va.propagation.Propagation`.
    rrr_strength : float or "auto", default="auto"
        Weight of the right-for-the-right-reasons penalty, for inputs in [0, 1]; "auto" lets it rise
        to 1 early on, or as far as a short run of batches allows; see `lvlm_va.alignment.RisingStrength`.
    l2 : float, default=0.0
        Weight of the squared norm of all parameters in the loss.
    align_fraction : float in (0, 1], default=0.5
        Share of critiqued images in each batch of the alignment, oversampled as needed.
    epochs : int, default=10
        Epochs of ordinary training; 0 takes the module as it is.
    align_epochs : int, default=10
        Epochs of alignment in each round.
    if_worse : {"warn", "restore"}, default="warn"
        What is done where alignment lowers the accuracy on training images by more than noise, and does not raise it
        when spurious pixels of other classes are put in: a warning and a remark tell of it, and ``"restore"`` makes
        ``module_`` the unaligned classifier. See ``aligned_.comparison``.
    n_rounds : int, default=1
        Most rounds of critique and alignment. Each critiques `n_align` new images with the latest net, and aligns the
        unaligned one with all masks so far.
    round_tolerance : float in [0, 1], default=0.02
        Rounds stop, and the latest net is kept, when its critique finds no more than this mean share of the
        effect in segments judged spurious; with 0, none at all. The first alignment takes place in any case.
    early_stopping : bool, default=False
        Keep the last epoch of alignment that none beats by more than a standard error in
        `lvlm_va.metrics.right_reasons_accuracy` on critiqued images held out; for the curve see ``validation_score``
        in `history_`. With a falling learning rate that is mostly the very last.
    validation_fraction : float in (0, 1), default=0.2
        Share of the critiqued images that `early_stopping` holds out of alignment.
    batch_size : int, default=256
        Images per batch.
    lr : float, default=1e-3
        Learning rate.
    optimizer : {"adam", "adamw", "sgd"} or callable, default="adam"
        Optimizer, or ``(parameters, lr) -> torch.optim.Optimizer``.
    lr_factors : mapping of str to float, or None, default=None
        Factors of the learning rate by pattern of parameters' names, as in ``{"backbone.*": 0.1, "stem.*": 0}``; the
        first that matches counts, and 0 freezes.
    class_weight : mapping of class to float, "balanced" or None, default=None
        How much the images of each class count in the cross-entropy; "balanced": as if there were as many of each.
    resample : bool, default=False
        Show images of rarer classes more often, so that batches hold about as many of each.
    augment : Augmentation, transform, callable or None, default=None
        Changes the images of each batch at random, in training and in alignment, and their masks with them:
        `lvlm_va.alignment.Augmentation`, a transform of torchvision.transforms.v2, kornia or albumentations, or
        ``(images, masks) -> (images, masks)``.
    schedule, align_schedule : {"cooldown", "cosine", "warmup_cosine", "linear", "step"}, callable or None, \
            default=None and "cooldown"
        Learning-rate schedules of training and alignment; see `lvlm_va.alignment.TrainingOptions`.
    precision : {"float32", "bf16"}, default="float32"
        "bf16" trains in bfloat16 where torch's autocast does; see `lvlm_va.alignment.TrainingOptions`.
    accumulation_steps : int, default=1
        Parts of a batch that are forwarded one after another, for batches that do not fit into memory.
    num_workers : int, default=0
        Processes that read images ahead of their use from a Dataset too large for memory; 0 reads them in between. The
        result is the same.
    on_epoch : callable or None, default=None
        Called after each epoch of training and of alignment with an `lvlm_va.alignment.Epoch`: stage, number, losses,
        validation scores. Where it raises StopIteration, that training ends with this epoch. It is told of epochs that
        `run_dir` holds, too, which stay; of several processes, in the first.
    device : str, default="auto"
        Where to compute: "auto" takes a CUDA GPU when there is one. Under torchrun or ``accelerate launch``, where
        all processes fit the same data together, each takes its own.
    run_dir : path-like or None, default=None
        Folder in which every stage keeps its result and finds it again; holds one run, so one set of training data
        (no folds), and needs an integer `random_state`. One fit at a time works in it.
    keep_images : bool, default=True
        Whether `run_dir` may hold the critiqued training images, in clear; without them ``lvlm-va report`` and
        ``lvlm-va review`` cannot show the run, only `report` here can.
    random_state : int, RandomState instance or None, default=None
        Seed of initial weights, batches, samples, references and segment starts.
    verbose : int, default=0
        1 shows progress bars.

    Attributes
    ----------
    module_ : torch.nn.Module
        The aligned classifier.
    unaligned_module_ : torch.nn.Module
        The classifier before alignment (with a critic or drawn masks only, as `remarks_`, `alignment_data_` and
        `aligned_`; what else follows, but the last five, with a critic only).
    alignment_set_ : ndarray of shape (a,), int64
        Rows of X that were critiqued; of several findings per image, one may come again with another finding.
    alignment_findings_ : ndarray of shape (a,)
        Which finding each was critiqued about, as ``classes_`` calls it (several findings only).
    explanation_, segments_, critiques_ : Explanation, Segmentation, tuple of Critique
        Attributions of those images, their segments, and what the critic said.
    verdicts_ : VerdictTable
        The verdict on every segment.
    spurious_share_ : tuple of float
        For each round done, the mean share of its images' effect in segments that the critic judged spurious.
    families_ : AskedFamilies
        The families of the last round, what was said of them, and how far single images agree (with
        ``ask="families"`` only). See `lvlm_va.rounds.families.AskedFamilies`.
    remarks_ : tuple of str
        What else must be known of the result, as warnings have told: nothing was judged spurious, there was nothing to
        judge, alignment was too short, the classifier follows how whole images look, which masks cannot mend.
    masks_ : ndarray of shape (a, H, W), bool
        True where a segment was judged spurious, or where a person's mask of the image says so.
    propagated_ : Propagated
        The images aligned with, and their masks (with `propagate` only).
    alignment_data_ : MarkedImages
        A torch Dataset of (image, label, mask), of several findings with the one that the mask is about: all images of
        the alignment, for training loops of one's own. Copies and pickles, which hold no images, lack it.
    history_ : dict of str to tuple of History
        Curves of ``"train"`` and ``"align"``, one per run of the training loop.
    job_, aligned_ : AlignmentJob, Aligned
        The steps, which may be done one by one, and all that they found.
    task_ : {"multiclass", "binary", "multilabel"}
        What ``module_`` tells.
    classes_, image_shape_, preprocess_ : ndarray of shape (n_classes,), tuple of (C, H, W), torch.nn.Module or None
        The classes or findings in the order of the logits, the shape of one image, and what images pass before
        ``module_``.
    seconds_ : dict of str to float
        Wall-clock seconds of each stage.

    Examples
    --------
    >>> from lvlm_va import LVLMVAClassifier, RegionCritic
    >>> from lvlm_va.datasets import decoy_digits
    >>> data = decoy_digits("train")
    >>> clf = LVLMVAClassifier("mlp", critic=RegionCritic({"irrelevant": ["corners"]}), n_align=50,
    ...                        epochs=2, align_epochs=1, random_state=0)
    >>> clf.fit(data.images, data.labels).predict(data.images[:2]).shape
    (2,)
    """

    def fit(
        self,
        X: Images,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        image_ids: Sequence[str] | None = None,
        validation_data: tuple[Images, ArrayLike] | None = None,
        masks: Drawings | None = None,
        patients: ArrayLike | None = None,
    ) -> Self:
        """Train, critique and align.

        Parameters
        ----------
        X : array-like of shape (n, C, H, W), (n, H, W) or (n, d), Tensor, or Dataset
            Training images; floats in [0, 1], or uint8, which is divided by 255. A map-style torch Dataset of
            (image, label) pairs is read into memory if that takes no more than a GiB as float32. A larger one is read
            batch by batch, again and again: it must return the same image for an index each time.
        y : array-like of shape (n,), or (n, n_findings) of 0 and 1
            Labels, or which findings each image has. May be None for a Dataset that holds them.
        sample_weight : array-like of shape (n,), default=None
            How much each image counts in the cross-entropy, >= 0, in training and in alignment; times `class_weight`.
        image_ids : sequence of str, default=None
            Names of the images in critiques, verdicts and reports; None numbers them.
        validation_data : (X, y), default=None
            Images that are not trained on. Their loss and accuracy stand in `history_` after each epoch; plain training
            ends with the weights of least loss, once that has not fallen for five epochs, and alignment is judged on
            them. Of patients that are in X they should not be.
        masks : {"irrelevant": {image: mask}, "relevant": {image: mask}}, default=None
            What people drew on some training images, by row (int) or by one of `image_ids` (str): arrays of shape
            (H, W), of bool or of 0 and 1. What lies in an irrelevant drawing, or outside a relevant one, must not
            count. Of several findings, keys are ``(image, finding)``. Such an image goes by its drawing alone, whatever
            a verdict says, and needs none: without a critic the module is aligned with these masks. In searches name
            images by id, as rows change with the folds.
        patients : array-like of shape (n,), default=None
            Whose each image is: `early_stopping` holds all images of some patients out of alignment. An empty name,
            None or NaN is of nobody known, and of nobody else.

        Returns
        -------
        LVLMVAClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            If images, labels, masks, module, specifications, critic or run directory do not fit together; the message
            names the argument.
        """
        job, module, drawn = self._start(X, y, image_ids, sample_weight, masks, validation_data, patients)
        with job.run.exclusive():
            trained = job.train(module)
            self.job_, self.seconds_ = replace(job, options=job.options.asking_nobody()), job.run.seconds
            self.module_ = own_module(trained.module)
            self.history_ = {"train": trained.histories, "align": ()}
            if job.options.critic is None and drawn is None:
                job.run.publish(seconds=self.seconds_)
            else:
                self._finish(job, job.align(trained, drawn))
        return self

    def realign(
        self,
        verdicts: VerdictTable | str | os.PathLike[str],
        X: Images | None = None,
        y: ArrayLike | None = None,
        *,
        image_ids: Sequence[str] | None = None,
    ) -> Self:
        """Align again from the unaligned module, with verdicts that somebody corrected; the critic is not asked.

        Parameters
        ----------
        verdicts : VerdictTable or path of its JSON file
            Corrected verdicts; segments that it does not mention keep theirs.
        X, y, image_ids : default=None
            The training data again; needed only in an estimator that was pickled or copied since.

        Returns
        -------
        LVLMVAClassifier
            Itself, with a new ``module_``, ``verdicts_`` and ``masks_``.

        Raises
        ------
        ValueError
            If a verdict is on a segment that does not exist, or the training data are missing or others.
        """
        self._require_critique()
        edits = verdicts if isinstance(verdicts, VerdictTable) else VerdictTable.load(verdicts)
        # By the parameters as they are now; nobody is asked.
        options = replace(self._options(self._explainer()), policy=self.job_.options.policy)
        job = replace(self.job_, data=self._fitted_data(X, y, image_ids), options=options)
        with job.run.exclusive():
            self.job_ = job
            self._finish(job, job.realign(self.aligned_, edits))
        return self

    def estimate_cost(
        self,
        X: Images,
        y: ArrayLike | None = None,
        *,
        image_ids: Sequence[str] | None = None,
        prices: Prices | None = None,
    ) -> Estimate:
        """Return about what ``fit`` would ask of models, before anything is sent; the estimator stays as it is.

        Parameters
        ----------
        X, y, image_ids : as in `fit`
            The training data.
        prices : Prices or None, default=None
            What the models' provider charges; None leaves the cost unknown.

        Returns
        -------
        Estimate
            Requests, images, tokens and money of critic and judge, if all rounds are done; see
            `lvlm_va.rounds.cost.estimate_job`. Trains the module and explains it, as ``fit`` would; with a run
            directory that work is kept for it. Images that ``sampler="adaptive"`` has not chosen yet are taken to be
            like those that it looks at first.
        """
        parameters = self.get_params(deep=False)
        trial = type(self)(**parameters | {"random_state": copy.deepcopy(parameters["random_state"])})
        job, module, _ = trial._start(X, y, image_ids)
        with job.run.exclusive():
            return estimate_job(job, job.train(module), prices)

    def behaviour_summary(
        self, writer: BehaviourWriter | ChatBackend | str | None = None
    ) -> BehaviourSummary:
        """Say for each class what the unaligned module relies on, by what its segments in the first round cover.

        Parameters
        ----------
        writer : BehaviourWriter, chat model, str or None, default=None
            The language model that puts it into words, such as ``"hf:FOLDER"``. None, or a model that fails: a
            template.

        Returns
        -------
        BehaviourSummary
            Shares of the effect and an account per class; ``print`` shows it as text.
        """
        self._require_critique()
        names, first = self.job_.data.class_names, self.aligned_.rounds[0]
        summary = summarize_behaviour(
            segment_findings(first.explanation, first.segmentation, first.critiques, self.verdicts_, names)
        )
        scribe = resolve_writer(writer)
        if scribe is None:
            return summary
        if self.run_dir is not None:
            scribe = scribe.kept_in(self.run_dir)
        return on_first(lambda: scribe.write(summary, self.verdicts_.specifications))

    def report(
        self,
        path: str | os.PathLike[str] = "report.html",
        X_test: Images | None = None,
        y_test: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        masks: ArrayLike | None = None,
        n_explained: int | None = None,
        title: str | None = None,
        intro: str | None = None,
        prices: Prices | None = None,
        show: bool = False,
    ) -> Path:
        """Write a page for the expert: what changed, what the classifier looks at, and every critiqued image.

        Parameters
        ----------
        path : path-like, default="report.html"
            The page, one HTML file that needs no other and no network. With a run directory, pictures for slides are
            written into its folder ``figures``, too.
        X_test, y_test : default=None
            Images that the classifier was not trained on, and their labels: what is measured before and after. None
            takes what was last measured, if anything.
        groups : array-like of shape (n,), default=None
            Groups of the test images, such as ``"melanoma, plaster"``; None takes their classes.
        masks : array-like of shape (n, H, W), default=None
            True where a pixel of a test image is known to be spurious; adds the alignment score.
        n_explained : int or None, default=None
            On how many of the test images, drawn at random, that score is measured: each must be explained before and
            after. None takes a small sample, as many as have half a million pixels together, and half as many as were
            critiqued at most, or eight.
        title, intro : str, default=None
            Heading of the page, and a paragraph that says what it is about.
        prices : Prices or None, default=None
            What the models' provider charges; None leaves the cost in tokens.
        show : bool, default=False
            Whether to open it in a browser.

        Returns
        -------
        Path
            The page.

        Raises
        ------
        ImportError
            If Jinja2 is missing (extra ``report``).
        ValueError
            If the test data do not fit together, or a copy without a run directory is asked, which holds no images.
        """
        from lvlm_va.report import keep_measures, measure, read_run, record_of, write_report

        self._require_critique()
        job, aligned, parameters = self.job_, self.aligned_, parameter_facts(self.get_params(deep=False))

        def write() -> Path:
            measures = None
            if X_test is not None:
                images, labels = self._labelled(X_test, y_test, "y_test")
                measures = measure(
                    job, aligned, images, labels, groups=groups, masks=masks, n_explained=n_explained
                )
            if job.run.path is None or not job.options.keep_images:
                record = replace(record_of(job, aligned, parameters), measures=measures)
            else:
                if measures is not None:
                    keep_measures(job.run.path, measures)
                record = read_run(job.run.path)
            return write_report(record, path, title=title, intro=intro, prices=prices)

        page = on_first(write)
        if show and rank() == 0:
            webbrowser.open(page.resolve().as_uri())
        return page

    def export_masks(self, folder: str | os.PathLike[str], format: str = "png") -> Path:
        """Write the masks of the latest alignment: of verdicts, extended ones, and those that people drew.

        Parameters
        ----------
        folder : path-like
            Gets them.
        format : {"png", "npy", "coco"}, default="png"
            See `lvlm_va.datasets.mask_files.write_masks`. Verdicts: ``clf.verdicts_.to_csv(path)``.

        Returns
        -------
        Path
            What was written.

        Raises
        ------
        ValueError
            If nothing was aligned, the format is unknown, or images' names are no names of files.
        """
        check_is_fitted(self, "module_")
        if not hasattr(self, "aligned_"):
            raise ValueError(
                "The 'critic' argument, or masks in fit, must be given for there to be masks. Got neither."
            )
        marks = self.job_.marks(self.aligned_)
        named = marks.named(list(map(self.job_.data.case_id, marks.indices.tolist())))
        return on_first(lambda: write_masks(named, folder, format))

    def _finish(self, job: AlignmentJob, aligned: Aligned) -> None:
        """Set the attributes of an aligned classifier, and leave in the run directory what a report needs."""
        self.aligned_ = aligned
        both = (aligned.latest.module, aligned.start.module)
        self.module_, self.unaligned_module_ = map(own_module, both)
        self.history_["align"] = aligned.latest.histories
        self.remarks_ = remarks_on(aligned, job.options)
        self.alignment_data_ = job.marked_images(aligned)
        if aligned.rounds:
            self.alignment_set_ = job.data.rows_of(aligned.indices).numpy()
            if job.data.multilabel:
                self.alignment_findings_ = self.classes_[job.data.findings_of(aligned.indices)]
            self.explanation_, self.segments_ = aligned.explanation, aligned.segmentation
            self.critiques_, self.verdicts_ = aligned.critiques, aligned.verdicts
            self.spurious_share_ = aligned.spurious_share
            self.masks_ = job.mask(aligned.rounds, aligned.drawn).masks.numpy() > 0
            if aligned.rounds[-1].families is not None:
                self.families_ = aligned.rounds[-1].families
        self.__dict__.pop("propagated_", None)
        if aligned.propagated is not None:
            self.propagated_ = aligned.propagated
        publish(job, aligned, parameter_facts(self.get_params(deep=False)))
        self.seconds_ = job.run.seconds

    def _html_repr(self) -> str:
        """Return what a notebook shows: the parameters, as scikit-learn does, and where the run stands."""
        from lvlm_va.report.state import state_of_fit, state_of_folder

        state = ""
        if hasattr(self, "job_"):
            state = state_of_fit(
                self.job_, getattr(self, "aligned_", None), getattr(self, "remarks_", ()), self.seconds_
            )
        elif self.run_dir is not None:
            state = state_of_folder(self.run_dir)
        return f"{estimator_html_repr(self)}{state}"

    def __getstate__(self) -> dict[str, Any]:
        # The training images would make every pickle as large as they are; see `realign`.
        state = super().__getstate__()
        state.pop("alignment_data_", None)
        if "job_" in state:
            state["job_"] = replace(self.job_, data=self.job_.data.without_images(), validation=None)
        if "aligned_" in state:
            state["aligned_"] = self.aligned_.on_cpu()
        return state
