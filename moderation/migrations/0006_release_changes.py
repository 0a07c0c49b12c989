import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

STATES = [
    ("proposed", "Waiting for approvals"),
    ("published", "Published"),
    ("yanked", "Yanked"),
    ("quarantined", "Quarantined"),
    ("refused", "Refused"),
]
ACTIONS = {f"release.{state}": state for state in ("published", "yanked", "quarantined")}


def write_history(apps, schema_editor):
    """What happened to releases before their changes were kept, from the log of decisions, by the last part of the name that
    it was written under: an owner may have been renamed since."""
    Release, Change, Entry, User = (
        apps.get_model("moderation", "Release"),
        apps.get_model("moderation", "ReleaseChange"),
        apps.get_model("moderation", "AuditEntry"),
        apps.get_model("hub", "User"),
    )
    told = {}
    for entry in Entry.objects.filter(action__in=ACTIONS).order_by("number").iterator():
        told.setdefault(entry.subject.rpartition("/")[2], []).append(entry)
    people = dict(User.objects.values_list("username", "pk"))
    for release in Release.objects.exclude(state__in=("proposed", "refused")).select_related("repo").iterator():
        entries = [
            entry for entry in told.get(f"{release.repo.name}@v{release.version}", []) if entry.at >= release.created_at
        ]
        rows = [
            Change(
                release=release,
                state=ACTIONS[entry.action],
                at=entry.at,
                by_id=people.get(entry.actor),
                reason=entry.data.get("reason", ""),
            )
            for entry in entries
        ]
        if not rows or rows[-1].state != release.state:  # the repository was renamed: what is known from the row itself
            rows = [Change(release=release, state="published", at=release.published_at or release.created_at)]
            if release.state != "published":
                rows.append(Change(release=release, state=release.state, reason=release.state_reason))
        Change.objects.bulk_create(rows)


class Migration(migrations.Migration):
    dependencies = [
        ("moderation", "0005_report_tests"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="ReleaseChange",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("state", models.CharField(choices=STATES, max_length=12)),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
                ("reason", models.TextField(blank=True)),
                (
                    "by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "release",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="changes", to="moderation.release"
                    ),
                ),
            ],
        ),
        migrations.RunPython(write_history, migrations.RunPython.noop),
    ]
