"""The environment, the markers and the fixtures that all test modules share."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pooch
import pytest
import torch

from zo_gym.datasets import FILES, MNIST, cache_folder

hypothesis.settings.register_profile("fixed", deadline=None, derandomize=True, max_examples=60)  # in `make test`
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, max_examples=100)
hypothesis.settings.register_profile("nightly", deadline=None, max_examples=400)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


def pytest_configure(config: pytest.Config) -> None:
    """Set the variables that the tests, and the processes that they start, read.

    `ZO_GYM_CACHE` stays the user's, else it is a temporary folder, which the processes of pytest-xdist share; it is
    never the cache at home. Processes that the tests start use one thread, as the tests do.
    """
    patch = pytest.MonkeyPatch()
    config.add_cleanup(patch.undo)
    if not os.environ.get("ZO_GYM_CACHE"):
        cache = tempfile.TemporaryDirectory(prefix="zo-gym-tests-")
        config.add_cleanup(cache.cleanup)
        patch.setenv("ZO_GYM_CACHE", cache.name)
    patch.setenv("OMP_NUM_THREADS", "1")


def has_data(name: str) -> bool:
    """Tell whether a file (a key of `FILES`), or all files of "mnist", are in `$ZO_GYM_DATA` or the cache."""
    if name == "mnist":
        return all(has_data(file) for files in MNIST.values() for file in files)
    places = [cache_folder(FILES[name].folder)]
    if os.environ.get("ZO_GYM_DATA"):
        root = Path(os.environ["ZO_GYM_DATA"]).expanduser()
        places += [root / FILES[name].folder, root]
    return any((place / name).is_file() for place in places)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test marked `needs_data(...)` where a file that it needs is missing, and let the others use one thread.

    Threads cost more than such small tensors are worth. Where other processes use all cores, as under pytest-xdist, two
    threads that wait for each other are twenty times slower than one. Training sets its own number, which would stay.
    """
    torch.set_num_threads(1)
    for name in (name for mark in item.iter_markers("needs_data") for name in mark.args):
        if not has_data(name):
            pytest.skip(f"needs {name} in $ZO_GYM_DATA or the cache")


@pytest.fixture(autouse=True, scope="session")
def no_downloads() -> Iterator[None]:
    """Let no test download from another machine, so that they give the same results with and without a network."""
    retrieve = pooch.retrieve

    def retrieve_locally(url: str, *args: Any, **kwargs: Any) -> Any:
        if "//127.0.0.1" not in url:
            raise OSError("tests download nothing: mark this one with needs_data")
        return retrieve(url, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pooch, "retrieve", retrieve_locally)
        yield


@pytest.fixture(autouse=True, scope="session")
def log_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give agents without a log folder one: each would leave one of Stable-Baselines3's among the temporary files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SB3_LOGDIR", str(tmp_path_factory.mktemp("sb3")))
        yield
