"""A pretended CUDA device, by which machines without CUDA find tensors on the wrong device.

Its tensors keep their memory on the host but report the device as theirs. Every torch function is watched, and what
CUDA would refuse is refused: operands on two devices, arrays of numpy, a generator or its state on the wrong side.
Forward convolutions in float32 round to TF32 unless torch is set not to. No other rounding of kernels is imitated, nor
their speed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch
import torch._dynamo  # optimizers import it at their first use, which must not be inside the pretence
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakIdKeyDictionary

HOST, CUDA = torch.device("cpu"), torch.device("cuda", 0)

PROPERTIES = {"device": CUDA, "is_cuda": True, "is_cpu": False}
BETWEEN_DEVICES = {"to", "cpu", "copy_", "__get__", "__set__"}
INDEXING = {"__getitem__", "__setitem__", "index_put", "index_put_"}
AS_ARRAY = {"numpy", "__array__"}
CONVOLUTIONS = {"conv1d", "conv2d", "conv3d"}
NOT_WATCHED = {torch.device, torch._C._nn._parse_to}
_SPARSE = WeakIdKeyDictionary()
"""Holds the sparse tensors that are on the device: torch makes no subclass of one."""


class OnDevice(Tensor):
    """Marks a tensor as being on the device."""


class Generator(torch.Generator):
    """Draws on the host, and may report the device as its own."""

    def __new__(cls, device: torch.device | str = HOST) -> Generator:
        made = super().__new__(cls, HOST)
        made.place = torch.device(device)
        return made

    def __init__(self, device: torch.device | str = HOST) -> None:
        pass

    @property
    def device(self) -> torch.device:
        """Return the device that it reports."""
        return self.place

    def set_state(self, state: Tensor) -> torch.Generator:
        """Set the state, which must be on the host, as torch demands."""
        check_same("state of a generator", state.device, HOST)
        return super().set_state(state)


class Pretence(TorchFunctionMode):
    """Sends every function of torch through `watched` while it is entered."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return watched(func, args, kwargs or {})


@contextmanager
def pretended_cuda() -> Iterator[None]:
    """Let torch find one CUDA device inside."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: True)
        if hasattr(torch, "accelerator"):  # torch >= 2.6, whose optimizers ask the driver: a CUDA build here has none
            patch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: None)
        patch.setattr(torch, "Generator", Generator)
        patch.setattr(torch, "save", partial(_save, torch.save))
        patch.setattr(torch, "load", partial(_load, torch.load))
        patch.setattr(torch, "set_rng_state", partial(_set_rng_state, torch.set_rng_state))
        before = torch.__future__.get_swap_module_params_on_conversion()
        torch.__future__.set_swap_module_params_on_conversion(True)  # a parameter that moves changes its class
        try:
            with Pretence():
                yield
        finally:
            torch.__future__.set_swap_module_params_on_conversion(before)


def watched(func: Any, args: Any, kwargs: Any) -> Any:
    """Return func(*args, **kwargs) as if the device were there.

    Raises:
        RuntimeError, TypeError: CUDA would not do that.
    """
    name = getattr(func, "__name__", "")
    if func in NOT_WATCHED:
        return func(*args, **kwargs)
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    there = any(is_there(tensor) for tensor in tensors)
    if there and name == "__get__" and func.__self__.__name__ in PROPERTIES:
        return PROPERTIES[func.__self__.__name__]
    if there and name in AS_ARRAY:
        raise TypeError(f"{name}: a tensor on {CUDA} is no array of numpy; use Tensor.cpu() first.")
    if name == "_has_compatible_shallow_copy_type":  # torch.nn.Module.to asks that
        return len({is_there(tensor) for tensor in tensors}) == 1
    if name not in BETWEEN_DEVICES:
        check_operands(name, args, tensors)
    named = named_device(name, args, kwargs)
    stays = is_there(args[0]) if name in BETWEEN_DEVICES else there
    place = HOST if name == "cpu" else named or (CUDA if stays else HOST)
    if "generator" in kwargs and kwargs["generator"] is not None:
        check_same(f"generator of {name}", kwargs["generator"].device, place)
    args, kwargs = tree_map(_without_device, (args, kwargs))
    kwargs.pop("pin_memory", None)
    if there and name in CONVOLUTIONS and tf32_is_allowed():
        args = (*map(_as_tf32, args[:2]), *args[2:])  # images, filters, and the rest
    with torch._C.DisableTorchFunctionSubclass():
        result = func(*args, **kwargs)
    return tree_map(on_device if place.type == "cuda" else on_host, result)


def tf32_is_allowed() -> bool:
    """Tell whether convolutions may round float32 to TF32, as they may by default."""
    cudnn = torch.backends.cudnn
    return cudnn.conv.fp32_precision == "tf32" if hasattr(cudnn, "conv") else cudnn.allow_tf32


def is_there(value: Any) -> bool:
    """Tell whether the value is a tensor on the device."""
    return isinstance(value, OnDevice) or (isinstance(value, Tensor) and value in _SPARSE)


def named_device(name: str, args: Any, kwargs: Any) -> torch.device | None:
    """Return the device that a call asks for, if it does."""
    for value in (kwargs.get("device"), *(args[1:] if name == "to" else ())):
        if isinstance(value, Tensor):
            return CUDA if is_there(value) else HOST
        if isinstance(value, (str, torch.device)):
            return torch.device(value)
    return None


def check_operands(name: str, args: Any, tensors: list[Tensor]) -> None:
    """Require one device for all operands but numbers and indices of what is on the device.

    Raises:
        RuntimeError: The operands are on two devices.
    """
    if name in INDEXING:
        indices = tree_leaves(args[1])
        if is_there(args[0]):
            tensors = [tensor for tensor in tensors if not any(tensor is index for index in indices)]
    places = {is_there(tensor) for tensor in tensors if tensor.dim() > 0 or is_there(tensor)}
    if len(places) > 1:
        shapes = [(type(tensor).__name__, tuple(tensor.shape)) for tensor in tensors]
        raise RuntimeError(f"{name}: expected all tensors on the same device, got {shapes}.")


def check_same(what: str, found: torch.device, wanted: torch.device) -> None:
    """Require two devices of one kind.

    Raises:
        RuntimeError: They are of two kinds.
    """
    if found.type != wanted.type:
        raise RuntimeError(f"{what}: expected one on {wanted.type}, got one on {found.type}.")


def on_device(value: Any) -> Any:
    """Return the tensor on the device."""
    if not isinstance(value, Tensor) or is_there(value):
        return value
    if value.layout == torch.strided:
        return value.as_subclass(OnDevice)
    found = value.detach()  # another tensor with the same memory
    _SPARSE[found] = True
    return found


def on_host(value: Any) -> Any:
    """Return the tensor on the host."""
    if not is_there(value):
        return value
    return value.as_subclass(Tensor) if isinstance(value, OnDevice) else value.detach()


def _without_device(value: Any) -> Any:
    """Replace the device by the host, where the memory is."""
    if isinstance(value, torch.device) or (isinstance(value, str) and value.split(":")[0] == "cuda"):
        return HOST
    return value


def _as_tf32(value: Tensor) -> Tensor:
    """Round float32 to the 11 bits of TF32's significand; the gradient passes unchanged."""
    value = value.as_subclass(Tensor) if isinstance(value, OnDevice) else value
    if value.dtype != torch.float32:
        return value
    bits = value.detach().contiguous().view(torch.int32)
    rounded = (bits + 0x1000 & ~0x1FFF).view(torch.float32)
    return value + (rounded - value.detach())


def _save(save: Callable[..., None], content: Any, *args: Any, **kwargs: Any) -> None:
    save(tree_map(on_host, content), *args, **kwargs)


def _load(load: Callable[..., Any], file: Any, map_location: Any = None, **kwargs: Any) -> Any:
    content = load(file, map_location=HOST, **kwargs)
    moved = map_location is not None and torch.device(map_location).type == "cuda"
    return tree_map(on_device, content) if moved else content


def _set_rng_state(set_rng_state: Callable[[Tensor], None], state: Tensor) -> None:
    check_same("state of the generator", state.device, HOST)
    set_rng_state(state)
