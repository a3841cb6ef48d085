"""One click: links to Colab and Binder are in every notebook or in none, by one setting."""

import re
import shutil

import nbformat
import pytest
from nbclient import NotebookClient
from test_notebooks import (
    APPENDICES,
    BLANKS,
    CHAPTERS,
    FOLDER,
    SOLUTIONS,
    _build,
    code_cells,
    hidden,
    read,
)

ROOT = FOLDER.parent
ADDRESS = "https://github.com/some-one/a.project"


@pytest.fixture
def copy(tmp_path):
    """Return a function that sets the address in a copy of the project and writes the links."""
    shutil.copytree(FOLDER, tmp_path / "notebooks", ignore=shutil.ignore_patterns("__pycache__"))

    def set_address(repository, branch="main"):
        project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        table = f'[tool.grh]\nrepository = "{repository}"\nbranch = "{branch}"\n'
        project, found = re.subn(r'\[tool\.grh\].*\nrepo.*\nbranch = ".*"\n', table, project)
        assert found == 1
        (tmp_path / "pyproject.toml").write_text(project, encoding="utf-8")
        _build.links(tmp_path / "notebooks")
        return tmp_path / "notebooks"

    return set_address


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.glob("**/[0-9a]*.ipynb")
    }


def test_the_notebooks_are_as_the_setting_says(tmp_path):
    before = contents(FOLDER)
    shutil.copytree(FOLDER, tmp_path / "notebooks", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    _build.links(tmp_path / "notebooks")
    assert contents(tmp_path / "notebooks") == before, "run: python notebooks/_build.py links"


def test_without_an_address_nothing_is_shown(copy):
    for name, content in contents(copy("")).items():
        text = content.decode("utf-8")
        assert "mybinder" not in text and "colab.research" not in text, name
        assert "links-install" not in text and "git+http" not in text, name


def test_with_an_address_every_notebook_has_both_links_and_the_installation(copy):
    folder = copy(ADDRESS, "stable")
    assert len(contents(folder)) == len(CHAPTERS + APPENDICES + SOLUTIONS + BLANKS)
    for name in contents(folder):
        notebook = read(folder / name)
        title, links, *rest = notebook.cells[0].source.split("\n\n")
        assert title == read(FOLDER / name).cells[0].source.split("\n")[0]
        assert re.findall(r"\]\((.*?)\)", links) == [
            "https://colab.research.google.com/github/some-one/a.project/blob/stable/notebooks/"
            + name,
            "https://mybinder.org/v2/gh/some-one/a.project/stable?urlpath=lab/tree/notebooks/"
            + name,
        ]
        assert rest == read(FOLDER / name).cells[0].source.split("\n\n")[1:]
        first, *others = code_cells(notebook)
        assert "links" in first.metadata.tags and hidden(first)
        assert f"git+{ADDRESS}@stable" in first.source
        assert [c.source for c in others] == [c.source for c in code_cells(read(FOLDER / name))]
        if "exercises/" not in name:
            counts = [cell.execution_count for cell in code_cells(notebook)]
            assert counts == list(range(1, len(counts) + 1))
        nbformat.validate(notebook)


def test_blanks_stay_those_of_the_solutions(copy):
    folder = copy(ADDRESS)
    for path in (folder / "solutions").glob("[0-9]*.ipynb"):
        blank = nbformat.writes(_build.blank(read(path))) + "\n"
        assert (folder / "exercises" / path.name).read_text(encoding="utf-8") == blank


def test_setting_it_again_changes_nothing_and_another_address_replaces_it(copy):
    once = contents(copy(ADDRESS))
    assert contents(copy(ADDRESS)) == once
    other = copy("https://github.com/other/one")
    assert not any(b"some-one" in content for content in contents(other).values())
    assert contents(copy(ADDRESS)) == once


def test_taking_it_back_leaves_no_difference(copy):
    before = contents(FOLDER)
    assert contents(copy(ADDRESS)) != before
    assert contents(copy("")) == before


@pytest.mark.parametrize(
    "wrong", ["github.com/a/b", "https://gitlab.com/a/b", "https://github.com/a", "https://x"]
)
def test_an_address_that_no_link_can_be_made_of_is_refused(copy, wrong):
    with pytest.raises(SystemExit, match="like https://github.com/OWNER/NAME"):
        copy(wrong)


@pytest.mark.parametrize("missing", [True, False])
def test_the_cell_installs_only_where_the_package_is_missing(missing):
    # The kernel is told what it finds and what it would install; nothing is installed.
    source = _build.INSTALL.format(ADDRESS, "main")
    spy = f"""import importlib.util
importlib.util.find_spec = lambda name: {None if missing else 1}
get_ipython().run_line_magic = lambda *call: print(*call)
"""
    cells = [nbformat.v4.new_code_cell(text) for text in (spy, source)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, kernel_name="python3", timeout=60).execute()
    said = "".join(output.text for output in notebook.cells[1].outputs)
    assert said == (f"pip install -q git+{ADDRESS}@main\n" if missing else "")
