from django.apps import AppConfig


class TrainingConfig(AppConfig):
    name = "training"

    def ready(self) -> None:
        from training import listeners, panels, tasks  # noqa: F401  they register themselves
        from training.evaluating import leaderboards  # noqa: F401  they register themselves
        from training.running import keeping  # noqa: F401  they register themselves
