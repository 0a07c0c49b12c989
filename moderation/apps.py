from django.apps import AppConfig


class ModerationConfig(AppConfig):
    name = "moderation"

    def ready(self) -> None:
        from moderation import deletions, keeping, listeners, panels, tasks  # noqa: F401  they register themselves
