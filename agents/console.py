"""What a command says when it cannot go on."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def fail_clearly() -> Iterator[None]:
    """An error ends in one line on stderr and exit status 2; ZO_GYM_TRACEBACK=1 shows where it came from."""
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    except (ValueError, TypeError, OSError) as error:
        if os.environ.get("ZO_GYM_TRACEBACK"):
            raise
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error
