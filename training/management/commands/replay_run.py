from typing import Any

from django.core.management.base import CommandError, CommandParser

from hub.common import jobs
from hub.management.operator import OperatorCommand, describe_link
from training.models import Replay, Run
from training.running import replays


class Command(OperatorCommand):
    help = "Make a run again from its lock, at the hub's cost, and compare the weights with those that were recorded"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("run", type=int, help="number of the run")
        parser.add_argument(
            "--here", action="store_true", help="carry it out in this process and wait for what comes of it"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        run = Run.objects.select_related("repo").filter(pk=options["run"], repo__deleted_at__isnull=True).first()
        if run is None:
            raise CommandError(f"There is no run {options['run']}.")
        replay = replays.ask(run=run, by=None)
        if not options["here"]:
            self.stdout.write(f"It is queued; see {describe_link(f'/runs/{run.pk}/replays')}.")
            return
        jobs.run(str(replay.job_id))
        replay.refresh_from_db()
        if replay.state in (Replay.State.EQUAL, Replay.State.CLOSE):
            self.stdout.write(f"{replay.get_state_display()}: {replay.sentence}")
            return
        raise CommandError(f"{replay.get_state_display()}: {replay.sentence or 'another worker took it'}")
