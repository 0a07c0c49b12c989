# Before deploy: every commit and comment looks for webhooks.

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import hub.community.webhooks.models


class Migration(migrations.Migration):
    dependencies = [
        ("hub", "0004_collections"),
    ]

    operations = [
        migrations.CreateModel(
            name="Webhook",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "key",
                    models.CharField(
                        default=hub.community.webhooks.models.new_key, editable=False, max_length=24, unique=True
                    ),
                ),
                ("url", models.CharField(max_length=2000)),
                ("watches_repos", models.BooleanField(default=True)),
                ("watches_discussions", models.BooleanField(default=True)),
                ("sealed_secret", models.TextField(blank=True)),
                ("is_disabled", models.BooleanField(default=False)),
                ("disabled_reason", models.CharField(blank=True, max_length=300)),
                ("failures", models.PositiveIntegerField(default=0)),
                ("rests_until", models.DateTimeField(null=True)),
                ("tried_at", models.DateTimeField(null=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "owner",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="webhooks",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="WatchedThing",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("type", models.CharField(max_length=8)),
                ("name", models.CharField(max_length=200)),
                (
                    "organization",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="hub.organization"
                    ),
                ),
                (
                    "repo",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="hub.repo"
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "webhook",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="watched", to="hub.webhook"
                    ),
                ),
            ],
            options={
                "ordering": ["id"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("organization__isnull", True), ("repo__isnull", True), ("user__isnull", False)),
                            models.Q(("organization__isnull", False), ("repo__isnull", True), ("user__isnull", True)),
                            models.Q(("organization__isnull", True), ("repo__isnull", False), ("user__isnull", True)),
                            _connector="OR",
                        ),
                        name="watched_is_one_thing",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Delivery",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "key",
                    models.CharField(
                        default=hub.community.webhooks.models.new_delivery_key,
                        editable=False,
                        max_length=32,
                        unique=True,
                    ),
                ),
                ("event", models.JSONField()),
                ("event_key", models.CharField(max_length=36)),
                ("by_hand", models.BooleanField(default=False)),
                (
                    "state",
                    models.CharField(
                        choices=[("waiting", "Waiting"), ("delivered", "Delivered"), ("failed", "Failed")],
                        default="waiting",
                        max_length=9,
                    ),
                ),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("next_at", models.DateTimeField()),
                ("claimed_until", models.DateTimeField(null=True)),
                ("payload", models.TextField(blank=True)),
                ("status_code", models.PositiveIntegerField(null=True)),
                ("answer", models.TextField(blank=True)),
                ("problem", models.TextField(blank=True)),
                ("duration_ms", models.PositiveIntegerField(null=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("tried_at", models.DateTimeField(null=True)),
                (
                    "webhook",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="deliveries", to="hub.webhook"
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "deliveries",
                "indexes": [
                    models.Index(fields=["state", "next_at"], name="delivery_due"),
                    models.Index(fields=["webhook", "-created_at"], name="delivery_history"),
                ],
                "constraints": [models.UniqueConstraint(fields=("webhook", "event_key"), name="delivery_once")],
            },
        ),
    ]
