"""What several tests need."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def real_month_path(month: str) -> Path | None:
    """Return the real file of a month, or None where there is none."""
    folders = [ROOT / "data", ROOT.parent / "shared" / "data"]
    if os.environ.get("TAXI_DATA_DIR"):
        folders.insert(0, Path(os.environ["TAXI_DATA_DIR"]))
    paths = (folder / f"green_tripdata_{month}.parquet" for folder in folders)
    return next((path for path in paths if path.exists()), None)
