"""The listener on the database of a running test: `granian --interface asgi tests.site.listened:application`."""

import os

from django.conf import settings

settings.DATABASES["default"]["NAME"] = os.environ["TEST_DATABASE"]

from hub.site.asgi import application  # noqa: E402

__all__ = ["application"]
