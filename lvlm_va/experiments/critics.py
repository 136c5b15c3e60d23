"""The critics of the experiments, by name."""

from __future__ import annotations

from collections.abc import Callable

from lvlm_va.common.errors import unknown_name
from lvlm_va.critique import Critic, OracleCritic, RegionCritic, TinyCritic
from lvlm_va.datasets import DecoyData

# (training data with their masks, seed) -> critic
CriticMaker = Callable[[DecoyData, int], Critic]


def critic_maker(name: str, verdict_accuracy: float = 1.0) -> CriticMaker:
    """Return what makes a critic for training data and a seed.

    Parameters
    ----------
    name : {"tiny", "oracle", "confused", "region"}
        The vision-language model that ships with the package and reads a task's descriptions, the true masks, these
        with all plain surroundings taken for artefacts, or the rule that corners do not matter.
    verdict_accuracy : float, default=1.0
        Share of right verdicts to expect of the true masks; other critics err as they do.

    Returns
    -------
    callable
        ``(training data, seed) -> Critic``; the seed is that of the wrong verdicts.

    Raises
    ------
    ValueError
        If the name is unknown, or a critic other than the true masks is told how often to err.
    """
    makers: dict[str, CriticMaker] = {
        "tiny": lambda data, seed: TinyCritic(),
        "oracle": lambda data, seed: OracleCritic(data.masks, verdict_accuracy, seed),
        "confused": lambda data, seed: OracleCritic(
            data.masks, object_masks=data.objects, confuses="surroundings"
        ),
        "region": lambda data, seed: RegionCritic({"irrelevant": ["corners"]}),
    }
    if verdict_accuracy != 1 and name != "oracle":
        raise ValueError(
            "The 'verdict_accuracy' argument must be 1 unless 'critic' is 'oracle', which errs as often as it is told. "
            f"Got {verdict_accuracy} for {name!r} instead."
        )
    if name not in makers:
        raise unknown_name("critic", name, makers)
    return makers[name]
