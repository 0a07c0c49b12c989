"""From a bare checkout to a running site. Standard library only: all of it runs before any package is installed."""
