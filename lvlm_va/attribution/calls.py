"""Calls of torch functions as a `TorchFunctionMode` meets them, under one name however they were spelt."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

_ALIASES = {
    "absolute": "abs",
    "clip": "clamp",
    "concat": "cat",
    "concatenate": "cat",
    "divide": "div",
    "true_divide": "div",
    "truediv": "div",
    "itruediv": "div",
    "idiv": "div",
    "iadd": "add",
    "radd": "add",
    "isub": "sub",
    "subtract": "sub",
    "imul": "mul",
    "rmul": "mul",
    "multiply": "mul",
    "imatmul": "matmul",
    "ipow": "pow",
    "fmax": "maximum",
    "fmin": "minimum",
    "negative": "neg",
    "special_expit": "sigmoid",
    "special_erf": "erf",
    "special_softmax": "softmax",
    "special_log_softmax": "log_softmax",
    "special_logsumexp": "logsumexp",
}
# What a maximum is of two tensors, not of one.
_OF_TWO = {"max": "maximum", "min": "minimum"}
_IN_PLACE = {
    "__setitem__",
    "__iadd__",
    "__isub__",
    "__imul__",
    "__itruediv__",
    "__idiv__",
    "__imatmul__",
    "__ipow__",
}


class Call:
    """One call of a torch function.

    Attributes
    ----------
    name : str
        ``relu`` for ``torch.relu``, ``Tensor.relu``, ``torch.relu_`` and so on.
    in_place : bool
        Whether the first argument is overwritten.
    args, kwargs
        As passed, the input always in ``args[0]``.
    dependents : list of Tensor
        Tensors among the arguments that depend on the module's input, in order, repeats included.
    """

    def __init__(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.func = func
        # An overload, as in an exported module, is called "relu.default".
        spelt = getattr(func, "__name__", type(func).__name__).partition(".")[0]
        bare = spelt.strip("_")
        self.name = _ALIASES.get(bare, bare)
        self.in_place = spelt in _IN_PLACE or (spelt.endswith("_") and not spelt.endswith("__"))
        if not args and "input" in kwargs:
            kwargs = dict(kwargs)
            args = (kwargs.pop("input"),)
        self._leaves, self._spec = pytree.tree_flatten((args, kwargs))
        if any(isinstance(leaf, Tensor) and leaf.requires_grad and leaf.is_leaf for leaf in self._leaves):
            # What depends on the input is no leaf: this is a parameter of a module that is not registered.
            self._leaves = [_constant(leaf) for leaf in self._leaves]
            args, kwargs = pytree.tree_unflatten(self._leaves, self._spec)
        self.args, self.kwargs = args, kwargs
        if self.name in _OF_TWO and isinstance(self.argument(1, "other", None), Tensor):
            self.name = _OF_TWO[self.name]
        self._places = [i for i, leaf in enumerate(self._leaves) if _depends(leaf)]
        self.dependents: list[Tensor] = [self._leaves[i] for i in self._places]

    @property
    def function(self) -> Callable[..., Any]:
        """The call as a function of its dependents alone, never in place.

        It holds none of them: a tensor changed in place would hold itself through its own graph.
        """
        func, spec, places, in_place = self.func, self._spec, self._places, self.in_place
        constants = [None if _depends(leaf) else leaf for leaf in self._leaves]
        if in_place and isinstance(constants[0], Tensor):
            constants[0] = constants[0].clone()

        def function(*dependents: Tensor) -> Any:
            leaves = list(constants)
            for place, tensor in zip(places, dependents, strict=True):
                leaves[place] = tensor
            args, kwargs = pytree.tree_unflatten(leaves, spec)
            if in_place:
                args = (args[0].clone(), *args[1:])
            return func(*args, **kwargs)

        return function

    @property
    def attribute(self) -> str:
        """The name; of a property's getter, that of the property."""
        return (
            str(self.func.__self__.__name__)
            if self.name == "get" and hasattr(self.func, "__self__")
            else self.name
        )

    def argument(self, position: int, name: str, default: Any) -> Any:
        """Return the argument at `position` or under `name`."""
        return self.args[position] if len(self.args) > position else self.kwargs.get(name, default)


def _constant(leaf: Any) -> Any:
    return leaf.detach() if isinstance(leaf, Tensor) and leaf.is_leaf else leaf


def _depends(leaf: object) -> bool:
    return isinstance(leaf, Tensor) and leaf.requires_grad


@functools.cache
def unfolded(func: types.FunctionType) -> types.FunctionType:
    """Return a function of torch written in Python without the check that hands it to a mode as a whole.

    So run, the mode meets the calls that it is made of: ``F.relu`` becomes ``torch.relu`` or ``torch.relu_``,
    ``F.multi_head_attention_forward`` its linear maps, matmuls and softmax.
    """

    def no_override(*_: object) -> bool:
        return False

    names = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")
    scope = {**func.__globals__, **dict.fromkeys(names, no_override)}
    body = types.FunctionType(func.__code__, scope, func.__name__, func.__defaults__, func.__closure__)
    body.__kwdefaults__ = func.__kwdefaults__
    return body
