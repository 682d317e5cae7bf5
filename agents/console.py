"""Errors of the commands, each as one clear line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError


@contextmanager
def fail_clearly() -> Iterator[None]:
    """End an error in one line on stderr and exit status 2; with ZO_GYM_TRACEBACK=1 it shows where it came from."""
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    except (ValueError, TypeError, OSError, ImportError) as error:
        if os.environ.get("ZO_GYM_TRACEBACK"):
            raise
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error


@contextmanager
def saving_to(folder: Path) -> Iterator[None]:
    """Turn whatever a failed write raises, e.g. on a full disk, into one OSError with the folder and the remedy."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:  # torch.save raises RuntimeError
        reason = str(error).strip().splitlines()[0]
        raise OSError(
            f"Nothing can be saved in {folder}: {reason}. Free space there or make it writable, then go on with "
            "train.py --resume; what was saved there before is intact."
        ) from error
