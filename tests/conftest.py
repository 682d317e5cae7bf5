"""Fixtures that several test modules share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True, scope="session")
def data_folder() -> Iterator[Path | None]:
    """ZO_GYM_DATA for the whole session: the user's own, else the folder beside the checkout, else None."""
    with pytest.MonkeyPatch.context() as patch:
        if not os.environ.get("ZO_GYM_DATA") and SHARED_DATA.is_dir():
            patch.setenv("ZO_GYM_DATA", str(SHARED_DATA))
        value = os.environ.get("ZO_GYM_DATA")
        yield Path(value) if value else None


@pytest.fixture(autouse=True, scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """ZO_GYM_CACHE for the whole session: the user's own if it is set, else an empty folder; never the home cache."""
    with pytest.MonkeyPatch.context() as patch:
        if not os.environ.get("ZO_GYM_CACHE"):
            patch.setenv("ZO_GYM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield Path(os.environ["ZO_GYM_CACHE"])


@pytest.fixture(autouse=True, scope="session")
def log_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Agents without a log folder would each leave one of Stable-Baselines3's among the temporary files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SB3_LOGDIR", str(tmp_path_factory.mktemp("sb3")))
        yield


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Threads cost more than such small tensors are worth, and a loaded machine makes them crawl."""
    torch.set_num_threads(1)
