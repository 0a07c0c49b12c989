from django.apps import AppConfig


class ModerationConfig(AppConfig):
    name = "moderation"

    def ready(self) -> None:
        from moderation import deletions, exceptions, exports, keeping, listeners, panels, quarantines, tasks  # noqa: F401  they register themselves
        from moderation.guards import watch

        watch(self)
