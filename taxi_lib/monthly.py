"""The pipeline in ``notebooks/pipeline`` as a flow to deploy: last month's trips, once a month."""

from taxi_lib import settings
from taxi_lib.walkthrough import flow_over

monthly = flow_over(settings.notebooks_dir() / "pipeline", "monthly", {"month": "previous"})
