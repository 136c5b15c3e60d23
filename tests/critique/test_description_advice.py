"""What descriptions lack is said once, to those whose critic reads them, and never of good ones."""

import warnings

import pytest

from lvlm_va import LVLMVAClassifier
from lvlm_va.critique import CriticPrompt, LVLMCritic, RegionCritic, RegionRenderer
from lvlm_va.critique.description_advice import shortcomings, warn_of_vague_descriptions
from lvlm_va.critique.specifications import as_texts
from lvlm_va.datasets import FASHION_SPECIFICATIONS, LESION_SPECIFICATIONS, RADIOGRAPH_SPECIFICATIONS
from lvlm_va.experiments.tasks import DESCRIPTION
from tests.critique.scripted import SPECIFICATIONS, Scripted, last_question, verdict_lines

NONE, NUMBER = "no description", "named by a number, and nothing says what it stands for"
FOR, AGAINST = "nothing said to count", "nothing said not to count"
LONG = "more than 2,000 characters"


@pytest.mark.parametrize(
    ("text", "lack"),
    [
        ("The digit counts. The patch in the corner does not matter.", None),
        ("Only the lesion counts.", None),
        ("Everything but the ruler counts.", None),
        ("Nothing but the digit matters.", None),
        ("The ruler does not matter, the lesion does.", None),
        ("The ruler isn't important but the lesion is.", None),
        ("The lesion counts; don\u2019t look at hairs.", None),
        ("A lung without fluid: no nodules. The tube must not count.", None),
        ("What counts is the bone. What does not count is letters, stickers.", None),
        ("the strokes of the digit", AGAINST),
        ("The bone counts and the gap counts.", AGAINST),
        ("What counts is the bone.", AGAINST),
        ("What counts is der Knochen.", AGAINST),
        ("What does not count is letters, stickers.", FOR),
        ("Letters, rulers and frames do not matter.", FOR),
        ("Ignore the ruler.", FOR),
        ("The patch can\u2019t be used.", FOR),
        ("", NONE),
        (" \n", NONE),
        ("The bone counts, the tag does not. " * 100, LONG),
        ("Der Knochen z\u00e4hlt.", None),
        ("Das Lineal z\u00e4hlt nicht.", None),
        ("La l\u00e9sion compte.", None),
        ("\u68d2\u304c\u5927\u4e8b", None),
        ("El hueso cuenta, no la letra.", None),
        ("\u68d2" * 2001, LONG),
    ],
)
def test_one_class(text, lack):
    assert shortcomings(["bone"], {"bone": text}) == ({} if lack is None else {lack: ["bone"]})


@pytest.mark.parametrize(
    "specifications",
    [
        RADIOGRAPH_SPECIFICATIONS,
        LESION_SPECIFICATIONS,
        FASHION_SPECIFICATIONS,
        dict.fromkeys(range(10), DESCRIPTION),
        SPECIFICATIONS,
    ],
)
def test_our_own_descriptions_lack_nothing(specifications):
    texts = as_texts(specifications)
    assert shortcomings(list(texts), texts) == {}


def test_one_text_for_several_classes():
    """It matters where the name does not tell the classes apart either."""
    text = "Only the bone counts."
    assert shortcomings(["0", "1", "well"], dict.fromkeys(["0", "1", "well"], text)) == {NUMBER: ["0", "1"]}
    assert shortcomings(["0", "1"], {"0": text, "1": f"{text} It is broken."}) == {}
    assert shortcomings(["ill", "well"], dict.fromkeys(["ill", "well"], text)) == {}
    assert shortcomings(["0", "1"], dict.fromkeys("01", "Only the digit counts.")) == {}
    assert shortcomings(["0", "1"], dict.fromkeys("01", "Nur die Ziffer z\u00e4hlt.")) == {}
    assert shortcomings(["0", "1"], {}) == {NONE: ["0", "1"]}


def spurious(request, number):
    return verdict_lines(last_question(request), "spurious")


def lvlm():
    return LVLMCritic(Scripted(spurious), prompt=CriticPrompt.six_steps(), renderer=RegionRenderer(size=64))


def warned_by(call) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(each.message) for each in caught]


def test_one_warning_with_an_example_that_lacks_nothing():
    names = ["melanoma", "n" * 200, *"abcdef"]
    texts = {"melanoma": "The lesion counts.", "a": "Ignore the ruler."}
    (said,) = warned_by(lambda: warn_of_vague_descriptions(lvlm(), names, texts))
    assert said == (
        f"The critic goes by 'specifications', and these leave it to guess. No description: '{'n' * 27}...', 'b', 'c' "
        "and 3 more; nothing said to count: 'a'; nothing said not to count: 'melanoma'. Say what counts and what does "
        f"not, such as specifications={{'{'n' * 27}...': {{'counts': 'what shows that it is {'n' * 27}...: shape, "
        "border and surface', 'does_not_count': 'letters, rulers, stickers and frames'}}."
    )
    for name in ("melanoma", "0"):
        (said,) = warned_by(lambda name=name: warn_of_vague_descriptions(lvlm(), [name], {}))
        example = as_texts(eval(said.partition("specifications=")[2].rstrip(".")))
        assert shortcomings([name], example) == {}


@pytest.mark.parametrize("dry", [False, True], ids=["fit", "estimate"])
def test_once_before_anything_is_sent(dry, blobs):
    critic = lvlm()
    parameters = {"n_align": 2, "n_rounds": 2, "epochs": 1, "align_epochs": 1, "round_tolerance": 0}
    clf = LVLMVAClassifier("mlp", critic=critic, random_state=0, **parameters)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="leave it to guess. No description: '0', '1'. Say"):
            (clf.estimate_cost if dry else clf.fit)(*blobs)
    assert not critic.backend.asked
    said = warned_by(lambda: (clf.estimate_cost if dry else clf.fit)(*blobs))
    assert sum("leave it to guess" in warning for warning in said) == 1
    assert len(critic.backend.asked) == (0 if dry else 4)
    if not dry:
        clf.set_params(specifications=SPECIFICATIONS)
        for act in (lambda: clf.realign(clf.verdicts_), lambda: clf.fit(*blobs)):
            assert not [warning for warning in warned_by(act) if "leave it to guess" in warning]


def test_who_reads_no_descriptions_is_spared(blobs):
    critic = RegionCritic({"irrelevant": ["corners"]})
    clf = LVLMVAClassifier("mlp", critic=critic, n_align=2, epochs=1, align_epochs=1, random_state=0)
    clf.fit(*blobs)  # warnings are errors
    warn_of_vague_descriptions(None, ["0"], {})
