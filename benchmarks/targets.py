"""What each benchmark must reach, and how its ratio is read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """What a ratio must at least reach, and what it aims at.

    Of a floor (no implementation can be faster) the ratio is ours / floor and small is good; of a peer it is
    peer / ours and large is good.
    """

    least: float
    aim: float
    floor: bool = False

    def verdict(self, ratio: float) -> str:
        """Return "aim", "yes" or "NO": how far the ratio comes."""
        if self.floor:
            ratio, least, aim = -ratio, -self.least, -self.aim
        else:
            least, aim = self.least, self.aim
        return "aim" if ratio >= aim else "yes" if ratio >= least else "NO"


TARGETS: dict[str, Target] = {
    "deeplift_resnet_captum": Target(4, 6),
    "deeplift_resnet_floor": Target(1.5, 1.15, floor=True),
    "deeplift_memory_captum": Target(4, 10),
    "deeplift_mlp_captum": Target(10, 30),
    "deeplift_mlp_shap": Target(10, 50),
    "deeplift_resnet_shap": Target(10, 50),
    "ppeps_pomegranate": Target(50, 200),
    "ppeps_oracle": Target(20, 100),
    # Of the default segmenter's time.
    "regions_28": Target(1.5, 1, floor=True),
    "regions_64": Target(1.5, 1, floor=True),
    "regions_128": Target(1.5, 1, floor=True),
    "regions_224": Target(1.5, 1, floor=True),
    "regions_scipy": Target(4, 8),
    "rrr_plain_step": Target(1.5, 1.25, floor=True),
    "rrr_whole_batch": Target(1.5, 2),
    "method_end_to_end": Target(5, 15),
    "align_plain_finetuning": Target(10, 2.5, floor=True),
    "backend_concurrency_ideal": Target(1.5, 1.15, floor=True),
    # Of the most that they may take.
    "review_answer": Target(1, 0.3, floor=True),
    "review_first_paint": Target(1, 0.5, floor=True),
}


def is_floor(name: str) -> bool:
    """Whether the other side of a benchmark is a floor, not a peer."""
    return name in TARGETS and TARGETS[name].floor
