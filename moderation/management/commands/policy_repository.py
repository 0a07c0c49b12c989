from typing import Any

from hub.management.operator import OperatorCommand
from moderation.rules.policies import in_force
from moderation.rules.policy_repository import found


class Command(OperatorCommand):
    help = (
        "Make the dataset repository with the rules of this hub where it is missing, and say which rules are in force"
    )

    def handle(self, *args: Any, **options: Any) -> None:
        repo, standing = found(), in_force()
        self.stdout.write(
            f"The rules of this hub are in datasets/{repo.full_name}; in force is commit {standing.commit} ({standing.digest})."
        )
