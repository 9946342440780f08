"""`imis serve` and `imis worker`: the processes of a running deployment. What they do is in `web` and `jobs`."""

from __future__ import annotations

import signal
import threading

import rich_click as click

from imis_core.cli.session import State


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, metavar="H", help="The address to listen on.")
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), metavar="P", help="0: any free one."
)
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), metavar="N", help="Web processes.")
@click.option("--no-worker", is_flag=True, help="Leave background jobs to `imis worker`.")
@click.pass_obj
def serve(state: State, host: str, port: int, workers: int, no_worker: bool) -> None:
    """Serve the REST interface until it is told to stop; requests that run are finished."""
    folder = state.deployment
    from imis_core.web.server import serve as serve_deployment

    serve_deployment(folder, host, port, workers, not no_worker, click.echo)


@click.command()
@click.option(
    "--concurrency", default=1, show_default=True, type=click.IntRange(1, 64), metavar="N", help="Jobs at once."
)
@click.pass_obj
def worker(state: State, concurrency: int) -> None:
    """Run background jobs, schedules and event deliveries until it is told to stop; what has begun is finished."""
    folder = state.deployment
    from imis_core import logs
    from imis_core.jobs_worker import Worker, leave_at_once
    from imis_core.opening import open_application

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with open_application(folder) as app:
        logs.configure(app.settings.logs.level, app.settings.logs.format)
        working = Worker(app, concurrency=concurrency)
        working.start()
        click.echo(f"working: {concurrency} job{'s' if concurrency != 1 else ''} at once")
        stop.wait()
        click.echo("stopping when the running jobs are done")
        ended = working.stop()
    if not ended:
        leave_at_once()
