"""The backend of a vision-language model of transformers."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lvlm_va.backends.hf.batching import BatchRunner
from lvlm_va.backends.hf.choices import choice_probs, group_choices, pick
from lvlm_va.backends.hf.decoding import Decoded, Row
from lvlm_va.backends.hf.fingerprint import checkpoint_digest
from lvlm_va.backends.hf.loading import check_model, check_processor, load_checkpoint, own_processor
from lvlm_va.backends.hf.prompts import Prompts
from lvlm_va.backends.streaming import Outcome
from lvlm_va.backends.types import Capabilities, ChatFailure, ChatReply, ChatRequest, Usage
from lvlm_va.common.randomness import derive_seed
from lvlm_va.common.validation import check_integer

if TYPE_CHECKING:
    import torch


class HFBackend:
    """Ask a vision-language model of transformers, on this machine.

    Requests are padded on the left and run in batches, so that a reply does not depend on the others of its
    batch but for rounding. A batch that is too large for the memory is halved, and later ones stay at that size.

    Parameters
    ----------
    model : str, path-like or transformers.PreTrainedModel
        A folder with a checkpoint, the name of a model in the local Hugging Face cache, or a model in
        evaluation mode. Weights are read from safetensors only, and no code of a checkpoint is run.
    processor : transformers.ProcessorMixin or None, default=None
        The model's processor, with a chat template; a copy is used. Needed with a model object, and in the place
        of the checkpoint's own otherwise.
    device : str or torch.device, default="auto"
        Where a checkpoint is loaded to. ``"auto"`` is an accelerator where there is one, else the CPU. A
        model object stays where it is.
    dtype : {"auto", "float32", "bfloat16", "float16"} or torch.dtype, default="auto"
        The weights' type. ``"auto"`` is the checkpoint's. A model object keeps its own.
    batch_size : int, default=8
        Most requests that run at once, at least 1.
    name : str or None, default=None
        Name by which replies are signed. None takes the checkpoint's.
    local_files_only : bool, default=True
        Whether to use only what is on this machine. False lets transformers download a model by its name.
    revision : str or None, default=None
        Branch, tag or commit of a model from the cache or hub.

    Raises
    ------
    FileNotFoundError
        If there is no such checkpoint on this machine.
    ImportError
        If the processor needs a package that is not installed, such as torchvision.
    TypeError, ValueError
        If an argument has the wrong type or range, the checkpoint is no vision-language model, or its
        processor takes no images or has no chat template.

    Notes
    -----
    Text is read as text: what would be a control token of the model has a space put into it.

    With ``temperature`` 0 or None a reply is made of the likeliest tokens, the same at each call. Otherwise they are
    drawn with the request's ``seed`` and ``sample``, apart from all other requests and from torch's global generators;
    without a seed they differ from call to call.

    A request with ``choices`` is answered by one of them, in any case. The probability of a choice is that of
    its tokens at the beginning of the reply, divided by the sum over the choices; the likeliest is the answer, and
    with a temperature T one is drawn from ``p ** (1 / T)``. ``schema`` has no effect.

    Copies made by ``copy.deepcopy``, as by :func:`sklearn.base.clone`, are the same backend. Threads may share
    it; they take turns.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Any,
        *,
        processor: Any = None,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        batch_size: int = 8,
        name: str | None = None,
        local_files_only: bool = True,
        revision: str | None = None,
    ) -> None:
        check_integer("batch_size", batch_size, 1)
        options = {"device": device, "dtype": dtype, "batch_size": batch_size, "name": name}
        options |= {"local_files_only": local_files_only, "revision": revision, "processor": processor}
        self._arguments = (model, options)
        if isinstance(model, str | os.PathLike):
            label = Path(model).name
            model, processor = load_checkpoint(
                model,
                processor,
                device=device,
                dtype=dtype,
                local_files_only=local_files_only,
                revision=revision,
            )
        else:
            model = check_model(model)
            if processor is None:
                raise TypeError("The 'processor' argument must be given with a model. Got None instead.")
            if device != "auto" or dtype != "auto":
                raise ValueError(
                    "The 'device' and 'dtype' arguments must be 'auto' with a model, which stays as it is. Got "
                    f"{device!r} and {dtype!r} instead. Call model.to(...) before."
                )
            check_processor(processor)
            label = Path(model.config.name_or_path).name or type(model).__name__
        self._name = name or label
        self._model = model
        self._processor = own_processor(processor)
        self._prompts = Prompts(self._processor)
        self._runner = BatchRunner(model, self._prompts, batch_size)
        self._lock = threading.RLock()
        self._digest: str | None = None

    @property
    def name(self) -> str:
        """``"hf:"`` and the name given, or the checkpoint's."""
        return f"hf:{self._name}"

    @property
    def capabilities(self) -> Capabilities:
        """What a model in this process can do; `batch_size` is what the memory was found to hold."""
        return Capabilities(
            temperature=True,
            seed=True,
            choices=True,
            choice_probs=True,
            batch_size=self._runner.batch_size,
            per_segment=True,
        )

    def fingerprint(self) -> str:
        """Return a digest of weights, their dtype, configuration, tokenizer and template.

        It is the same wherever the checkpoint lies and on whatever device it runs. It is computed once: make
        a new backend after training a model object further.

        Returns
        -------
        str
            The digest.
        """
        with self._lock:
            if self._digest is None:
                self._digest = f"hf-{checkpoint_digest(self._model, self._processor)}"
            return self._digest

    def complete(self, requests: Sequence[ChatRequest]) -> list[Outcome]:
        """Return a reply or a failure for each request, in order."""
        with self._lock:
            return self._complete(requests)

    def _complete(self, requests: Sequence[ChatRequest]) -> list[Outcome]:
        outcomes: dict[int, Outcome] = {}
        plans: dict[int, _Plan] = {}
        rows: list[Row] = []
        for i, request in enumerate(requests):
            try:
                plan = self._plan(request)
            except Exception as error:  # of the template or the tokenizer: the other requests are unharmed
                outcomes[i] = ChatFailure("bad_request", f"{type(error).__name__}: {error}")
                continue
            plan.first = len(rows)
            plans[i] = plan
            rows += plan.rows
        results = self._runner.run(rows)
        for i, plan in plans.items():
            outcomes[i] = self._reply(plan, results[plan.first : plan.first + len(plan.rows)])
        return [outcomes[i] for i in range(len(requests))]

    def _plan(self, request: ChatRequest) -> _Plan:
        if request.max_tokens < 1:
            raise ValueError(
                f"The 'max_tokens' of a request must be at least 1. Got {request.max_tokens} instead."
            )
        seed = None if request.seed is None else derive_seed(request.seed, request.sample)
        temperature = request.temperature or 0.0
        if request.choices:
            prompt, tokens = self._prompts.choices(request)
            groups = group_choices(tokens)
            rows = [
                Row(prompt, request.images, request.max_tokens, candidates=tuple(tokens[i] for i in group))
                for group in groups
            ]
            return _Plan(request, rows, temperature, seed, groups, tokens)
        row = Row(self._prompts.render(request), request.images, request.max_tokens, temperature, seed)
        return _Plan(request, [row], temperature, seed)

    def _reply(self, plan: _Plan, results: Sequence[Decoded | ChatFailure]) -> Outcome:
        decoded = []
        for result in results:
            if isinstance(result, ChatFailure):
                return result
            decoded.append(result)
        request, (first, *_) = plan.request, decoded
        if request.choices:
            scores = {
                i: score
                for group, of_group in zip(plan.groups, decoded, strict=True)
                for i, score in zip(group, of_group.log_likelihoods, strict=True)
            }
            probs = choice_probs(request.choices, [scores[i] for i in range(len(scores))])
            text = pick(probs, plan.temperature, plan.seed)
            usage = Usage(first.input_tokens, len(plan.tokens[request.choices.index(text)]))
            asked = probs if request.want_choice_probs else None
            return ChatReply(text, self._name, usage=usage, choice_probs=asked)
        text = self._prompts.decode(first.tokens, plan.rows[0].prompt)
        usage = Usage(first.input_tokens, len(first.tokens) + first.ended)
        return ChatReply(text, self._name, "stop" if first.ended else "length", usage)

    def __deepcopy__(self, memo: object) -> HFBackend:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, self._arguments

    def __repr__(self) -> str:
        return f"HFBackend({self._name!r})"


@dataclass
class _Plan:
    """A request, the rows that answer it, and where they begin among all rows."""

    request: ChatRequest
    rows: list[Row]
    temperature: float
    seed: int | None
    groups: Sequence[Sequence[int]] = ()
    tokens: Sequence[tuple[int, ...]] = ()
    first: int = 0


def _rebuild(model: Any, options: dict[str, Any]) -> HFBackend:
    return HFBackend(model, **options)
