"""What an expert can change, one value at a time, and the verdict table that the values make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, get_args

from lvlm_va.critique import JudgeExample, SegmentVerdict, VerdictTable
from lvlm_va.critique.policy import consistent

Kind = Literal["verdict", "description", "examples", "critique"]


class Address(NamedTuple):
    """Where a value stands.

    Attributes
    ----------
    kind : {"verdict", "description", "examples", "critique"}
        What it is.
    name : str
        The image of a verdict or a critique, the class of a description; empty for the list of examples.
    segment : int
        The segment of a verdict; 0 otherwise.
    """

    kind: Kind
    name: str = ""
    segment: int = 0


EXAMPLES = Address("examples")

# JSON values; what stands nowhere is absent.
Values = dict[Address, Any]


@dataclass(frozen=True)
class Change:
    """One value, before and after; None where there is none.

    Attributes
    ----------
    address : Address
        Where it stands.
    before, after : JSON value
        A verdict is an object with the fields of `SegmentVerdict`, less image and segment; a description and a
        critique are text; the examples are a list of objects with the fields of `JudgeExample`.
    """

    address: Address
    before: Any
    after: Any

    def reversed(self) -> Change:
        """Return the change that takes this one back."""
        return Change(self.address, self.after, self.before)

    def to_json(self) -> dict[str, Any]:
        """Return the change as a JSON object."""
        return {**self.address._asdict(), "from": self.before, "to": self.after}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Change:
        """Return the change that `to_json` wrote.

        Raises
        ------
        KeyError, ValueError
            If it is no such object.
        """
        address = Address(found["kind"], found["name"], found["segment"])
        if address.kind not in get_args(Kind):
            raise ValueError(
                f"The 'kind' of a change must be one of {get_args(Kind)}. Got {address.kind!r} instead."
            )
        return cls(address, found["from"], found["to"])


def apply_changes(values: Mapping[Address, Any], changes: Iterable[Change]) -> Values:
    """Return the values after some changes.

    Raises
    ------
    ValueError
        If a change starts from another value than the one that stands there.
    """
    result = dict(values)
    for change in changes:
        if result.get(change.address) != change.before:
            raise ValueError(f"The change of {change.address} starts from a value that does not stand there.")
        if change.after is None:
            result.pop(change.address, None)
        else:
            result[change.address] = change.after
    return result


def differences(old: Mapping[Address, Any], new: Mapping[Address, Any]) -> tuple[Change, ...]:
    """Return the changes that make the new values of the old ones."""
    return tuple(
        Change(address, old.get(address), new.get(address))
        for address in dict.fromkeys([*new, *old])
        if old.get(address) != new.get(address)
    )


def values_of(table: VerdictTable) -> Values:
    """Return the values of a table."""
    values: Values = {}
    for verdict in table.verdicts:
        values[Address("verdict", verdict.image_id, verdict.segment)] = verdict_value(verdict)
    for label, text in table.specifications.items():
        values[Address("description", label)] = text
    if table.examples:
        values[EXAMPLES] = [asdict(example) for example in table.examples]
    return values


def merged(values: Mapping[Address, Any], table: VerdictTable) -> Values:
    """Return the values with a table's in their places.

    Verdicts that the table does not mention stay; so do the descriptions, and the examples, where it has none at all.
    A verdict that it changes loses a content from which no policy draws it.

    Raises
    ------
    ValueError
        If the table judges a segment that has no verdict here.
    """
    for verdict in table.verdicts:
        if ("verdict", verdict.image_id, verdict.segment) not in values:
            raise ValueError(
                "The verdicts must be on segments that were critiqued in this run. "
                f"Got one on segment {verdict.segment} of image {verdict.image_id!r} instead."
            )
    replaced = "description" if table.specifications else None
    kept = {address: value for address, value in values.items() if address.kind != replaced}
    found = values_of(table)
    for verdict in table.verdicts:
        address = Address("verdict", verdict.image_id, verdict.segment)
        if found[address] != values[address]:
            found[address] = verdict_value(consistent(verdict))
    return {**kept, **found}


def verdict_value(verdict: SegmentVerdict) -> dict[str, Any]:
    """Return what a verdict says, less what it is on."""
    value = asdict(verdict)
    del value["image_id"], value["segment"]
    return value


def table_of(values: Mapping[Address, Any]) -> VerdictTable:
    """Return the table of some values.

    Raises
    ------
    TypeError, ValueError
        If a value is not what should stand there.
    """
    return VerdictTable(
        tuple(
            SegmentVerdict(address.name, address.segment, **value)
            for address, value in values.items()
            if address.kind == "verdict"
        ),
        {address.name: text for address, text in values.items() if address.kind == "description"},
        tuple(JudgeExample(**example) for example in values.get(EXAMPLES, ())),
    )
