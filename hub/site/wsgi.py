"""The site: WSGI, because plain request threads carried the most requests in our measurements."""

import os

from django.core.wsgi import get_wsgi_application

from hub.site.bodies import refuse_cut_bodies

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.site.settings")
application = refuse_cut_bodies(get_wsgi_application())
