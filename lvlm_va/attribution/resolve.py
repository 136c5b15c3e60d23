"""From a name to an attribution method."""

from __future__ import annotations

from collections.abc import Callable

from lvlm_va.attribution.deeplift import DeepLiftShap
from lvlm_va.attribution.gradients import GradientXInput, IntegratedGradients
from lvlm_va.attribution.types import Attributor
from lvlm_va.common.errors import unknown_name

ATTRIBUTORS: dict[str, Callable[[], Attributor]] = {
    "deeplift_shap": DeepLiftShap,
    "integrated_gradients": IntegratedGradients,
    "gradient_x_input": GradientXInput,
}


def resolve_attributor(spec: str | Attributor) -> Attributor:
    """Return an attribution method.

    Parameters
    ----------
    spec : str or Attributor
        ``"deeplift_shap"``, ``"integrated_gradients"`` or ``"gradient_x_input"``, with its defaults; or an
        object with a method ``attribute(module, images, target, references)``, which comes back as it is.

    Returns
    -------
    Attributor
        The method.

    Raises
    ------
    TypeError
        If it is neither.
    ValueError
        If the name is unknown.
    """
    if isinstance(spec, str):
        if spec not in ATTRIBUTORS:
            raise unknown_name("attribution", spec, ATTRIBUTORS)
        return ATTRIBUTORS[spec]()
    if isinstance(spec, type) or not callable(getattr(spec, "attribute", None)):
        raise TypeError(
            f"The 'attribution' argument must be one of {sorted(ATTRIBUTORS)} or an object with a method "
            f"'attribute'. Got {spec!r} instead."
        )
    return spec
