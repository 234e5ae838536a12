"""Becomes the sitecustomize module of an isolated job: every path that Python code opens goes into a file."""

import os
import sys

_OUTPUT = os.open(os.environ["OPENED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def _opened(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        os.write(_OUTPUT, os.fsencode(os.path.abspath(os.fsdecode(arguments[0]))) + b"\n")


sys.addaudithook(_opened)
