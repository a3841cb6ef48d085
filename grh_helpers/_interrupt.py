"""Imported first: Ctrl-C during the imports of ``python -m grh_helpers`` ends without a traceback.

Python imports the whole package, which takes a second or two, before it runs `__main__`.
"""

import sys


def _stop_quietly(kind, error, trace) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.exit(130)
    sys.__excepthook__(kind, error, trace)


if sys.argv[:1] == ["-m"]:  # what Python sets while it looks for the module that -m names
    sys.excepthook = _stop_quietly
