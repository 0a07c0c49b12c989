from django.apps import AppConfig


class TrainingConfig(AppConfig):
    name = "training"

    def ready(self) -> None:
        from training import keeping, leaderboards, listeners, panels, tasks  # noqa: F401  they register themselves
