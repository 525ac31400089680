"""Lesson 16's service against a bare endpoint of FastAPI that calls the same model.

What the service adds: a schema with limits, MLflow's own check of the columns, and a look at the
registry twice a second. Four clients ask for one trip at a time, in a process beside the service.
"""

import asyncio
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import nbformat

from benchmarks.paired import Row, main, own_workspace
from taxi_lib.services.ports import free_port, is_healthy
from taxi_lib.services.waiting import wait_for

LESSON = Path(__file__).resolve().parents[1] / "notebooks" / "16_registry_and_serving.ipynb"
NAME = "served"
BARE = """
import os
import mlflow, pandas as pd
from fastapi import FastAPI
from service import describe
model = mlflow.sklearn.load_model(f"models:/{os.environ['MODEL_NAME']}@champion")
app = FastAPI()
@app.get("/health")
def health() -> dict: return {}
@app.post("/predict")
def predict(trips: list[dict]) -> list[float]:
    asked = pd.DataFrame(trips)
    asked["pickup_datetime"] = pd.to_datetime(asked["pickup_datetime"])
    return model.predict(describe(asked)).tolist()
"""
TRIP = {"PULocationID": 74, "DOLocationID": 75, "trip_distance": 2.5}
TRIP |= {"pickup_datetime": "2021-02-01T08:30:00", "dispatched": True}


def write_services(folder: Path) -> None:
    """Write the lesson's service, and a bare one with the same columns and the same model."""
    cells = [cell.source for cell in nbformat.read(LESSON, as_version=4).cells]
    parts = [c.split("\n", 1)[1] for c in cells if re.match(r"%%writefile.*/service\.py", c)]
    (folder / "service.py").write_text("\n".join(parts))
    (folder / "bare.py").write_text(BARE)


def register_model() -> None:
    """Train the workbook's model on made-up trips, and make it the champion."""
    import mlflow

    from taxi_lib import features, models, tracking
    from taxi_lib.trips import fetch_months, read_trips

    tracking.use_store()
    trips, _ = read_trips(fetch_months("2021-01", source="synthetic")[0])
    columns = features.describe_rides(trips)
    with mlflow.start_run() as run:
        model = models.fit_workbook_model(columns, trips["duration"])
        logged = tracking.log_pipeline(model, columns)
    client = mlflow.MlflowClient()
    client.create_registered_model(NAME)
    made = client.create_model_version(NAME, logged.model_uri, run.info.run_id)
    client.set_registered_model_alias(NAME, "champion", made.version)


@contextmanager
def served(app: str, folder: Path) -> Iterator[str]:
    """Serve one of the files as long as the block lasts; yield its address."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "uvicorn", f"{app}:app", "--port", str(port)]
    own = {"MODEL_NAME": NAME, "MOST_MILES": "100", "OMP_NUM_THREADS": "1"}
    quiet = ["--host", "127.0.0.1", "--log-level", "warning"]
    service = subprocess.Popen([*command, *quiet], cwd=folder, env=os.environ | own)
    try:
        wait_for(lambda: is_healthy(address) or service.poll() is not None, seconds=60)
        yield address
    finally:
        service.terminate()
        service.wait()


def ask(address: str, requests: int, clients: int = 4) -> tuple[float, float]:
    """Return how many requests a second were answered, and the 99th percentile in seconds."""
    import httpx

    took: list[float] = []

    async def one_by_one(client: httpx.AsyncClient) -> None:
        for _ in range(requests // clients):
            begun = time.perf_counter()
            (await client.post("/predict", json=[TRIP])).raise_for_status()
            took.append(time.perf_counter() - begun)

    async def all_together() -> None:
        async with httpx.AsyncClient(base_url=address, timeout=60) as client:
            await asyncio.gather(*(one_by_one(client) for _ in range(clients)))

    begun = time.perf_counter()
    asyncio.run(all_together())
    return len(took) / (time.perf_counter() - begun), statistics.quantiles(took, n=100)[98]


def measure(quick: bool) -> list[Row]:
    """Ask both services in turn."""
    rounds, requests = (1, 100) if quick else (5, 400)
    with own_workspace() as folder, ExitStack() as running:
        register_model()
        write_services(folder)
        ours, theirs = (running.enter_context(served(app, folder)) for app in ("service", "bare"))
        for address in (ours, theirs):
            ask(address, 100)  # the first answers load what is loaded late
        asked = [[ask(address, requests) for address in (ours, theirs)] for _ in range(rounds)]
    per_second, p99 = ([[pair[way][which] for pair in asked] for way in (0, 1)] for which in (0, 1))
    bare = "a bare FastAPI endpoint"
    return [
        Row("one request of lesson 16's service, four clients", bare, *_inverse(per_second)),
        Row("its slowest in a hundred", bare, *p99),
    ]


def _inverse(per_second: list[list[float]]) -> list[list[float]]:
    return [[1 / rate for rate in way] for way in per_second]


if __name__ == "__main__":
    main(measure)
