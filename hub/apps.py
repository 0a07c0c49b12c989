from django.apps import AppConfig


class HubConfig(AppConfig):
    name = "hub"
    verbose_name = "Hub"

    def ready(self) -> None:
        from hub.community import attachments, eval_results, listeners, purges, tasks  # noqa: F401  they register themselves
        from hub.community.webhooks import listeners as webhook_listeners  # noqa: F401
        from hub.community.webhooks import tasks as webhook_tasks  # noqa: F401
        from hub.repos import cards  # noqa: F401
        from hub.repos import tasks as repo_tasks  # noqa: F401
