"""What was asked about families of segments, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

from lvlm_va.critique import SegmentVerdict


@dataclass(frozen=True, eq=False)
class AskedFamily:
    """Segments of many images that one verdict is on.

    Attributes
    ----------
    name : str
        ``"1"`` for the one of most effect, and so on; ``"3.1"`` and ``"3.2"`` are what the family ``"3"`` was split
        into.
    label : str
        The class that most of its images are of.
    members : tuple of (str, int)
        Its segments: the image's name, and the segment's number in it.
    share : float
        Share of all surveyed images' effect in them, in [0, 1].
    exemplars : tuple of (str, int)
        Those that were shown.
    asked : bool
        Whether its examples were judged. Otherwise its verdict is that of the family that it was split from.
    verdict : SegmentVerdict
        What was said, on segment 1 of the family.
    sheet : bytes
        What a person or a model is shown of it, as PNG; empty where it was not asked about.
    """

    name: str
    label: str
    members: tuple[tuple[str, int], ...]
    share: float
    exemplars: tuple[tuple[str, int], ...]
    asked: bool
    verdict: SegmentVerdict
    sheet: bytes = b""

    def __str__(self) -> str:
        images = len({image for image, _ in self.members})
        how = "" if self.asked else " (not asked)"
        where = f"{images} images of {self.label}, {self.share:.1%} of the effect"
        return f"{self.name}. {self.verdict.verdict}{how}: {where}"


@dataclass(frozen=True, eq=False)
class AskedFamilies:
    """The families that one round asked about.

    Attributes
    ----------
    families : tuple of AskedFamily
        Those that count in the end: of a family that was split, what it was split into.
    n_images : int
        Images that were surveyed.
    n_questions : int
        Questions put: one for each family asked about, also of those that were split later, and each single image.
    n_requests : int
        Requests that the critic was given for them: as many, or more by a critic that knows no families and was asked
        about some images of each.
    n_checked, n_agreeing : int
        Segments of the single images on which both they and their families, as found first, have a verdict, and of
        these the ones where it is the same. Families that single images speak against are then split.
    fingerprint : str
        Stands for the families as they were found: for verdicts by their names.
    """

    families: tuple[AskedFamily, ...]
    n_images: int
    n_questions: int
    n_requests: int
    n_checked: int
    n_agreeing: int
    fingerprint: str

    def __str__(self) -> str:
        agreement = ""
        if self.n_checked:
            agreement = (
                f"; single images agree with their families in {self.n_agreeing} of {self.n_checked} segments"
            )
        head = f"{len(self.families)} families in {self.n_images} images, by {self.n_questions} questions{agreement}:"
        return "\n".join([head, *map(str, self.families)])

    @property
    def undecided_share(self) -> float:
        """Share of all surveyed images' effect in families that are unsure, in [0, 1]."""
        return sum(family.share for family in self.families if family.verdict.verdict == "unsure")
