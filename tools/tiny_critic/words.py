"""What the tiny critic tells apart, and the names by which an expert may call it."""

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
