"""Estimates before, limits during, and sums after."""

import copy
import pickle
import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvlm_va.backends import (
    Budget,
    BudgetedBackend,
    Capabilities,
    ChatFailure,
    Estimate,
    Prices,
    RecordingBackend,
    RetryingBackend,
    Usage,
    estimate,
    estimate_tokens,
    read_exchanges,
)
from tests.backends.inner import Inner, Streaming, ask, kinds, reply, text_of, texts

# "abcd" is 1 token, its turn takes 4 more.
REQUESTS = [ask("abcd", max_tokens=100, sample=i) for i in range(10)]


def test_an_estimate_counts_text_turns_and_images():
    image = np.zeros((512, 512, 3))
    assert estimate_tokens(ask("x" * 400, max_tokens=7)) == Usage(104, 7)
    assert estimate_tokens(ask("x" * 400, image, max_tokens=7)) == Usage(104 + 350, 7)
    assert estimate_tokens(ask("", image), lambda width, height: 255).input_tokens == 4 + 255
    assert estimate_tokens(ask("", schema={"a": 1}, choices=("spurious",))).input_tokens == 4 + 2 + 2


def test_the_image_rule_gets_width_then_height():
    seen = []
    estimate_tokens(ask("", np.zeros((20, 30, 3))), lambda *size: seen.append(size) or 1)
    assert seen == [(30, 20)]


def test_an_estimate_of_many_reads_well():
    total = estimate([ask("x" * 4000, np.zeros((750, 100, 3)))] * 1000, Prices(2.0, 10.0, "EUR"))
    assert total == Estimate(1000, 1000, 1_104_000, 1_024_000, pytest.approx(12.448), "EUR")
    assert str(total) == "1,000 requests, 1,000 images, 1,104,000 tokens in, 1,024,000 tokens out, 12.45 EUR"
    assert str(estimate([])) == "0 requests, 0 images, 0 tokens in, 0 tokens out, cost unknown"


def test_estimates_add():
    parts = [estimate([request], Prices(1, 2)) for request in REQUESTS]
    total = sum(parts, Estimate())
    assert total == replace(estimate(REQUESTS, Prices(1, 2)), cost=pytest.approx(total.cost))
    assert (parts[0] + estimate(REQUESTS)).cost is None
    with pytest.raises(ValueError, match="one currency to be added. Got USD and EUR instead"):
        parts[0] + estimate(REQUESTS, Prices(1, 2, "EUR"))


@pytest.mark.parametrize("make", [Inner, Streaming])
def test_what_fits_is_sent_and_the_rest_fails_unsent(make):
    inner = make()
    budget = Budget(max_requests=4)
    outcomes = BudgetedBackend(inner, budget).complete(REQUESTS)
    assert kinds(outcomes) == ["reply"] * 4 + ["budget"] * 6
    assert len(inner.asked) == 4
    assert outcomes[9].message == (
        "The budget of max_requests=4 would be exceeded: 5 with this request. Spent so far: 4 requests, 0 images, "
        "40 tokens in, 20 tokens out, cost unknown."
    )


def test_what_replies_leave_over_is_used_for_more():
    """Five fit by their upper bound of 100 tokens; each takes 5, so that all do in the end."""
    inner = Inner()
    budget = Budget(max_output_tokens=500)
    assert texts(BudgetedBackend(inner, budget).complete(REQUESTS)) == ["abcd"] * 10
    assert budget.spent.output_tokens == 50


def test_nothing_is_sent_that_might_exceed_it():
    """Replies that take all they may: the limit holds exactly."""
    inner = Inner(lambda *_: reply(tokens=(5, 100)))
    budget = Budget(max_output_tokens=799)
    assert kinds(BudgetedBackend(inner, budget).complete(REQUESTS)) == ["reply"] * 7 + ["budget"] * 3
    assert budget.spent.output_tokens == 700


def test_later_requests_are_not_sent_even_if_they_are_smaller():
    inner = Inner()
    requests = [ask("abcd", max_tokens=10), ask("abcd", max_tokens=999), ask("abcd", max_tokens=10)]
    backend = BudgetedBackend(inner, Budget(max_output_tokens=100))
    assert kinds(backend.complete(requests)) == ["reply", "budget", "budget"]


@pytest.mark.parametrize(
    ("limits", "fitting"),
    [
        ({"max_input_tokens": 24}, 4),
        ({"max_output_tokens": 300}, 3),
        ({"max_cost": 0.001, "prices": Prices(0, 5)}, 2),
        ({"max_cost": 0, "prices": Prices(1, 1)}, 0),
        ({"max_requests": 0}, 0),
        ({}, 10),
    ],
    ids=str,
)
def test_every_limit_holds(limits, fitting):
    backend = BudgetedBackend(Inner(lambda *_: reply(tokens=(5, 100))), Budget(**limits))
    assert kinds(backend.complete(REQUESTS)).count("reply") == fitting


@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(1, 300), st.floats(0, 1)), max_size=12),
    st.integers(0, 1500),
    st.sampled_from([Inner, Streaming]),
)
def test_output_never_exceeds_the_limit_and_sums_agree(rows, limit, make):
    """Whatever replies take of their bound: nothing beyond the limit, everything accounted for."""
    taken = {str(i): max(1, int(most * share)) for i, (_, most, share) in enumerate(rows)}
    inner = make(lambda request, before: reply(tokens=(1, taken[text_of(request)])))
    requests = [ask(str(i), max_tokens=most) for i, (_, most, _) in enumerate(rows)]
    budget = Budget(max_output_tokens=limit)
    outcomes = BudgetedBackend(inner, budget).complete(requests)
    assert budget.spent.output_tokens == sum(taken[text] for text in inner.asked) <= limit
    assert kinds(outcomes) == ["reply"] * len(inner.asked) + ["budget"] * (len(rows) - len(inner.asked))


@pytest.mark.parametrize("kind", ["timeout", "connection", "malformed"])
def test_what_may_be_billed_is_charged_by_estimate(kind):
    budget = Budget()
    BudgetedBackend(Inner(lambda *_: ChatFailure(kind, "?")), budget).complete(REQUESTS[:1])
    assert budget.spent == Estimate(1, 0, 5, 100, None)


@pytest.mark.parametrize("kind", ["rate_limit", "server", "auth", "bad_request"])
def test_what_a_server_refused_takes_a_request_and_no_tokens(kind):
    budget = Budget()
    BudgetedBackend(Inner(lambda *_: ChatFailure(kind, "no")), budget).complete(REQUESTS[:1])
    assert budget.spent == Estimate(1, 0, 0, 0, None)


def test_a_reply_without_usage_is_charged_by_estimate_and_a_cached_one_not():
    budget = Budget()
    BudgetedBackend(Inner(lambda *_: reply(tokens=())), budget).complete(REQUESTS[:1])
    assert budget.spent == Estimate(1, 0, 5, 100, None)
    BudgetedBackend(Inner(lambda *_: reply(cached=True)), budget).complete(REQUESTS[:1])
    assert budget.spent == Estimate(1, 0, 5, 100, None)


def test_what_was_held_back_is_not_charged():
    inner = Inner(lambda *_: ChatFailure("quota", "spent"), batch_size=2)
    budget = Budget(max_requests=10)
    backend = BudgetedBackend(inner, budget)
    assert kinds(backend.complete(REQUESTS)) == ["quota"] * 10
    assert budget.spent.requests == 2
    inner.answer = lambda *_: reply()
    assert (
        kinds(backend.complete(REQUESTS)) == ["reply"] * 8 + ["budget"] * 2
    )  # the reservations are free again


def test_after_an_interruption_what_was_under_way_is_charged():
    def interrupt(request, before):
        raise KeyboardInterrupt

    budget = Budget(max_requests=10)
    with pytest.raises(KeyboardInterrupt):
        BudgetedBackend(Inner(interrupt), budget).complete(REQUESTS[:3])
    assert budget.spent.requests == 3


def test_each_attempt_is_paid_for():
    budget = Budget(max_requests=3)
    inner = Inner(lambda *_: ChatFailure("server", "down"))
    outcomes = RetryingBackend(BudgetedBackend(inner, budget), sleep=lambda seconds: None).complete(
        REQUESTS[:1]
    )
    assert kinds(outcomes) == ["budget"]
    assert budget.spent.requests == len(inner.asked) == 3


def test_threads_and_backends_share_one_budget():
    budget = Budget(max_requests=100)
    inners = [Streaming(), Inner()]
    threads = [
        threading.Thread(target=BudgetedBackend(inner, budget).complete, args=([ask("abcd")] * 20,))
        for inner in inners
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(len(inner.asked) for inner in inners) == budget.spent.requests == 100


def test_a_deep_copy_is_the_same_budget_and_a_pickled_one_its_own():
    backend = BudgetedBackend(Inner(), Budget(max_requests=10))
    twin = copy.deepcopy(backend)
    twin.complete(REQUESTS[:4])
    assert backend.budget.spent.requests == 4
    distant = pickle.loads(pickle.dumps(backend))
    assert kinds(distant.complete(REQUESTS)).count("reply") == 6
    assert backend.budget.spent.requests == 4


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Budget(max_requests=-1), ValueError, "'max_requests' argument must be .* Got -1 instead"),
        (lambda: Budget(max_cost=1.0), ValueError, "'prices' argument must be given with 'max_cost'"),
        (lambda: Prices(-1, 1), ValueError, "'input_per_million' argument must be a price or a factor"),
        (lambda: BudgetedBackend(Inner(), 5.0), TypeError, "'budget' argument must be a Budget. Got float"),
    ],
)
def test_arguments_are_checked(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_backend_that_batches_by_itself_is_charged_and_recorded_so(tmp_path):
    inner, budget = Inner(), Budget(prices=Prices(1e6, 1e6))
    inner.capabilities = Capabilities(batched=True)
    asked = RecordingBackend(BudgetedBackend(RetryingBackend(inner), budget), tmp_path / "record.jsonl")
    asked.complete([REQUESTS[0]])
    assert budget.spent.cost == pytest.approx(15 / 2)
    assert read_exchanges(tmp_path / "record.jsonl")[0]["batched"]
