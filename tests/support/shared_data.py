"""Real captions and pictures, which lie beside the checkout on some machines."""

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[3] / "shared" / "data"


def needs(name: str) -> pytest.MarkDecorator:
    """Skip a test where the file `name` is not among the shared data."""
    return pytest.mark.skipif(not (SHARED / name).exists(), reason=f"real data: no ../shared/data/{name}")
