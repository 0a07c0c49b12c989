"""The training program: files in, files out, one JSON event a line. Knows nothing of Django or of any hub.

Run it with `python -m training.engine COMMAND`; `__main__` lists the commands."""
