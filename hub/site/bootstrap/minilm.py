"""Fetches the sentence model of the judge: `python -m hub.site.bootstrap.minilm`. Prints the folder."""

import sys

from hub.site.bootstrap.assets import AssetUnavailable, ensure_minilm


def main() -> None:
    try:
        print(ensure_minilm())
    except AssetUnavailable as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
