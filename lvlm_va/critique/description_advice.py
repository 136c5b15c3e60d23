"""What the descriptions of the classes lack, said before a model is asked to go by them.

The rules are simple, and rather miss a lack than cry wolf. In any language: a class without a description, and one that
is far too long. In English only, by words such as "not", "ignore" and "only": nothing said to count, nothing said not
to count, and one text for several classes named by a number, which leaves open what the numbers stand for, unless the
text is about digits. One text for classes named in words is in order: the name says how they differ.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from lvlm_va.common.warnings import warn
from lvlm_va.critique.optional_methods import reads_descriptions
from lvlm_va.critique.specifications import PARTS
from lvlm_va.critique.types import Critic

MOST_CHARACTERS = 2000
_MOST_NAMED, _MOST_OF_A_NAME = 3, 30
_EXAMPLE_OF_WHAT_DOES_NOT = "letters, rulers, stickers and frames"
_NUMBER = re.compile(r"[\W_]*[0-9][0-9\W_]*")
# Where numbers are what the images show, a number is a name.
_DIGITS = re.compile(r"\b(?:digit|number|numeral|figure)s?\b", re.IGNORECASE)

# One of these is not a word of another language, or two of those.
_ENGLISH = re.compile(r"\bthe\b", re.IGNORECASE)
_ENGLISH_TOO = re.compile(
    r"\b(?:and|are|counts?|does|matters?|must|not|only|should|that|what|which|with)\b", re.IGNORECASE
)
_NOT = r"(?:\b(?:not|never|cannot|no|nor|neither|nothing|none)\b|n['\u2019]t\b)"
_IRRELEVANT = (
    r"\b(?:ignor|disregard|irrelevant|spurious|exclud|unimportant|meaningless|useless|mislead|distract)\w*"
)
# Says both what counts and what does not.
_ONLY = re.compile(
    r"\b(?:only|solely|alone|just|except|instead|rather than|(?:every|any)thing but|all but)\b", re.IGNORECASE
)
_AGAINST = re.compile(f"{_NOT}|{_IRRELEVANT}", re.IGNORECASE)
_MATTERS = (
    r"\b(?:counts?|counted|matters?|decides?|decisive|rely|relevant|important|used?|considered|evidence|attention"
    r"|do|does)\b"
)
_DENIED = re.compile(rf"{_NOT}[^,]*?{_MATTERS}|{_IRRELEVANT}", re.IGNORECASE)
# Of "does not" only the end is in a denial.
_AUXILIARY = re.compile(rf"\b(?:do|does|did|should|must|may|can)\s*(?={_NOT})", re.IGNORECASE)
_ASSERTED = re.compile(_MATTERS, re.IGNORECASE)
_CLAUSES = re.compile(r"[.;!?\n]+|\bbut\b", re.IGNORECASE)


def warn_of_vague_descriptions(
    critic: Critic | None, class_names: Sequence[str], descriptions: Mapping[str, str]
) -> None:
    """Warn once of all that the descriptions lack, if the critic goes by them.

    Parameters
    ----------
    critic : Critic or None
        Who is to read them; see `lvlm_va.critique.optional_methods.ReadsDescriptions`.
    class_names : sequence of str
        All classes.
    descriptions : mapping of str to str
        What is said of each; a class may be missing.
    """
    if critic is None or not reads_descriptions(critic):
        return
    lacks = shortcomings(class_names, descriptions)
    if lacks:
        said = "; ".join(f"{lack}: {_listed(classes)}" for lack, classes in lacks.items())
        example = _example(next(iter(lacks.values()))[0])
        warn(
            f"The critic goes by 'specifications', and these leave it to guess. {said[0].upper()}{said[1:]}. Say what "
            f"counts and what does not, such as specifications={example}."
        )


def shortcomings(class_names: Sequence[str], descriptions: Mapping[str, str]) -> dict[str, list[str]]:
    """Return what descriptions lack, and for which classes.

    Parameters
    ----------
    class_names : sequence of str
        All classes.
    descriptions : mapping of str to str
        What is said of each; a class may be missing.

    Returns
    -------
    dict of str to list of str
        The lack in words to the classes; empty where there is none.

    Examples
    --------
    >>> shortcomings(["cat", "dog"], {"cat": "Only the cat itself counts.", "dog": "The dog counts."})
    {'nothing said not to count': ['dog']}
    """
    texts = {name: descriptions.get(name, "").strip() for name in class_names}
    said = {name: text for name, text in texts.items() if text}
    numbers = [text for name, text in said.items() if _NUMBER.fullmatch(name)]
    found = {
        "no description": [name for name in texts if name not in said],
        "named by a number, and nothing says what it stands for": [
            name
            for name, text in said.items()
            if _NUMBER.fullmatch(name)
            and numbers.count(text) > 1
            and _is_english(text)
            and not _DIGITS.search(text)
        ],
        "nothing said to count": [
            name for name, text in said.items() if _is_english(text) and not _says_what_counts(text)
        ],
        "nothing said not to count": [
            name for name, text in said.items() if _is_english(text) and not _says_what_does_not(text)
        ],
        f"more than {MOST_CHARACTERS:,} characters": [
            name for name, text in said.items() if len(text) > MOST_CHARACTERS
        ],
    }
    return {lack: classes for lack, classes in found.items() if classes}


def _is_english(text: str) -> bool:
    return bool(_ENGLISH.search(text)) or len({word.lower() for word in _ENGLISH_TOO.findall(text)}) > 1


def _says_what_counts(text: str) -> bool:
    """Whether a sentence denies nothing ("does not count", "ignore"), or asserts something besides."""
    for clause in filter(str.strip, _CLAUSES.split(text)):
        rest = _DENIED.sub(" ", _AUXILIARY.sub(" ", clause))
        if not _DENIED.search(clause) or _ONLY.search(clause) or _ASSERTED.search(rest):
            return True
    return False


def _says_what_does_not(text: str) -> bool:
    return bool(_AGAINST.search(text) or _ONLY.search(text))


def _listed(names: Sequence[str]) -> str:
    listed = ", ".join(repr(_short(name)) for name in names[:_MOST_NAMED])
    return listed + f" and {len(names) - _MOST_NAMED} more" * (len(names) > _MOST_NAMED)


def _example(name: str) -> dict[str, dict[str, str]]:
    """Return a description to start from, with the user's own class."""
    name = _short(name)
    what = f"WHAT {name} STANDS FOR" if _NUMBER.fullmatch(name) else f"what shows that it is {name}"
    parts = (f"{what}: shape, border and surface", _EXAMPLE_OF_WHAT_DOES_NOT)
    return {name: dict(zip(PARTS, parts, strict=True))}


def _short(name: str) -> str:
    return name if len(name) <= _MOST_OF_A_NAME else f"{name[: _MOST_OF_A_NAME - 3]}..."
