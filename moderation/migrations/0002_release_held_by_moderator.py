# Before deploy: the code before it does not know the column, which has a default.

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("moderation", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="release",
            name="is_held_by_moderator",
            field=models.BooleanField(default=False),
        ),
    ]
