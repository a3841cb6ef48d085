"""Files that appear completely or not at all, wherever and whatever they are."""

import os
import stat

import pytest

from grh_helpers.datasets import atomic

posix = pytest.mark.skipif(os.name == "nt", reason="modes and pipes of a POSIX system")


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("kind, content", [("wb", b"\x00\n"), ("w", "✓ größer\n")])
def test_the_file_appears_at_the_end(tmp_path, kind, content):
    path = tmp_path / "file"
    for before in ([], [path]):  # new, then replaced
        with atomic(path, kind) as file:
            file.write(content)
            assert len(list(tmp_path.iterdir())) == len(before) + 1
        assert path.read_bytes() == (content if kind == "wb" else content.encode())
        assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(error), atomic(path) as file:
        file.write(b"half")
        raise error
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@posix
def test_permissions_are_those_of_open(tmp_path):
    path, plain = tmp_path / "file", tmp_path / "plain"
    old = os.umask(0o027)
    try:
        plain.write_text("")
        for expected in (mode(plain), 0o604):
            with atomic(path, "w") as file:
                file.write("text")
            assert mode(path) == expected
            path.chmod(0o604)
    finally:
        os.umask(old)


def test_a_link_is_followed(tmp_path):
    (tmp_path / "folder").mkdir()
    target, link, dangling = (tmp_path / name for name in ("folder/file", "link", "dangling"))
    target.write_text("old")
    link.symlink_to(target)
    dangling.symlink_to("folder/new")
    for path in (link, dangling):
        with atomic(path, "w") as file:
            file.write("new")
        assert path.is_symlink() and path.read_text() == "new"
    assert sorted(p.name for p in target.parent.iterdir()) == ["file", "new"]


@posix
@pytest.mark.parametrize("name", ["folder", "pipe"])
def test_what_is_not_a_file_is_refused(tmp_path, name):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ValueError, match=f"{name} is a folder or a device; give the path of a fil"):
        with atomic(tmp_path / name) as file:
            file.write(b"")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("name", ["n" * 218, "n" * 255, "ü" * 127], ids=["218", "255", "umlauts"])
def test_names_as_long_as_the_system_allows(tmp_path, name):
    with atomic(tmp_path / name) as file:
        file.write(b"text")
    assert (tmp_path / name).read_bytes() == b"text"


def test_a_missing_folder_is_reported(tmp_path):
    with pytest.raises(FileNotFoundError), atomic(tmp_path / "nowhere" / "file"):
        pass
