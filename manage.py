#!/usr/bin/env python3
"""The one command of Model Commons: `up`, `test` and `demo` prepare their own environment; the rest is Django's."""

import sys

# Before any other import: the rest of the project is written for 3.11 and would fail with a riddle.
if sys.version_info < (3, 11):
    sys.exit(
        "Model Commons needs Python 3.11 or newer, and this is Python %d.%d; start it with a newer one, "
        "for example: python3.11 manage.py up" % sys.version_info[:2]
    )

from hub.site.bootstrap.commands import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
