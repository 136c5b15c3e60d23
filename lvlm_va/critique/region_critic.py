"""The critic that judges segments by declared regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lvlm_va.common.errors import unknown_name
from lvlm_va.common.validation import check_real
from lvlm_va.critique.effect import effect_shares_inside
from lvlm_va.critique.regions import Region, RegionSpec, parse_region
from lvlm_va.critique.types import Critique, CritiqueRequest, SegmentVerdict, Verdict

KINDS = ("irrelevant", "relevant")
Declaration = Mapping[str, Sequence[RegionSpec]]
_Regions = dict[str, tuple[Region, ...]]


@dataclass(frozen=True, eq=False)
class RegionCritic:
    """Judge segments by the regions that a person declared irrelevant or relevant, for a class or for all.

    With a the share of a segment's effect inside the irrelevant regions, b the share inside the relevant
    ones, and t the threshold:

    =======================  ========================  ========================  =======
    declared for the class   spurious                  relevant                  unsure
    =======================  ========================  ========================  =======
    irrelevant regions only  a >= t                    a < t                     never
    relevant regions only    b < t                     b >= t                    never
    both                     a >= t and b < t          b >= t and a < t          else
    nothing                  never                     never                     always
    =======================  ========================  ========================  =======

    Parameters
    ----------
    specification : mapping
        Either ``{"irrelevant": [region, ...], "relevant": [region, ...]}`` for all classes (one of the two
        will do), or such a mapping for each class: ``{"cat": {"irrelevant": ["corners"]}}``. A region is a
        name, a name with a size, or a box: see :func:`lvlm_va.critique.regions.parse_region`.
    threshold : float, default=0.5
        Share of a segment's effect, in (0, 1].

    Raises
    ------
    TypeError, ValueError
        If a region, a key or the threshold is not as above.

    Examples
    --------
    >>> critic = RegionCritic({"3": {"irrelevant": [("corners", 0.15)]}, "8": {"relevant": ["centre"]}})
    >>> critic.classes
    ('3', '8')
    """

    specification: Declaration | Mapping[str, Declaration]
    threshold: float = 0.5
    _common: _Regions = field(init=False, repr=False)
    _per_class: dict[str, _Regions] = field(init=False, repr=False)

    name = "region"

    def __post_init__(self) -> None:
        check_real("threshold", self.threshold, "(0, 1]", expected="a number in (0, 1]")
        _check_mapping(self.specification, "{'irrelevant': ['corners']}, for all classes or for each")
        common: _Regions = {}
        per_class: dict[str, _Regions] = {}
        if any(isinstance(value, Mapping) for value in self.specification.values()):
            for label, declaration in self.specification.items():
                if str(label) in per_class:
                    raise ValueError(
                        f"The 'specification' argument must hold each class once. Got {str(label)!r} twice "
                        "instead."
                    )
                per_class[str(label)] = _parse(declaration)
        else:
            common = _parse(self.specification)
        object.__setattr__(self, "_common", common)
        object.__setattr__(self, "_per_class", per_class)

    @property
    def classes(self) -> tuple[str, ...]:
        """Labels of the classes that have a declaration of their own; empty when it holds for all classes."""
        return tuple(self._per_class)

    def check_data(self, n_images: int, image_size: tuple[int, int], classes: Sequence[str]) -> None:
        """Raise ValueError if a class is declared that does not exist, or a region that covers no pixel."""
        for label in self.classes:
            if label not in classes:
                raise unknown_name("specification", label, classes)
        for regions in (self._common, *self._per_class.values()):
            for region in (region for declared in regions.values() for region in declared):
                region.mask(*image_size)

    def critique(self, requests: Sequence[CritiqueRequest]) -> list[Critique]:
        """Judge each segment of each request.

        Parameters
        ----------
        requests : sequence of CritiqueRequest
            Images and their segments.

        Returns
        -------
        list of Critique
            One per request, with a verdict on each segment.

        Raises
        ------
        ValueError
            If a declared region covers no pixel of an image.
        """
        return [self._judge(request) for request in requests]

    def _judge(self, request: CritiqueRequest) -> Critique:
        regions = self._per_class.get(request.label, self._common)
        height, width = request.segments.shape
        shares = {
            kind: effect_shares_inside(
                request, np.logical_or.reduce([region.mask(height, width) for region in declared])
            )
            for kind, declared in regions.items()
        }
        verdicts = []
        for segment in range(1, request.n_segments + 1):
            share = {kind: float(values[segment - 1]) for kind, values in shares.items()}
            verdict = _verdict({kind: value >= self.threshold for kind, value in share.items()})
            reason = self._reason(request.label, regions, share)
            verdicts.append(
                SegmentVerdict(request.image_id, segment, verdict, reason=reason, source=self.name)
            )
        return Critique.from_verdicts(request.image_id, verdicts)

    def _reason(self, label: str, regions: _Regions, share: Mapping[str, float]) -> str:
        if not regions:
            return f"no region is declared for class {label!r}"
        scope = f"for class {label!r}" if self._per_class else "for all classes"
        parts = []
        for kind, declared in regions.items():
            # Said as it was judged: what is hardly in the corners is relevant because it is outside of them.
            where, part = (
                ("in", share[kind]) if share[kind] >= self.threshold else ("outside", 1 - share[kind])
            )
            parts.append(
                f"{100 * part:.0f} % of its effect lies {where} {_either(declared)}, declared {kind} {scope}"
            )
        return ", and ".join(parts)


def _verdict(inside: Mapping[str, bool]) -> Verdict:
    """Return the verdict of the table above, for whether a segment lies in each declared kind of region."""
    if not inside:
        return "unsure"
    # What is not declared irrelevant may count; what is not among the declared relevant regions may not.
    irrelevant = inside.get("irrelevant", not inside.get("relevant"))
    relevant = inside.get("relevant", not irrelevant)
    if irrelevant == relevant:
        return "unsure"
    return "spurious" if irrelevant else "relevant"


def _either(regions: Sequence[Region]) -> str:
    return " or ".join(dict.fromkeys(region.text for region in regions))


def _parse(declaration: object) -> _Regions:
    declaration = _check_mapping(declaration, "{'irrelevant': ['corners'], 'relevant': ['centre']}")
    regions: _Regions = {}
    for kind, listed in declaration.items():
        if kind not in KINDS:
            raise unknown_name("specification", kind, KINDS)
        if isinstance(listed, str) or not isinstance(listed, Sequence):
            raise TypeError(
                f"The 'specification' argument must hold a list of regions under {kind!r}. "
                f"Got {listed!r} instead. A single region is a list of one: ['corners']."
            )
        if not listed:
            raise ValueError(
                f"The 'specification' argument must list at least one region under {kind!r}. Got none "
                "instead. Leave the key out where there is nothing to declare."
            )
        regions[kind] = tuple(parse_region(region) for region in listed)
    return regions


def _check_mapping(value: object, example: str) -> Mapping[object, object]:
    if not isinstance(value, Mapping):
        raise TypeError(
            f"The 'specification' argument must hold mappings such as {example}. Got {value!r} instead."
        )
    if not value:
        raise ValueError(
            f"The 'specification' argument must hold mappings such as {example}. Got an empty one instead."
        )
    return value
