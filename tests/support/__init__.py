"""What several test files share."""

from pathlib import Path

import pytest

pytest.register_assert_rewrite(f"{__name__}.refusals")

ROOT = Path(__file__).resolve().parents[2]
