"""Datasets that a person is offered: to learn from, or to be evaluated on."""

from typing import Any

from django.db.models import QuerySet

from hub.repos.models import LastCommit, Repo
from hub.web.listings import listed_repos


def data_for(user: Any) -> QuerySet[Repo]:
    """To learn from: neither evaluation suites nor the rules of the hub."""
    found = listed_repos(user).filter(type=Repo.Type.DATASET, is_policy=False)
    return found.exclude(pk__in=suite_keys())


def suites_for(user: Any) -> QuerySet[Repo]:
    return listed_repos(user).filter(type=Repo.Type.DATASET, pk__in=suite_keys())


def suite_keys() -> Any:
    return LastCommit.objects.filter(path="suite.yaml").values("repo")
