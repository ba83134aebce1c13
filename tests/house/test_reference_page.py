"""The page of all names is complete, and the names are few at the top."""

import pkgutil

import gflow
from reference_page import NAMESPACES, PAGE, names_of, page


def test_the_page_is_up_to_date():
    assert PAGE.read_text() == page(), "Run `python tests/helpers/reference_page.py`."


def test_each_namespace_is_on_the_page_and_in_the_help():
    found = {module.name for module in pkgutil.iter_modules(gflow.__path__)}
    public = {name for name in found if not name.startswith("_")}
    assert public == {*NAMESPACES}
    for name in NAMESPACES:
        assert f"gflow.{name}" in gflow.__doc__


def test_the_top_level_is_small_and_has_no_diagnostics():
    top = {name for name, _ in names_of(gflow)}
    assert len(top) <= 36
    for name in NAMESPACES[:7]:
        namespace = getattr(gflow, name)
        assert not top & {inner for inner, _ in names_of(namespace)}
