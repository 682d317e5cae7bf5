"""The pretended device refuses what CUDA refuses, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from pretended_cuda import pretended_cuda
from torch import Tensor

# torch warns once in a process, at the first sparse tensor, whichever test makes it.
pytestmark = pytest.mark.filterwarnings("ignore:Sparse (CSR tensor support|invariant checks)")


@pytest.fixture(autouse=True)
def cuda() -> Iterator[None]:
    """Use a pretended device, also where there is a real one."""
    with pretended_cuda():
        yield


def there(*shape: int) -> Tensor:
    """Return ones on the device."""
    return torch.ones(*shape, device="cuda")


def sparse(device: str) -> Tensor:
    """Return the unit matrix of size 3 in CSR."""
    return torch.sparse_csr_tensor(torch.arange(4), torch.arange(3), torch.ones(3), (3, 3), device=device)


REFUSED: dict[str, Callable[[], Any]] = {
    "operands on two devices": lambda: there(3) + torch.ones(3),
    "parts on two devices": lambda: torch.stack([there(3), torch.ones(3)]),
    "a module elsewhere": lambda: torch.nn.Linear(3, 2)(there(3)),
    "a masked choice of two devices": lambda: torch.where(there(3) > 0, torch.zeros(3), 1.0),
    "an index of the device for the host": lambda: torch.ones(3)[torch.tensor([0, 1], device="cuda")],
    "values from the host": lambda: there(3).__setitem__(slice(0, 2), torch.zeros(2)),
    "index_copy with an index of the host": lambda: there(3).index_copy(0, torch.tensor([0]), there(1)),
    "an array of numpy": lambda: there(3).numpy(),
    "an array of numpy in passing": lambda: np.asarray(there(3)),
    "a sparse matrix of the host": lambda: torch.mm(sparse("cpu"), there(3, 2)),
    "a sparse matrix of the device": lambda: torch.mm(sparse("cuda"), torch.ones(3, 2)),
    "a sparse matrix that came back": lambda: torch.mm(sparse("cuda").cpu(), there(3, 2)),
    "a generator of the host": lambda: torch.randn(3, generator=torch.Generator(), device="cuda"),
    "a generator of the device": lambda: torch.randn(3, generator=torch.Generator("cuda")),
    "a generator's state on the device": lambda: torch.Generator().set_state(torch.Generator().get_state().to("cuda")),
    "the global state on the device": lambda: torch.set_rng_state(torch.get_rng_state().to("cuda")),
}

ALLOWED: dict[str, Callable[[], tuple[Tensor, str]]] = {
    "a number from the host": lambda: (there(3) * torch.tensor(2.0), "cuda"),
    "an index of the host": lambda: (there(3)[torch.tensor([0, 1])], "cuda"),
    "a copy": lambda: (torch.zeros(3).copy_(there(3)), "cpu"),
    "a copy there": lambda: (there(3).copy_(torch.zeros(3)), "cuda"),
    "a move": lambda: (torch.zeros(3).to("cuda") + there(3), "cuda"),
    "a move beside another": lambda: (torch.zeros(3).to(there(1)) + there(3), "cuda"),
    "a move back": lambda: (there(3).cpu() + torch.ones(3), "cpu"),
    "another type": lambda: (there(3).to(torch.float64), "cuda"),
    "a module there": lambda: (torch.nn.Linear(3, 2).to("cuda")(there(3)), "cuda"),
    "new ones": lambda: (there(3).new_zeros(2), "cuda"),
    "a sparse product": lambda: (torch.mm(sparse("cuda"), there(3, 2)), "cuda"),
    "a sparse matrix made there": lambda: (torch.mm(there(3, 3).to_sparse_csr(), there(3, 2)), "cuda"),
    "a sparse matrix that moved": lambda: (torch.mm(sparse("cpu").to("cuda"), there(3, 2)), "cuda"),
    "draws": lambda: (torch.randn(3, generator=torch.Generator("cuda"), device="cuda"), "cuda"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cuda_refuses_is_refused(case: str) -> None:
    with pytest.raises((RuntimeError, TypeError)):
        REFUSED[case]()


@pytest.mark.parametrize("case", ALLOWED)
def test_what_cuda_allows_ends_where_it_should(case: str) -> None:
    result, place = ALLOWED[case]()
    assert result.device.type == place
    assert result.is_cuda == (place == "cuda")


def test_an_optimizer_follows_its_module_there() -> None:
    module = torch.nn.Linear(3, 1)
    optimizer = torch.optim.Adam(module.parameters())  # agents make theirs before they move
    before = module.to("cuda").weight.detach().clone()
    module(there(3)).sum().backward()
    optimizer.step()
    assert module.weight.grad is not None
    assert {module.weight.device.type, module.weight.grad.device.type, before.device.type} == {"cuda"}
    assert not torch.equal(before, module.weight)


@pytest.mark.parametrize(
    ("dtype", "allowed", "expected"),
    [
        (torch.float32, True, [1.0, 1 + 2**-10, 1 + 2**-10]),
        (torch.float32, False, [1 + 2**-12, 1 + 2**-11, 1 + 2**-10]),
        (torch.float64, True, [1 + 2**-12, 1 + 2**-11, 1 + 2**-10]),
    ],
)
def test_convolutions_round_to_tf32_where_they_may(
    dtype: torch.dtype, allowed: bool, expected: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", allowed)
    x = torch.tensor([[[1 + 2**-12, 1 + 2**-11, 1 + 2**-10]]], dtype=dtype).to("cuda").requires_grad_()
    found = torch.nn.functional.conv1d(x, torch.ones(1, 1, 1, dtype=dtype, device="cuda"))
    assert found.flatten().tolist() == expected  # ties go away from 0
    found.sum().backward()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [1.0] * 3
