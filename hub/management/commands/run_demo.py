import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from hub.site.bootstrap.assets import AssetUnavailable
from hub.site.demo.line import Line, StationFailed
from hub.site.demo.stations import walk


class Command(BaseCommand):
    help = "Walk the whole line through the public doors and print its stations; exits 0 only if each really happened."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        folder = Path(tempfile.mkdtemp(prefix="demo-people-"))
        # A folder of its own for each walk: people and repositories of the one before would stand in the way.
        data_dir = Path(tempfile.mkdtemp(prefix="demo-hub-", dir=settings.DATA_DIR))
        line = Line(folder=folder, data_dir=data_dir, say=self.tell)
        self.tell("    station                            digest                       time")
        started = time.monotonic()
        try:
            walk(line)
        except (StationFailed, AssetUnavailable) as problem:
            logs = line.data_dir / "logs"
            for log in sorted(logs.glob("*.log")) if logs.exists() else []:
                self.stderr.write(f"--- {log.name}\n" + log.read_text(errors="replace")[-1500:])
            raise CommandError(str(problem)) from None
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self.tell(f"All {len(line.stations)} stations happened, in {time.monotonic() - started:.0f} s.")

    def tell(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()
