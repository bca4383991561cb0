"""Runs one program against its tests, as HumanEval does, and says how that ended.

Read once by the worker, before the interpreter is closed off. A program counts as passed only when
the end of its tests is reached here: what it prints is not looked at, and leaving early is a
failure. A program shares the interpreter with its tests, so one that is written to cheat (objects
that equal everything, say) can; the worker ends after each run, so that it can't reach the next.
"""

# Some for the programs: what is imported here is part of the snapshot, so they have it at once.
import collections, functools, itertools, json, math, re, string, sys, typing  # noqa: E401, F401

# Taken now, so that a program that replaces them changes nothing here.
_dumps = json.dumps
_isinstance, _type, _str, _compile, _exec = isinstance, type, str, compile, exec

PROGRAM, TESTS = "<program>", "<tests>"
MESSAGE_LIMIT = 1000


def text_of(error):
    """An exception's own words, as far as its class lets them be had."""
    try:
        return _str(error)[:MESSAGE_LIMIT]
    except BaseException:
        return ""


def place_of(error):
    """Where the exception left the program or its tests: "line 3 of the tests"."""
    place, trace = "", error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if name in (PROGRAM, TESTS):
            place = f"line {trace.tb_lineno} of the {name[1:-1]}"
        trace = trace.tb_next
    return place


def syntax_error(error, name):
    """The words for a text that does not compile."""
    line = getattr(error, "lineno", None)
    place = f"line {line} of the {name[1:-1]}" if line else f"the {name[1:-1]}"
    words = getattr(error, "msg", None) or text_of(error)
    return {"verdict": "syntax error", "message": f"{_type(error).__name__} in {place}: {words}"}


def failure(error):
    """The words for a program that did not reach the end of its tests."""
    name, words, place = _type(error).__name__, text_of(error), place_of(error)
    if _isinstance(error, SystemExit):
        message = f"The program ended itself{f' at {place}' if place else ''}, before the end of its tests."
    else:
        message = f"{name}{f' at {place}' if place else ''}{f': {words}' if words else '.'}"
    return {"verdict": "failed", "message": message}


def outcome(program, tests, entry_point):
    """Compiles both texts, runs them in one fresh namespace, and calls the tests' `check`."""
    codes = []
    for text, name in ((program, PROGRAM), (tests, TESTS)):
        try:
            codes.append(_compile(text, name, "exec", dont_inherit=True))
        except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as error:
            return syntax_error(error, name)
    namespace = {}
    try:
        _exec(codes[0], namespace)
        of_program = namespace.get("check")
        _exec(codes[1], namespace)
        check = namespace.get("check")
        # Tests may also be plain assertions; a `check` of the program's own is none of theirs.
        if check is not None and check is not of_program:
            if entry_point not in namespace:
                return {"verdict": "failed", "message": f"The program defines no {entry_point}."}
            check(namespace[entry_point])
    except BaseException as error:
        return failure(error)
    return {"verdict": "passed", "message": ""}


def run(program, tests, entry_point):
    """`outcome` as JSON, once everything that was printed has been handed on."""
    streams = sys.stdout, sys.stderr
    result = outcome(program, tests, entry_point)
    for stream in streams:
        try:
            stream.flush()
        except BaseException:
            # The program closed it: then there is nothing left to hand on.
            continue
    return _dumps(result)


def close_off():
    """Takes the ways from Python to JavaScript out of reach of `import`."""
    for finder in list(sys.meta_path):
        if _type(finder).__module__.partition(".")[0] == "_pyodide":
            proxies = getattr(finder, "jsproxies", None)
            if proxies is not None:
                proxies.clear()
            sys.meta_path.remove(finder)
        elif getattr(finder, "__module__", "").partition(".")[0] == "_pyodide":
            sys.meta_path.remove(finder)
    shut = {"js", "pyodide_js", "pyodide", "_pyodide", "_pyodide_core"}
    for name in [*sys.modules, *shut]:
        if name.partition(".")[0] in shut:
            sys.modules[name] = None
