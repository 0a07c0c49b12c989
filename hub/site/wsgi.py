"""The site: WSGI, because plain request threads carried the most requests in our measurements."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.site.settings")
application = get_wsgi_application()
