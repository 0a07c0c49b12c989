"""The site: WSGI, because plain request threads carried the most requests in our measurements."""

import gc
import os

from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

from hub.site.bodies import keep_connections, refuse_cut_bodies
from hub.site.turns import take_turns

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.site.settings")

TURNS = 2  # of one process: half the tail latency of eight on two cores
DOWNLOADS = 24  # of the 32 threads that ./manage.py up gives a process (hub.site.bootstrap.services)
application = take_turns(keep_connections(refuse_cut_bodies(get_wsgi_application())), turns=TURNS, downloads=DOWNLOADS)


def settle() -> None:
    """Load every view now, and let the collector pass over what was loaded: to look at all of it again took 0.18 s on a
    busy machine, and some request had to wait for that."""
    assert get_resolver().url_patterns
    gc.collect()
    gc.freeze()


settle()
