"""The plan of the house: which room may import which, and what every room keeps."""

import ast
import contextlib
import importlib.util
import inspect
import json
import pathlib
import re
import subprocess
import sys
import types

import equinox as eqx
import gflow
import pytest


ROOT = pathlib.Path(gflow.__file__).parent
# The corridor, in the order of the data: a room imports only from rooms before it.
ROOMS: tuple[str, ...] = (
    *("_types", "_text", "_code", "_extras", "_compile", "_checks", "_replacing"),
    *("_tree", "_gates"),
    *("nn", "data", "clocks"),
    *(
        "_logs",
        "_losses",
        "_devices",
        "_labels",
        "norms",
        "_flow",
        "_plain",
        "_degree",
        "_switches",
    ),
    *("_rows", "_blocks", "_sides"),
    *(
        "_pairs",
        "_units",
        "_coordinates",
        "_dual_kinds",
        "_field",
        "_jacobian",
        "_seen",
        "_described",
        "_directions",
        "_slides",
        "_settled",
        "_filippov",
        "_walls",
        "_lack",
        "_paces",
        "_frame",
        "_framing",
        "_foot",
        "_ways",
        "_holding",
        "_clock",
        "_log_time",
        "_places",
        "_solvers",
    ),
    *(
        "_results",
        "_steps",
        "_turned",
        "_point",
        "_pulls",
        "_polar",
        "_mapping",
        "_curve",
        "_observables",
        "_trajectory",
        "_observed",
        "_load",
        "_until",
    ),
    *(
        "_integrate",
        "_solve",
        "_member",
        "_sweep",
        "solvers",
        "descent",
    ),
    *("reference", "_limit", "margins", "layers", "paths", "kkt", "neurons"),
    *("kernels", "kl", "problems"),
    *("experiments", "_netcdf", "plot", "testing"),
)
# Walls: imports that run downhill and are wrong all the same.
WALLS = {
    "descent": "_frame _framing _solvers _integrate _solve",
    "reference": "_flow _solvers _trajectory _integrate _solve descent",
    **dict.fromkeys(
        ("margins", "layers", "paths", "kkt", "neurons", "kernels", "kl"),
        "_solvers _integrate _solve descent",
    ),
}
# Doors: words that one room alone may speak, or none. We step solvers ourselves.
DOORS = {"diffeqsolve": "", "matplotlib": "plot", "hypothesis": "testing"}
DOORS |= {"internal": "", "__future__": ""}
DOORS |= {"xarray": "_netcdf", "h5netcdf": "_netcdf", "h5py": ""}
DOORS |= {"import_module": "_extras"}
# `import gflow` must not need what these need.
APART = ("_netcdf", "plot")
LONGEST = 300  # lines
LONGEST_FUNCTION = 60  # without its documentation

PATHS = sorted(ROOT.rglob("*.py"))


def each(things, name=str):
    """One test of a law for all of the things: it says where it fails, and why."""

    def with_law(law):
        def test():
            wrong = []
            for thing in things:
                try:
                    law(thing)
                except Exception as error:
                    wrong.append(f"{name(thing)}: {type(error).__name__}: {error}")
            assert not wrong, "\n".join(wrong)

        # Not `functools.wraps`: pytest would ask for the fixture that `law` takes.
        test.__name__, test.__doc__ = law.__name__, law.__doc__
        return test

    return with_law


each_file = each(PATHS, lambda path: path.relative_to(ROOT).as_posix())


def room_of(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path, tree):
    """Each import as a dotted name in parts, `..` resolved."""
    package = ("gflow", *path.relative_to(ROOT).parent.parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            module = node.module.split(".") if node.module else ()
            yield from ([*base, *module, alias.name] for alias in node.names)


def test_every_room_is_listed():
    homeless = {room_of(path) for path in PATHS} - {*ROOMS, "__init__"}
    assert not homeless, "Give each a place in the corridor, `ROOMS`, and its walls."
    assert {*WALLS, *" ".join(WALLS.values()).split(), *APART} <= {*ROOMS}


@each_file
def test_imports_run_downhill(path):
    room = room_of(path)
    assert room in (*ROOMS, "__init__"), "See `test_every_room_is_listed`."
    names = imported(path, ast.parse(path.read_text()))
    for target in ([*name, ""][1] for name in names if name[0] == "gflow"):
        if room == "__init__":
            assert target not in APART, f"`import gflow` must not need {target}."
        elif room == "experiments":
            door = target == "_checks"  # of arguments: one for all
            assert door or not target.startswith("_"), "Public names only."
        elif target != room:
            assert target in ROOMS[: ROOMS.index(room)], f"{target} is not downhill."
            assert target not in WALLS.get(room, "").split(), f"{target} is walled off."


@each_file
def test_doors_are_used_by_their_room_alone(path):
    tree = ast.parse(path.read_text())
    spoken = {part for name in imported(path, tree) for part in name}
    spoken |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for word in spoken & DOORS.keys():
        assert room_of(path) == DOORS[word], f"`{word}` is not for this room."


def test_gflow_needs_no_extra():
    extras = [word for word, room in DOORS.items() if room in APART]
    extras += ["h5py", "hypothesis", "scipy.integrate"]  # the last is slow to load
    check = f"import sys, gflow; print(sorted({{*{extras}}} & {{*sys.modules}}))"
    found = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True
    )
    assert found.stdout == "[]\n", found.stderr


@each_file
def test_imports_stand_at_the_top(path):
    for node in ast.parse(path.read_text()).body:
        if not isinstance(node, ast.Import | ast.ImportFrom):
            inner = [n for n in ast.walk(node) if isinstance(n, ast.Import)]
            inner += [n for n in ast.walk(node) if isinstance(n, ast.ImportFrom)]
            assert not inner, f"Line {inner[0].lineno} imports inside a block."


@each_file
def test_a_file_holds_one_idea(path):
    lines = len(path.read_text().splitlines())
    assert lines <= LONGEST, f"{lines} lines: split it by idea."


def lines_of(function):
    """The lines of a function without its documentation."""
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is None:
        return lines
    words = function.body[0]
    return lines - (words.end_lineno - words.lineno + 1)


@each_file
def test_a_function_fits_a_screen(path):
    nodes = ast.walk(ast.parse(path.read_text()))
    long = [
        f"{node.name}: {lines_of(node)}"
        for node in nodes
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and lines_of(node) > LONGEST_FUNCTION
    ]
    assert not long, f"Over {LONGEST_FUNCTION} lines: split it by idea."


def test_types_hold():
    if importlib.util.find_spec("basedpyright") is None:
        pytest.skip("basedpyright is not installed.")
    command = [sys.executable, "-m", "basedpyright", "--outputjson"]
    command += ["--pythonpath", sys.executable, str(ROOT)]
    told = subprocess.run(command, cwd=ROOT.parent, capture_output=True, text=True)
    errors = {
        (pathlib.Path(error["file"]).name, error.get("rule")): error["message"]
        for error in json.loads(told.stdout)["generalDiagnostics"]
    }
    assert not errors


@each_file
def test_a_private_module_of_a_public_room_is_named_so(path):
    *folders, name = path.relative_to(ROOT).parts
    if folders and not folders[0].startswith("_"):
        assert name.startswith("_"), "A public room has private files."


def load(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return importlib.import_module(".".join(parts).removesuffix(".__init__"))


MODULES = []
for it in PATHS:
    with contextlib.suppress(Exception):  # told by the test below, once a file
        MODULES.append(load(it))


@each_file
def test_every_file_can_be_imported(path):
    assert load(path) in MODULES


def modules(cls=eqx.Module):
    for sub in cls.__subclasses__():
        yield from modules(sub)
        if sub.__module__.split(".")[0] == "gflow":
            yield sub


each_class = each(sorted({*modules()}, key=str))


@each_class
def test_abstract_or_final(cls):
    for base in cls.__mro__[1:]:
        if base.__module__.split(".")[0] == "gflow":
            assert base.__name__.startswith("Abstract"), "A concrete class is final."
            again = vars(cls).keys() & vars(base).keys() - base.__abstractmethods__
            again = {name for name in again if name[0] != "_" or name == "__call__"}
            assert not again, "Only abstract methods are overridden."


@each_class
def test_only_classes_named_abstract_are_abstract(cls):
    if not cls.__name__.lstrip("_").startswith("Abstract"):
        assert not cls.__abstractmethods__, "It cannot be instantiated."


def is_public(module):
    return not any(part.startswith("_") for part in module.__name__.split("."))


def public_names():
    """Each public object of gflow under its dotted name, methods included."""
    for module in filter(is_public, MODULES):
        yield module.__name__, module
        for name, thing in vars(module).items():
            home = getattr(thing, "__module__", None) or ""
            if name.startswith("_") or isinstance(thing, types.ModuleType):
                continue
            if not callable(thing) or home.split(".")[0] != "gflow":
                continue  # a constant, an alias of a type, or another library's
            dotted = f"{module.__name__}.{name}"
            yield dotted, thing
            if inspect.isclass(thing):
                yield from (
                    (f"{dotted}.{method}", getattr(thing, method))
                    for method, member in vars(thing).items()
                    if not method.startswith("_")
                    and isinstance(
                        member,
                        property | staticmethod | classmethod | types.FunctionType,
                    )
                )


PUBLIC = dict(public_names())
each_public = each(PUBLIC)


def written_docstring(name):
    """The docstring someone wrote; an override's is that of the abstract method."""
    thing = PUBLIC[name]
    if not inspect.isclass(thing):
        return inspect.getdoc(thing) or ""
    doc = inspect.cleandoc(vars(thing).get("__doc__") or "")
    # Dataclasses write their signature where there is no docstring.
    return "" if doc.startswith(f"{thing.__name__}(") else doc


@each_public
def test_public_names_have_docstrings(name):
    assert written_docstring(name), f"`{name}` is public and has no docstring."


SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises", "Example")
SECTIONS += ("References",)
OTHER_NAMES = r"Arguments|Parameters|Return|Examples|Reference|Raise|Usage|See Also"


@each_public
def test_docstrings_have_google_form(name):
    doc = written_docstring(name)
    lines = doc.splitlines()
    assert lines[0].rstrip()[-1:] in ".!?", "The summary is one line, with a full stop."
    assert len(lines) == 1 or not lines[1].strip(), "A blank line follows the summary."
    wrong = re.findall(rf"^({OTHER_NAMES}):?$", doc, re.MULTILINE)
    assert not wrong, f"Section {wrong} is named otherwise here: {SECTIONS}."
    assert not re.search(r"^-{3,}$", doc, re.MULTILINE), "Sections are not underlined."
    found = re.findall(rf"^({'|'.join(SECTIONS)}):$", doc, re.MULTILINE)
    order = [section for section in SECTIONS if section in found]
    assert found == order, f"Sections stand in the order {SECTIONS}."


def documented(doc, section):
    """The names that a section describes, or None if there is no such section."""
    body = re.search(rf"^{section}:\n((?:[ ].*\n|\n)*)", doc + "\n", re.MULTILINE)
    if body is not None:
        entries = re.findall(r"^    (\*{0,2}\w+(?:, \*{0,2}\w+)*):", body[1], re.M)
        return [name for entry in entries for name in entry.split(", ")]


@each_public
def test_args_name_the_parameters(name):
    args, thing = documented(written_docstring(name), "Args"), PUBLIC[name]
    if args is not None and callable(thing):
        parameters = inspect.signature(thing).parameters
        assert [arg.lstrip("*") for arg in args] == [
            parameter for parameter in parameters if parameter != "self"
        ], "`Args` describes each parameter, in order, and nothing else."


@each_public
def test_attributes_name_the_fields(name):
    attributes = documented(written_docstring(name), "Attributes")
    thing = PUBLIC[name]
    if attributes is not None and inspect.isclass(thing):
        fields = {*dir(thing), *inspect.get_annotations(thing)}
        fields |= {*re.findall(r"self\.(\w+) = ", inspect.getsource(thing))}
        assert {*attributes} <= fields, "`Attributes` describes fields."
