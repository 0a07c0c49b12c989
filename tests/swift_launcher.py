"""Run by the system's Python, which has OpenStack Swift: `rings FOLDER PORTS...` or `serve FOLDER NAME`."""

import os
import sys

from swift.common import utils
from swift.common.ring import RingBuilder
from swift.common.wsgi import run_wsgi


def make_rings(folder, ports):
    """One device, one copy of everything."""
    for name, port in ports.items():
        builder = RingBuilder(1, 1, 1)
        builder.add_dev(
            {"id": 0, "region": 1, "zone": 1, "weight": 1, "ip": "127.0.0.1", "port": port, "device": "disk",
             "replication_ip": "127.0.0.1", "replication_port": port, "meta": ""}
        )  # fmt: skip
        builder.rebalance()
        builder.get_ring().save(os.path.join(folder, f"{name}.ring.gz"))


def serve(folder, name):
    utils.SWIFT_CONF_FILE = os.path.join(folder, "swift.conf")
    sys.exit(run_wsgi(os.path.join(folder, f"{name}.conf"), f"{name}-server", verbose=True))


class Memory:
    """What memcached is for in a larger cluster: the proxy remembers who signed in, and which buckets there are."""

    def __init__(self):
        self._values = {}

    def set(self, key, value, **_):
        self._values[key] = value

    def get(self, key, **_):
        return self._values.get(key)

    def delete(self, key, **_):
        self._values.pop(key, None)

    def incr(self, key, delta=1, **_):
        self._values[key] = self._values.get(key, 0) + delta
        return self._values[key]


def remember(_, **__):
    memory = Memory()

    def wrap(app):
        def call(environ, start_response):
            environ["swift.cache"] = memory
            return app(environ, start_response)

        return call

    return wrap


if __name__ == "__main__":
    action, folder, *rest = sys.argv[1:]
    if action == "rings":
        make_rings(folder, {name: int(port) for name, port in (word.split("=") for word in rest)})
    else:
        serve(folder, *rest)
