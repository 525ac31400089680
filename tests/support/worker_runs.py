"""Deployments, and runs of them as a worker would leave them, without any worker."""

import datetime as dt
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from prefect import get_client, states
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import LogCreate
from prefect.client.schemas.objects import FlowRun

from taxi_lib.services.prefect_client import temporary_names


class Deployed:
    """The deployments of a flow on the tests' server, and their runs."""

    def __init__(
        self, client: SyncPrefectClient, named: Callable[[str], str], flow_name: str
    ) -> None:
        self._client, self._named = client, named
        self._flow_id = client.create_flow_from_name(flow_name)

    def deployment(self, name: str, **more: object) -> UUID:
        """Make a deployment; what is said of it otherwise is handed to the server."""
        named = {"flow_id": self._flow_id, "name": self._named(name)}
        return self._client.create_deployment(**named, **more)

    def planned(
        self,
        deployment_id: UUID,
        due: dt.datetime | None = None,
        name: str | None = None,
        **parameters: object,
    ) -> FlowRun:
        """Ask for a run, which nobody will start."""
        state = states.Scheduled(scheduled_time=due) if due else None
        return self._client.create_flow_run_from_deployment(
            deployment_id, parameters=parameters, state=state, name=name
        )

    def run(
        self,
        deployment_id: UUID,
        state: str = "Completed",
        log: str = "",
        by_a_worker: bool = True,
        due: dt.datetime | None = None,
        name: str | None = None,
        **parameters: object,
    ) -> FlowRun:
        """Leave a run that has ended in a state; its log is one message."""
        run = self.planned(deployment_id, due, name, **parameters)
        if by_a_worker:
            self._client.set_flow_run_state(run.id, states.Running(), force=True)
            self._client.update_flow_run(run.id, infrastructure_pid="1")
        self._client.set_flow_run_state(run.id, getattr(states, state)(), force=True)
        if log:
            self._write(run, log)
        return self._client.read_flow_run(run.id)

    def _write(self, run: FlowRun, text: str) -> None:
        line = LogCreate(
            name="prefect.flow_runs",
            level=logging.INFO,
            message=text,
            timestamp=dt.datetime.now(dt.UTC),
            flow_run_id=run.id,
        )
        self._client.create_logs([line])


@contextmanager
def deployed(flow_name: str) -> Iterator[Deployed]:
    """Yield deployments of a flow, which are removed afterwards."""
    with get_client(sync_client=True) as client, temporary_names() as named:
        yield Deployed(client, named, flow_name)
