from typing import Any

from django.core.management.base import CommandError

from hub.management.operator import OperatorCommand
from moderation.releasing.recomputing import recompute_all


class Command(OperatorCommand):
    help = "Compute the verdicts of all output screenings and releases again from what is stored, and say what differs"

    def handle(self, *args: Any, **options: Any) -> None:
        count = different = 0
        for what, problems in recompute_all():
            count += 1
            different += bool(problems)
            for problem in problems:
                self.stdout.write(f"{what}: {problem}")
        if different:
            raise CommandError(f"{different} of {count} verdicts are not what their evidence says.")
        self.stdout.write(f"All {count} verdicts are what their evidence says.")
