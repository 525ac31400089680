"""Real services on this machine, which run for as long as a ``with`` block lasts.

The small ones are threads of this process. MLflow's page, PostgreSQL, and Prefect's server and
workers are processes that several blocks can share. All of them listen on loopback, or on a socket,
only.
"""

from taxi_lib.services.mail import mail_server
from taxi_lib.services.mlflow_local import mlflow_page
from taxi_lib.services.pages import run_pages
from taxi_lib.services.postgres_local import Postgres, postgres_server
from taxi_lib.services.prefect_local import prefect_server, process_worker
from taxi_lib.services.s3 import s3_server
from taxi_lib.services.web_apps import facts_api, webhook_sink

__all__ = [
    "Postgres",
    "facts_api",
    "mail_server",
    "mlflow_page",
    "postgres_server",
    "prefect_server",
    "process_worker",
    "run_pages",
    "s3_server",
    "webhook_sink",
]
