"""Finds the handler, and says in one line what is wrong with it: which file, and what to do.

Which contract a handler has is told by HANDLER_CONTRACT (one of CONTRACTS), else by the names of its first parameters: `args` is FaaSpot's,
`environ` WSGI's, `scope` ASGI's; else `module:app` is WSGI, or ASGI where it is a coroutine function, and `module.function` is Spotinst's.
"""
import os
import sys
import threading

CONTRACTS = ("faaspot", "spotinst", "wsgi", "asgi", "openfaas-classic", "openfaas-http", "openfaas-flask")
OPENFAAS = {"openfaas-classic": ("req",), "openfaas-flask": ("req",), "openfaas-http": ("event", "context")}  # what each calls the function with
BY_PARAMETER = {"args": "faaspot", "event": "spotinst", "environ": "wsgi", "scope": "asgi"}
EXIT = os._exit  # fndserver.py puts another in its place
ROOT = os.getcwd()  # where the function's code is; openfaas() goes elsewhere
COROUTINE, VARARGS = 0x80, 0x04  # inspect.CO_*; that module is large to import


class Handler:
    """What was found. `file` is for messages; `params` is how many arguments it takes by position."""

    def __init__(self, call, name, file, contract, params):
        self.call, self.name, self.file, self.contract, self.params = call, name, file, contract, params


def log(text):
    """To the log, wherever the function's sys.stderr leads just then; a function may also have closed it."""
    try:
        sys.__stderr__.write(text)
    except (OSError, ValueError):
        pass


def say(text):
    log("fnd: " + text + "\n")


def fail(text):
    say(text)
    EXIT(1)


def number(name, missing, least, most):
    text = os.environ.get(name, "") or str(missing)
    if not text.isdigit() or not least <= int(text) <= most:
        fail(f"[env] {name} = {text}: not a number from {least} to {most}")
    return int(text)


PATIENCE = number("HANDLER_PATIENCE", 10, 1, 86400)  # seconds until the log names an import, or a call without a client, that does not end


def trace():
    import traceback

    kind, error, where = sys.exc_info()
    log("".join(traceback.format_exception(kind, error, own_frames_off(where))))


def in_words(error):
    """In one line. What an error says of itself is the function's code too, and may fail."""
    try:
        return f"{type(error).__name__}: {error}".replace("\n", " ")
    except BaseException:
        return f"{type(error).__name__}, which cannot say what it is"


def failed(error, handler, wrong, instead):
    """Says what went wrong in a call."""
    at = line_of(error.__traceback__, ROOT) or handler.file
    if isinstance(error, SystemExit):
        say(f"{at}: {handler.name} called exit: an instance serves many calls and goes on; {instead} instead")
    elif isinstance(error, wrong):
        say(f"{handler.file}: {handler.name} {error}")
    else:
        trace()
        say(f"{at}: {in_words(error)}: the call was answered with 500")


def own_frames_off(where):
    """Without the frames of this directory and of the importer at the top."""
    here = os.path.dirname(os.path.abspath(__file__)) + "/"
    while where.tb_next and where.tb_frame.f_code.co_filename.startswith((here, "<frozen importlib", "/usr/lib/fnd/")):
        where = where.tb_next
    return where


def line_of(where, root):
    """FILE:LINE of the innermost frame in the function's own code; None where none is."""
    found = None
    while where:
        name = where.tb_frame.f_code.co_filename
        if name.startswith(root + "/") and not name.startswith(root + "/python_modules/"):
            found = f"{name}:{where.tb_lineno}"
        where = where.tb_next
    return found


def split(text):
    """(module, attribute) of `module:app`, `module.function`, `module`."""
    if text.endswith(".py"):
        fail(f"handler = {text}: names a file: the function in it is meant, such as handler = {text[:-3]}.main")
    module, colon, name = text.partition(":")
    if not colon:
        module, dot, name = text.rpartition(".")
        if not dot:
            module, name = text, "main"
    words = module.replace("-", "_").split(".") + name.split(".")  # a file may be hello-world.py
    if not all(w.isidentifier() for w in words):
        fail(f"handler = {text}: not the name of a Python function: module.function (handler.main) or module:app is what belongs into function.ini")
    return module, name


def file_of(module, root):
    """Where the module's source is, or would be."""
    path = os.path.join(root, *module.split("."))
    for name in (path + ".py", path + "/__init__.py"):
        if os.path.exists(name):
            return name
    return None


def not_there(text, module, root):
    found = sorted(n for n in os.listdir(root) if n.endswith(".py"))
    fail(f"{root}/{module.replace('.', '/')}.py is not there: handler = {text} in function.ini needs it; {'the package has ' + ', '.join(found) if found else 'no .py file is at the root of the package'}")


def import_failed(file, root):
    kind, error, where = sys.exc_info()
    at = line_of(where, root) or file
    if isinstance(error, SyntaxError) and error.filename:
        fail(f"{error.filename}:{error.lineno}: {kind.__name__}: {error.msg}: correct it; nothing was started")
    if isinstance(error, SystemExit):
        fail(f"{at}: ends the process while it is imported: put what is not for the function below `if __name__ == \"__main__\":`")
    if isinstance(error, ModuleNotFoundError) and error.name:
        fail(f"{at}: there is no module {error.name}: add its package to requirements.txt and build again (fnctl build), or put {error.name}.py beside the handler")
    trace()
    fail(f"{at}: {kind.__name__}: {error}: the handler cannot be imported")


def still_importing(file, root, thread):
    frame, at = sys._current_frames().get(thread), file
    while frame:
        if frame.f_code.co_filename.startswith(root + "/"):
            at = f"{frame.f_code.co_filename}:{frame.f_lineno}"
            break
        frame = frame.f_back
    say(f"{at}: is still being imported after {PATIENCE} s, and nothing is answered before: what waits or never ends belongs into the function, not at the top of the module")


def watch_ends(file, root):
    """What ends the process while the module is imported, without an exception that could be told, is named."""
    pid = os.getpid()

    def exit_now(code):
        if os.getpid() == pid:
            frame, at = sys._getframe(1), file
            while frame and at == file:
                if frame.f_code.co_filename.startswith(root + "/"):
                    at = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                frame = frame.f_back
            say(f"{at}: os._exit({code}) ends the process while it is imported: leave it out; nothing was started")
        EXIT(code)

    os._exit = exit_now
    return pid


def openfaas(root):
    """As OpenFaaS' templates have it: the directory is the package `function`, below the directory that the process is in, and its neighbours are imported as `from .x import y` or `from function.x import y`."""
    import importlib.machinery
    import importlib.util

    if os.path.realpath("/home/app/function") == root:
        os.chdir("/home/app")
    init = root + "/__init__.py"
    if os.path.exists(init):
        spec = importlib.util.spec_from_file_location("function", init, submodule_search_locations=[root])
    else:
        spec = importlib.machinery.ModuleSpec("function", None, is_package=True)
        spec.submodule_search_locations.append(root)
    package = sys.modules["function"] = importlib.util.module_from_spec(spec)
    if spec.loader:
        spec.loader.exec_module(package)


def import_module(text, module, root, contract):
    import importlib

    file = file_of(module, root)
    if file is None and module.split(".")[0] not in os.listdir(root) + os.listdir(root + "/python_modules" if os.path.isdir(root + "/python_modules") else root):
        not_there(text, module, root)
    timer = threading.Timer(PATIENCE, still_importing, (file or module, root, threading.get_ident()))
    timer.daemon = True
    timer.start()
    pid = watch_ends(file or module, root)
    try:
        if contract in OPENFAAS:
            openfaas(root)
        loaded = importlib.import_module(("function." if contract in OPENFAAS else "") + module)
        if os.getpid() != pid:
            fail(f"{file or module}: was forked while it was imported, and the child is ended here: end it with os._exit(0), or use subprocess")
        return loaded, file or module
    except BaseException:
        return import_failed(file or module, root), None
    finally:
        os._exit = EXIT
        timer.cancel()


def code_of(call):
    """(code object, how many of its parameters are bound already) or (None, 0) for what has none."""
    bound = 0
    while hasattr(call, "__wrapped__"):
        call = call.__wrapped__
    if isinstance(call, type):
        return getattr(call.__init__, "__code__", None), 1
    if not hasattr(call, "__code__") and not hasattr(call, "__func__"):
        call, bound = getattr(type(call), "__call__", None), 1
    elif hasattr(call, "__func__"):
        call, bound = call.__func__, 1
    return getattr(call, "__code__", None), bound


def said_contract():
    said = os.environ.get("HANDLER_CONTRACT", "")
    if said and said not in CONTRACTS:
        fail(f"[env] HANDLER_CONTRACT = {said}: not known: {', '.join(CONTRACTS)}")
    return said


def contract_of(colon, code, first):
    if first in BY_PARAMETER:
        return BY_PARAMETER[first]
    if colon:
        return "asgi" if code and code.co_flags & COROUTINE else "wsgi"
    return "spotinst"


def check_openfaas(said, file, name, params, needed):
    """Whether the function can be called as its contract does; `needed`: of its parameters."""
    given = OPENFAAS[said]
    if needed <= len(given) <= len(params):
        return
    other = {1: "openfaas-classic or openfaas-flask (lang: python3, python3-flask)", 2: "openfaas-http (lang: python3-http)"}.get(needed)
    fail(f"{file}: {name}({', '.join(params)}): {said} calls {name}({', '.join(given)}){': [env] HANDLER_CONTRACT is to be ' + other + ' for this one' if other else ''}")


def load(text, root):
    """The Handler, or the end of the process."""
    module, name = split(text)
    said = said_contract()
    sys.path.insert(len(sys.path) if said in OPENFAAS else 0, root)
    if os.path.isdir(root + "/python_modules"):
        import site

        site.addsitedir(root + "/python_modules")
    loaded, file = import_module(text, module, root, said)
    call = loaded
    for word in name.split("."):
        if not hasattr(call, word):
            have = sorted(n for n, v in vars(loaded).items() if callable(v) and not n.startswith("_") and getattr(v, "__module__", "") == loaded.__name__)
            fail(f"{file}: has no {name}: handler = {text} in function.ini names it; it has {', '.join(have) or 'no function'}")
        call = getattr(call, word)
    if not callable(call):
        fail(f"{file}: {name} is {type(call).__name__}, not a function: correct handler = {text} in function.ini")
    code, bound = code_of(call)
    params = code.co_varnames[bound : code.co_argcount] if code else ()
    contract = said or contract_of(":" in text, code, params[0] if params else "")
    count = 2 if code is None or code.co_flags & VARARGS else len(params)
    if contract in OPENFAAS and code and not code.co_flags & VARARGS:
        check_openfaas(contract, file, name, params, count - len(getattr(call, "__defaults__", None) or ()))
    if contract in ("faaspot", "spotinst") and not 1 <= count - len(call.__defaults__ or () if hasattr(call, "__defaults__") else ()) <= 2 and count != 2:
        fail(f"{file}: {name}({', '.join(params)}): a handler takes (event, context), or (args, context) as FaaSpot has it")
    return Handler(call, name, file, contract, min(count, 2))
