"""Real services on this machine, for as long as a ``with`` block or a lesson lasts.

Small ones are threads of this process and end with it. Prefect's server and worker are processes,
shared by whoever asks, that stop with their last user. Everything listens on loopback only.
"""

from taxi_lib.services.mail import mail_server
from taxi_lib.services.mlflow_local import mlflow_page
from taxi_lib.services.prefect_local import prefect_server, process_worker
from taxi_lib.services.s3 import s3_server
from taxi_lib.services.web_apps import facts_api, webhook_sink

__all__ = [
    "facts_api",
    "mail_server",
    "mlflow_page",
    "prefect_server",
    "process_worker",
    "s3_server",
    "webhook_sink",
]
