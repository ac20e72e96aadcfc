"""The tables are true: each row has tests, each test has a row, each named test exists, and README.md shows the same mechanisms."""

import os
import re

import fndtest
import table

NUMBERS = [f"H{n:02}" for n in range(1, 53) if n not in (21, 42)]
SUITE = fndtest.REPO + "/tests/hostile/"


def text_of(path):
    with open(f"{fndtest.REPO}/{path}", encoding="utf-8") as f:
        return f.read()


def own_tests():
    found = []
    for name in sorted(os.listdir(SUITE)):
        if name.startswith("test_") and name != "test_table.py":
            found += re.findall(r"^def (test_\w+)\(", text_of("tests/hostile/" + name), re.M)
    return found


def test_every_number_has_a_row_and_a_test():
    assert [row.number for row in table.ROWS] == NUMBERS
    for row in table.ROWS:
        assert table.tests_of(row, own_tests()) or row.tests, f"{row.number} has no test"
        assert all((row.name, row.action, row.expectation, row.proves)), row


def test_every_test_has_a_row():
    for name in own_tests():
        assert [row for row in table.ROWS if name in table.tests_of(row, [name])], f"{name} belongs to no row"


def test_every_named_test_exists():
    for name in [t for row in table.ROWS for t in row.tests] + [m.test for m in table.MECHANISMS]:
        path, function = name.split("::")
        assert re.search(rf"^(def|static void) {function}\(", text_of(path), re.M), name


def test_readme_has_the_isolation_table():
    assert "\n".join(table.readme_lines()) + "\n" in text_of("README.md"), "put this into README.md:\n" + "\n".join(table.readme_lines())
