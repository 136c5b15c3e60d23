"""What the tiny critic tells apart, and the words by which an expert may call it."""

from __future__ import annotations

# What a segment may cover, and how the critic's reply calls it: in one word, on which all turns.
NAMES = {
    "figure": "the figure",
    "patch": "the patch",
    "strip": "the strip",
    "tag": "the tag",
    "background": "the background",
}
KINDS = tuple(NAMES)
MARKS = ("patch", "strip", "tag")
# What a segment may cover: one thing, or the figure and a mark about equally.
COVERED = (*((kind,) for kind in KINDS), *(("figure", mark) for mark in MARKS))
# What a description may name. A hair only ever crosses a segment.
NAMED = (*KINDS, "hair")

# How an expert may call it; {label} is the class, {thing} one of `THINGS`, {letter} a capital. A name that ends in
# "(p)" is a plural.
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
        "patches(p)", "squares in the corner(p)", "the corner marks(p)", "the sticker", "the coloured sticker",
        "the plaster", "the coloured plaster", "the bandage", "the disc at the edge",
        "the square of one grey in a corner",
        "the grey patch in a corner of the image", "stickers(p)", "plasters(p)", "coloured plasters(p)",
    ),
    "strip": (
        "the border strip", "the strip", "the strip along the border", "the bar at the edge", "the bar",
        "the stripe at the edge", "the band along the border", "the line along the edge",
        "strips along the border(p)",
        "border strips(p)", "bars along the edges(p)", "edge stripes(p)", "the ruler", "the ruler along the edge",
        "the ruler with its ticks and numbers", "the ruler beside the {thing}", "the scale", "the frame",
        "the frame around the image", "the black frame", "rulers(p)",
    ),
    "tag": (
        "the letter tag", "the tag", "the written tag", "the text", "the printed text", "the text tag", "the writing",
        "the caption", "the watermark", "letter tags(p)", "tags with letters(p)", "the letters near the border(p)",
        "small letters near the border(p)", "the printed letters(p)", "the written words(p)",
        "the letter in the corner",
        "the letter {letter}", "the letter {letter} or {letter}", "the letter {letter} in a corner",
        "the letters {letter} and {letter}(p)", "letters(p)", "the stamp", "the logo", "stamps(p)", "watermarks(p)",
        "the date", "the date or the watermark", "the plate with letters", "the date in the picture",
        "the watermark laid over the picture", "the letter {letter} or {letter} in a corner",
    ),
    "background": (
        "the plain background", "the background", "the empty background", "the blank background", "the empty space",
        "the surroundings(p)", "empty areas(p)", "blank areas(p)", "the black background", "the dark background",
        "the ground", "the skin", "the skin around the {thing}", "the surrounding skin", "the tissue",
        "the soft tissue",
        "the tissue around the {thing}", "the area around the {thing}", "the background around the {thing}",
        "the empty corners(p)", "the ground away from the {thing}", "the table", "the table around the {thing}",
        "the skin around the {thing} with its hairs",
    ),
    "hair": ("hairs(p)", "the hairs(p)", "the hair", "thin hairs(p)", "a hair", "the hairs on the skin(p)"),
}  # fmt: skip

# What the figure may be, and what of it may count; "+s" makes a plural.
THINGS = (
    "lesion", "mole", "bone", "thigh bone", "shin bone", "knee", "joint", "hand", "tooth", "organ", "cell", "leaf",
    "flower", "plant", "fruit", "stone", "animal", "bird", "fish", "face", "digit", "object", "shape", "part",
    "metal part", "casting", "ring", "wheel", "piece", "piece of clothing", "shoe", "spot", "symbol", "plate", "bolt",
)  # fmt: skip
PARTS = (
    "border", "edge", "outline", "contour", "shape", "form", "pigment", "colour", "texture", "surface", "structure",
    "pattern", "gap", "joint gap", "hole", "hollow", "size", "width", "end", "tip", "curve", "crack", "vein",
    "stroke", "line", "margin", "blade", "stalk", "spot", "stain", "pore", "chip", "bore", "bolt hole",
    "turning mark",
    "outer edge", "corner",
)  # fmt: skip
# Of these an expert says how they look, which says nothing of what counts.
LOOKS = (
    "smooth", "jagged", "irregular", "regular", "even", "uneven", "round", "oval", "long", "short", "wide", "narrow",
    "thick", "thin", "dark", "darker", "light", "lighter", "bright", "pale", "grey", "black", "white", "red", "brown",
    "blue", "green", "yellow", "coarse", "fine", "blotchy", "spotted", "striped", "lopsided", "symmetric",
    "asymmetric",
    "flat", "curved", "straight", "sharp", "blurred", "soft", "hard", "large", "small", "tiny", "open", "closed",
    "dense", "densely woven", "healthy", "arthritic", "benign", "malignant", "normal", "ill", "broken", "whole",
    "cracked", "ripe", "sound", "faulty", "metal", "simple", "broad", "lance-shaped", "toothed", "unbroken", "odd",
    "handwritten", "outer", "inner",
)  # fmt: skip
