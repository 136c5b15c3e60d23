"""Drawings: what is on the axes, and that nothing global is touched."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.cbook import is_math_text
from PIL import Image

from lvlm_va.report import (
    Example,
    plot_before_after,
    plot_explanation,
    plot_lambda_sweep,
    plot_segments,
    write_figures,
)
from tests.report.records import make_measures, make_record

IMAGE = np.full((1, 6, 6), 0.5)
EFFECT = np.zeros((6, 6))
EFFECT[0, 0], EFFECT[1, 1] = 2.0, -5.0


def test_explanation_is_orange_where_the_effect_is_positive():
    (picture,) = plot_explanation(IMAGE, EFFECT).images
    pixels = np.asarray(picture.get_array())
    np.testing.assert_allclose(pixels[0, 0] * 255, (245, 130, 32))
    np.testing.assert_allclose(pixels[1, 1], 0.25)
    alone = plot_explanation((255 * IMAGE).astype(np.uint8), None).images[0].get_array()
    np.testing.assert_allclose(alone, 127 / 255)


def test_an_image_outside_0_to_1_is_not_burnt_out():
    image = np.stack([np.linspace(-2, 2, 36).reshape(6, 6), np.zeros((6, 6))])
    (picture,) = plot_explanation(image, None).images
    wanted = (image.mean(0) + 2) / 4
    np.testing.assert_allclose(np.asarray(picture.get_array())[..., 0], wanted)


def test_segments_carry_number_and_mark():
    segments = np.zeros((6, 6), dtype=int)
    segments[:2], segments[4:] = 1, 2
    axes = plot_segments(IMAGE, segments, ["spurious"])
    assert [text.get_text() for text in axes.texts] == ["1✗", "2?"]


def test_before_and_after():
    example = Example(IMAGE, "7", "1", "7", EFFECT, -EFFECT)
    grid = plot_before_after([example] * 2, title="Digits")
    assert grid.shape == (3, 2)
    assert [axes.get_title() for axes in grid[:, 0]] == ["this is 7", "“1” ✗", "“7” ✓"]


@pytest.mark.parametrize("name", ["$5 or $10", "a$\\frac$b", r"3\$ and 4\$", "$"])
def test_dollars_in_names_are_dollars(name):
    example = Example(IMAGE, name, name, name, EFFECT, EFFECT)
    grid = plot_before_after([example])
    axes = plot_lambda_sweep([1e-2], {name: [0.8]})
    for drawn in (*(axes.title for axes in grid[:, 0]), axes.get_legend().get_texts()[0]):
        assert not is_math_text(drawn.get_text())
        assert name in drawn.get_text().replace(r"\$", "$")  # as it is drawn
    grid[0, 0].figure.draw_without_rendering()


def test_lambda_sweep_is_sorted_and_marks_the_choice():
    axes = plot_lambda_sweep([1e-2, 1e-3], {"accuracy": [0.8, 0.9], "alignment": [1.0, 0.7]}, chosen=1e-3)
    accuracy, alignment, chosen = axes.lines
    np.testing.assert_array_equal(accuracy.get_xdata(), [1e-3, 1e-2])
    np.testing.assert_array_equal(alignment.get_ydata(), [0.7, 1.0])
    assert chosen.get_xdata()[0] == 1e-3
    assert axes.get_xscale() == "log"


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plot_explanation(np.zeros(3), None), "'image' argument"),
        (lambda: plot_explanation(IMAGE, np.zeros((2, 2))), "'effect' argument"),
        (lambda: plot_segments(IMAGE, np.zeros((2, 2), int)), "'segments' argument"),
        (lambda: plot_lambda_sweep([], {}), "'strengths' argument"),
        (lambda: plot_lambda_sweep([0.0], {"accuracy": [1.0]}), "'strengths' argument"),
        (lambda: plot_lambda_sweep([1.0], {"accuracy": []}), "'measures' argument"),
    ],
)
def test_wrong_arguments(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


def test_figures_of_a_run(tmp_path):
    record = make_record(measures=make_measures())
    named = [f"{name} $\\frac$" for name in record.class_names]  # no TeX
    files = write_figures(replace(record, class_names=named), tmp_path / "figures")
    assert [path.name for path in files] == ["before_after.png", "segments.png", "groups.png"]
    for path in files:
        with Image.open(path) as picture:
            assert picture.width > 500


def test_pyplot_is_never_imported():
    code = (
        "import sys, numpy as np\n"
        "from lvlm_va.report import plot_explanation\n"
        "assert 'matplotlib' not in sys.modules\n"
        "plot_explanation(np.zeros((1, 4, 4)), np.ones((4, 4)))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
