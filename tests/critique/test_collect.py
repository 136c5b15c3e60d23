"""Asking a critic in chunks, and keeping every answer."""

import pytest

from lvlm_va.critique import Critique, RegionCritic, collect_critiques
from tests.critique.making import corner_and_centre, make_request

IDS = [str(i) for i in range(5)]


class Counting:
    """A critic that remembers what it was asked, and fails at one image."""

    name = "counting"

    def __init__(self, fails_at=None):
        self.asked = []
        self.fails_at = fails_at

    def critique(self, requests):
        ids = [request.image_id for request in requests]
        if self.fails_at in ids:
            raise RuntimeError("no answer")
        self.asked += ids
        return RegionCritic({"irrelevant": ["corners"]}).critique(requests)


def make(positions):
    empty = make_request([[0]], index=3)
    return [empty if i == 3 else corner_and_centre(index=i) for i in positions]


def test_one_critique_per_image_in_order():
    critic, done = Counting(), []
    critiques = collect_critiques(critic, IDS, make, chunk_size=2, on_progress=done.append)
    assert [critique.image_id for critique in critiques] == IDS
    assert critic.asked == ["0", "1", "2", "4"]  # never about an image without a segment
    assert critiques[3].verdicts == ()
    assert sum(done) == 5


@pytest.mark.parametrize("torn", [b"", b'{"image_id": "2", "te'])
def test_an_interrupted_run_asks_only_for_the_rest(tmp_path, torn):
    path = tmp_path / "critiques.jsonl"
    with pytest.raises(RuntimeError, match="no answer"):
        collect_critiques(Counting(fails_at="2"), IDS, make, path=path, chunk_size=2)
    path.write_bytes(path.read_bytes() + torn)  # as a killed process leaves it
    critic = Counting()
    critiques = collect_critiques(critic, IDS, make, path=path, chunk_size=2)
    assert critic.asked == ["2", "4"]
    assert critiques == collect_critiques(Counting(), IDS, make)

    critic = Counting()
    assert collect_critiques(critic, IDS, make, path=path) == critiques
    assert critic.asked == []


def test_wrong_answers_are_refused_and_not_kept(tmp_path):
    class Silent(Counting):
        def critique(self, requests):
            return [Critique("other", "")] * len(requests)

    path = tmp_path / "critiques.jsonl"
    with pytest.raises(ValueError, match="in the order of the requests"):
        collect_critiques(Silent(), IDS, make, path=path)
    assert not path.exists()
