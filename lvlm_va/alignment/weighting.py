"""The weights of a batch's rows in plain training: those of the group that fares worst grow."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from lvlm_va.alignment.mixing import Batch
from lvlm_va.common.distributed import gather, rank
from lvlm_va.common.validation import check_real


class Weighting(Protocol):
    """Makes the loss of a batch of its rows' cross-entropies."""

    def check_rows(self, n: int) -> None:
        """Raise unless it can weigh the rows of `n` training images."""
        ...

    def loss(self, cross_entropies: Tensor, rows: Tensor) -> Tensor:
        """Return the loss of a batch.

        Parameters
        ----------
        cross_entropies : Tensor of shape (b,)
            Of each row, with its graph.
        rows : Tensor of shape (b,), int64
            Which training images they are.

        Returns
        -------
        scalar Tensor
            The loss, with its graph.
        """
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """Return all that changes during a run."""
        ...

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from such a state."""
        ...


class WorstGroupWeighting:
    """Group distributionally robust optimisation (GroupDRO; Sagawa et al. 2020, arXiv 1911.08731, algorithm 1).

    With ``l_g`` the mean cross-entropy of the batch's rows of group g (0 for a group that has none there),

        q_g  <-  q_g exp(eta l_g) / sum_h q_h exp(eta l_h),      loss = sum_g q_g l_g,

    so that the groups that fare worst weigh ever more. All groups begin alike.

    Parameters
    ----------
    groups : Tensor of shape (n,), int64
        Group of each training image, numbered from 0.
    step_size : float, default=0.01
        The step eta, > 0.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.

    Examples
    --------
    >>> import torch
    >>> from lvlm_va.alignment import WorstGroupWeighting
    >>> weighting = WorstGroupWeighting(torch.tensor([0, 0, 1]), step_size=1.0)
    >>> round(weighting.loss(torch.tensor([0.0, 0.0, 2.0]), torch.arange(3)).item(), 3)
    1.762
    >>> weighting.shares.tolist()[1] > 0.8
    True
    """

    def __init__(self, groups: Tensor, step_size: float = 0.01) -> None:
        expected = "The 'groups' argument must be an int64 tensor of shape (n,) of group numbers from 0."
        if not isinstance(groups, Tensor) or groups.dtype != torch.int64:
            kind = groups.dtype if isinstance(groups, Tensor) else type(groups).__name__
            raise TypeError(f"{expected} Got {kind} instead.")
        if groups.ndim != 1 or not len(groups) or int(groups.min()) < 0:
            raise ValueError(f"{expected} Got shape {tuple(groups.shape)}, or numbers below 0, instead.")
        check_real("step_size", step_size, "(0, inf)", expected="a number > 0")
        self._groups = groups.cpu()
        self._step_size = float(step_size)
        # Logarithms, which a large loss cannot drive to infinity.
        self._log_shares: Tensor = torch.zeros(int(groups.max()) + 1).log_softmax(0)

    @property
    def shares(self) -> Tensor:
        """Tensor of shape (n_groups,): q_g, the weight of each group now; sums to 1."""
        return self._log_shares.exp()

    def check_rows(self, n: int) -> None:
        """Raise unless there is a group for each of `n` training images."""
        if len(self._groups) != n:
            raise ValueError(
                f"The 'weighting' argument must hold a group for each of {n} images. "
                f"Got {len(self._groups)} groups instead."
            )

    def loss(self, cross_entropies: Tensor, rows: Tensor) -> Tensor:
        """Return the groups' mean cross-entropies, weighted by their shares, which are brought up to date first."""
        self._groups = self._groups.to(rows.device)
        self._log_shares = self._log_shares.to(cross_entropies)
        members = F.one_hot(self._groups[rows], len(self._log_shares)).to(cross_entropies)
        means = cross_entropies @ members / members.sum(0).clamp_min(1)
        self._log_shares = (self._log_shares + self._step_size * means.detach()).log_softmax(0)
        return (self._log_shares.exp() * means).sum()

    def state_dict(self) -> dict[str, Tensor]:
        """Return the logarithms of the shares."""
        return {"log_shares": self._log_shares}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from such a state."""
        self._log_shares = state["log_shares"]


def weighted_loss(weighting: Weighting, cross_entropies: Tensor, batch: Batch) -> Tensor:
    """Return what a weighting makes of a batch, of which each process passes its share in order.

    Parameters
    ----------
    weighting : Weighting
        Sees the whole batch in every process.
    cross_entropies : Tensor of shape (b,)
        Of the rows of this process, with their graph.
    batch : Batch
        Those rows.

    Returns
    -------
    scalar Tensor
        In the first process the loss, in all others 0; with the graph of their own rows.
    """
    if batch.whole is None:
        return weighting.loss(cross_entropies, batch.plain)
    parts = [cross_entropies.new_tensor(values) for values in gather(cross_entropies.tolist())]
    parts[rank()] = cross_entropies
    loss = weighting.loss(torch.cat(parts), batch.whole.plain)
    return loss if rank() == 0 else loss - loss.detach()
