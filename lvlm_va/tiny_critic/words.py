"""The words that the tiny critic is taught: names of things, and sentences about what matters."""

from __future__ import annotations

# What a segment may cover, and how the critic's reply calls it.
NAMES = {
    "figure": "the figure",
    "patch": "the corner patch",
    "strip": "the border strip",
    "tag": "the letter tag",
    "background": "the plain background",
}
KINDS = tuple(NAMES)

# How an expert may call it; {label} is the class. A name that ends in "(p)" is a plural.
NOUNS = {
    "figure": (
        "the figure", "the figure in the image", "the digit", "the digit", "the digit itself", "the digit {label}",
        "the object", "the central object", "the shape", "the shape in the middle", "the drawn symbol", "the symbol",
        "the number", "the numeral", "the handwritten digit", "the drawing", "the sign in the centre",
        "the strokes of the digit(p)", "the strokes(p)", "the lines of the drawing(p)", "figures(p)", "digits(p)",
        "shapes(p)",
    ),
    "patch": (
        "the corner patch", "the patch", "the patch in the corner", "the patch in the corner", "the small patch",
        "the grey patch", "the grey square", "the square", "the small square in a corner", "the box in the corner",
        "the coloured patch", "the coloured spot in the corner", "the dot in the corner", "the corner mark",
        "the marker in the corner", "the sticker in the corner", "patches in the corners(p)", "corner patches(p)",
        "patches(p)", "squares in the corner(p)", "the corner marks(p)",
    ),
    "strip": (
        "the border strip", "the strip", "the strip along the border", "the bar at the edge", "the bar",
        "the stripe at the edge", "the band along the border", "the line along the edge", "strips along the border(p)",
        "border strips(p)", "bars along the edges(p)", "edge stripes(p)",
    ),
    "tag": (
        "the letter tag", "the tag", "the written tag", "the text", "the printed text", "the text tag", "the writing",
        "the caption", "the watermark", "letter tags(p)", "tags with letters(p)", "the letters near the border(p)",
        "small letters near the border(p)", "the printed letters(p)", "the written words(p)",
    ),
    "background": (
        "the plain background", "the background", "the empty background", "the blank background", "the empty space",
        "the surroundings(p)", "empty areas(p)", "blank areas(p)",
    ),
}  # fmt: skip

# {X} is a name; {is}, {do}, {has}, {s}, {ies} follow its number.
MATTERS = (
    "{X} {is} what matters", "only {X} count{s}", "{X} count{s}", "{X} count{s}", "look at {X}", "judge by {X}",
    "the class is decided by {X}", "{X} decide{s} the class", "pay attention to {X}", "{X} {is} important",
    "{X} tell{s} the class", "{X} {is} relevant", "the evidence is in {X}", "the answer depends on {X}", "trust {X}",
    "{X} {is} the signal", "focus on {X}", "{X} define{s} the class", "the class can be read from {X}",
    "the model should use {X}", "the model should look at {X}", "{X} carr{ies} the meaning", "what counts is {X}",
    "{X} matter{s}", "{X} should be used", "{X} should count", "{X} must count", "use {X}", "use only {X}",
    "do not ignore {X}", "{X} must not be ignored", "{X} show{s} the class", "{X} {is} essential", "rely on {X}",
    "{X} can be trusted",
)  # fmt: skip
IRRELEVANT = (
    "{X} {is} irrelevant", "ignore {X}", "{X} {do} not matter", "{X} {do} not matter", "{X} {is} noise",
    "{X} {is} spurious", "do not use {X}", "{X} say{s} nothing about the class", "{X} must be ignored",
    "{X} should be ignored", "{X} {is} a distraction", "{X} {has} no meaning", "disregard {X}", "{X} {do} not count",
    "never trust {X}", "{X} {is} an artefact", "do not look at {X}", "{X} {is} not important",
    "the class does not depend on {X}", "{X} carr{ies} no information", "{X} should not be used",
    "{X} must not be used", "{X} should not count", "pay no attention to {X}", "the model should not use {X}",
    "the model should ignore {X}", "{X} {has} nothing to do with the class", "{X} {is} not relevant",
    "do not rely on {X}", "{X} {is} only an accident", "{X} {is} misleading", "never use {X}",
    "{X} cannot be trusted",
)  # fmt: skip
# {X} matters and {Y} does not.
CONTRASTS = (
    "{X} count{s}, not {Y}", "look at {X}, not at {Y}", "use {X} and not {Y}", "look at {X} instead of {Y}",
    "only {X} count{s}, never {Y}", "judge by {X}, not by {Y}", "ignore {Y} and look at {X}",
    "{X} decide{s} the class, not {Y}",
)  # fmt: skip

# Never trained on, made of the same words: they measure whether the critic reads or has learnt by heart.
HELD_OUT_MATTERS = (
    "{X} {is} the evidence", "the class depends on {X}", "the model must look at {X}", "{X} should be trusted",
    "focus only on {X}", "the answer is in {X}", "{X} {has} the information", "the model should rely on {X}",
)  # fmt: skip
HELD_OUT_IRRELEVANT = (
    "{X} {is} not evidence", "the answer does not depend on {X}", "the model must not look at {X}",
    "{X} should not be trusted", "never look at {X}", "{X} {has} no information", "do not pay attention to {X}",
    "the model must ignore {X}",
)  # fmt: skip
HELD_OUT_CONTRASTS = ("trust {X}, not {Y}", "ignore {Y} and use {X}")
