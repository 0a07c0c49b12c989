from django.apps import AppConfig


class ModerationConfig(AppConfig):
    name = "moderation"

    def ready(self) -> None:
        from moderation import listeners, panels, tasks  # noqa: F401  they register themselves
        from moderation.cases import (
            deletions,  # noqa: F401  they register themselves
            exceptions,  # noqa: F401  they register themselves
            quarantines,  # noqa: F401  they register themselves
        )
        from moderation.guards import watch
        from moderation.releasing import (
            exports,  # noqa: F401  they register themselves
            keeping,  # noqa: F401  they register themselves
        )

        watch(self)
