"""Names of devices."""

import pytest
import torch

from lvlm_va.common.device import resolve_device


@pytest.mark.parametrize("float64", [True, False])
def test_devices_of_this_machine(float64):
    assert resolve_device("cpu", float64=float64) == torch.device("cpu")
    assert resolve_device(torch.device("cpu"), float64=float64) == torch.device("cpu")
    for name in ("nonsense", "cuda:99"):
        with pytest.raises(
            ValueError, match=rf"^The 'device' argument must be 'auto'.* Got {name!r} instead \("
        ):
            resolve_device(name, float64=float64)


@pytest.mark.parametrize(("kind", "exact"), [("cuda", "cuda"), ("mps", "cpu"), (None, "cpu")])
def test_auto_is_an_accelerator_that_can_do_what_it_must(monkeypatch, kind, exact):
    found = None if kind is None else torch.device(kind)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: found)
    assert resolve_device("auto").type == exact
    assert resolve_device("auto", float64=False).type == (kind or "cpu")


def test_a_device_without_float64_serves_where_none_is_needed():
    assert resolve_device("meta", float64=False).type == "meta"
    with pytest.raises(
        ValueError, match="'auto', 'cpu' or a CUDA device of this machine. Got 'meta' instead"
    ):
        resolve_device("meta")
