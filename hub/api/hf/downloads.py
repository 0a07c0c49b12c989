"""Counting downloads: the first bytes that a person or address takes from a repository within an hour are one."""

import logging

from django.core.cache import cache
from django.db import OperationalError
from django.db.models import F
from django.http import HttpRequest

from hub.repos.models import Repo

log = logging.getLogger(__name__)

SAME_DOWNLOAD_S = 3600


def count_download(request: HttpRequest, repo: Repo) -> None:
    """At most one write for each reader, repository and hour; a busy database must not stop a download."""
    who = request.user.pk if request.user.is_authenticated else request.META.get("REMOTE_ADDR", "")
    if not cache.add(f"download:{repo.pk}:{who}", True, SAME_DOWNLOAD_S):
        return
    try:
        Repo.objects.filter(pk=repo.pk).update(downloads=F("downloads") + 1)
    except OperationalError as problem:
        log.warning("A download of %s was not counted: %s", repo, problem)
