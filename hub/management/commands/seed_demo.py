from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from hub.common.errors import HubError
from hub.site.bootstrap.assets import AssetUnavailable
from hub.site.demo.community import seed


class Command(BaseCommand):
    help = (
        "Make the demo community: people, base model, data, suite, and a proposal that starts to run. Safe to repeat."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            seed(say=self.stdout.write)
        except (HubError, AssetUnavailable) as problem:
            raise CommandError(str(problem)) from None
        self.stdout.write(f"How to sign in stands in {Path(settings.DATA_DIR) / 'demo_accounts.json'}.")
