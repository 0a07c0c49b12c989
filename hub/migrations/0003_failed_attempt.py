# Before deploy: signing in reads the table.

import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("hub", "0002_job_furthest"),
    ]

    operations = [
        migrations.CreateModel(
            name="FailedAttempt",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("subject", models.CharField(max_length=64)),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "indexes": [
                    models.Index(fields=["subject", "at"], name="failed_attempt_count"),
                    models.Index(fields=["at"], name="failed_attempt_age"),
                ],
            },
        ),
    ]
