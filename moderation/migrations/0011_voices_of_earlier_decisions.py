"""Answers that one moderator allowed before two had to: their word is the first of the two."""

from typing import Any

from django.db import migrations


def write_voices(apps: Any, schema_editor: Any) -> None:
    case, voice = (apps.get_model("moderation", name) for name in ("Case", "CaseVoice"))
    rows = case.objects.filter(kind="output", state="allowed", decided_by__isnull=False, voices__isnull=True)
    voice.objects.bulk_create(
        voice(case=row, by_id=row.decided_by_id, state="allowed", reason=row.decision_reason, at=row.decided_at)
        for row in rows.iterator()
    )


class Migration(migrations.Migration):
    dependencies = [("moderation", "0010_two_moderators")]

    operations = [migrations.RunPython(write_voices, migrations.RunPython.noop)]
