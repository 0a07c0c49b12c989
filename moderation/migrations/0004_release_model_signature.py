# Before deploy: the code before it does not know the column, which has a default.

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("moderation", "0003_what_the_database_asks_of_a_release"),
    ]

    operations = [
        migrations.AddField(
            model_name="release",
            name="model_signature",
            field=models.JSONField(default=dict),
        ),
    ]
