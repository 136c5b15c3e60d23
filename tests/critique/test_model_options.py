"""From the options of a command to a critic and a judge, and what does not go together."""

import pytest

from lvlm_va.critique import JudgeExample, LVLMCritic, VerdictTable
from lvlm_va.critique.model_options import ModelOptions

EXAMPLE = JudgeExample("Segment 1 covers a tag.", "spurious")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_cost": 1.0}, "--max-cost needs --prices"),
        ({"batch": True}, "--batch needs a --critic or --judge that is a model. Got 'tiny' and None"),
        (
            {"examples": "x.json", "judge": "parser"},
            "--examples needs a --judge that is a model. Got 'parser'",
        ),
    ],
)
def test_options_that_do_not_go_together(options, message):
    with pytest.raises(ValueError, match=message):
        ModelOptions("tiny", **options).make()


def test_options_make_a_critic_and_a_judge(tmp_path):
    VerdictTable(examples=(EXAMPLE,)).save(tmp_path / "table.json")
    models = ModelOptions(
        "http://127.0.0.1:1/v1#any",
        examples=tmp_path / "table.json",
        batch=True,
        batch_wait=0,
        max_requests=3,
    )
    critic, judge = models.make()
    assert isinstance(critic, LVLMCritic)
    assert (judge.examples, judge.batch, judge.batch_wait) == ((EXAMPLE,), True, False)
    assert judge.model is critic.model
    assert judge.budget is critic.budget is not None
    assert models.make_prices() is None
    assert ModelOptions(None).make() == (None, None)
