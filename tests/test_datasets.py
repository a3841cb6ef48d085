"""Loading, caching and downloading, on a small CIFAR-10 made here and a server on this machine."""

import contextlib
import errno
import functools
import hashlib
import http.server
import io
import os
import pickle
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import textwrap
import threading
import time
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.io import savemat
from sklearn.model_selection import train_test_split

from grh_helpers import LSH, datasets, radius_sweep
from grh_helpers.datasets import (
    DataError,
    Dataset,
    available,
    dataset_name,
    load_dataset,
    prepare,
)
from grh_helpers.experiment import encode
from grh_helpers.gist import gist

ROWS = 7  # images per batch
NAMES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
NOUNS = ["fire_engine", "tabby_cat", "cat", "o'possum", "man-of-war", "s"]
ARCHIVE, FOLDER, MAT = "cifar-10-python.tar.gz", "cifar-10-batches-py", "Gist512CIFAR10.mat"
PART = f"{ARCHIVE}.part"


# A CIFAR-10 of 42 images --------------------------------------------------------------------------


class Python2Pickler(pickle._Pickler):
    """Writes byte strings with the opcodes of Python 2, which Python 3 only reads."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_string(self, value):
        value = value.encode() if isinstance(value, str) else value
        size = len(value)
        self.write(b"U" + bytes([size]) if size < 256 else b"T" + struct.pack("<i", size))
        self.write(value)

    dispatch[bytes] = dispatch[str] = save_string


def python2_file(batch, core=b"numpy.core"):
    file = io.BytesIO()
    Python2Pickler(file, 2).dump(batch)
    return file.getvalue().replace(b"numpy._core", core)


def text_keys(batch):
    """As who read it with Python 3 and `encoding="latin1"` may have written it again."""
    return {
        k.decode(): [n.decode() for n in v] if k == b"filenames" else v for k, v in batch.items()
    }


def batches(rows=ROWS, seed=0):
    """What the six batch files hold, with byte-string keys and in no particular order."""
    rng = np.random.default_rng(seed)
    numbers = rng.permutation(6 * rows).reshape(6, rows)
    return {
        name: {
            b"batch_label": b"some batch",
            b"labels": rng.integers(0, 10, rows).tolist(),
            b"data": rng.integers(0, 256, (rows, 3072)).astype(np.uint8),
            b"filenames": [f"{NOUNS[k % 6]}_s_{k:06d}.png".encode() for k in mine],
        }
        for name, mine in zip(NAMES, numbers, strict=True)
    }


def write_folder(folder, contents):
    folder.mkdir(parents=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)


def write_tar(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture(scope="module")
def fake():
    return batches()


@pytest.fixture(scope="module")
def files(fake):
    return {name: python2_file(batch) for name, batch in fake.items()}


@pytest.fixture(scope="module")
def tar_bytes(files, tmp_path_factory):
    path = tmp_path_factory.mktemp("tar") / "a.tar.gz"
    return write_tar(path, {"batches.meta": b"anything", "readme.html": b"", **files}).read_bytes()


@pytest.fixture(autouse=True)
def small(monkeypatch, tar_bytes):
    """Small batches, the made archive's checksum, no network and no settings from outside."""
    monkeypatch.setattr(datasets, "_ROWS", ROWS)
    monkeypatch.setattr(datasets, "CIFAR_MD5", hashlib.md5(tar_bytes).hexdigest())
    monkeypatch.setattr(datasets, "CIFAR_URL", "http://127.0.0.1:9/nothing")
    monkeypatch.setattr(datasets, "MAT_URL", "http://127.0.0.1:9/nothing")
    monkeypatch.delenv("GRH_DATA_HOME", raising=False)
    monkeypatch.delenv("GRH_DATASET", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def raw_home(home, files):
    write_folder(home / FOLDER, files)
    return home


@pytest.fixture
def tar_home(home, tar_bytes):
    home.mkdir()
    (home / ARCHIVE).write_bytes(tar_bytes)
    return home


def left(home):
    """What a user finds in the data home: all but the lock, which may stay."""
    return {p.name for p in home.iterdir()} - {".grh_helpers.lock"}


def cache_of(home):
    return available(home)["cifar10"][1]


def check_cifar10(data, fake):
    """Every image, label and noun where its file name sorts it, found without the package."""
    rows = sorted(
        (name, label, pixels)
        for batch in fake.values()
        for name, label, pixels in zip(
            batch[b"filenames"], batch[b"labels"], batch[b"data"].tolist(), strict=True
        )
    )
    assert len(data) == len(rows)
    for i, (name, label, pixels) in enumerate(rows):
        assert data.labels[i] == label
        assert data.nouns[i] == name.decode().rsplit("_", 2)[0].replace("_", " ")
        for row, column, channel in [(0, 0, 0), (3, 17, 1), (31, 30, 2)]:
            assert (
                data.images[i, row, column, channel] == pixels[channel * 1024 + row * 32 + column]
            )
    assert data.labels.dtype == np.int64
    assert data.images.dtype == np.uint8
    assert data.features.dtype == np.float64
    np.testing.assert_array_equal(data.features, np.float32(gist(data.images)))


# A server -----------------------------------------------------------------------------------------


class Server(http.server.ThreadingHTTPServer):
    """Serves `content`; `mode` says how badly."""

    daemon_threads = True

    def __init__(self, content):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.mode, self.ranges, self.stop = content, "good", [], threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/{ARCHIVE}"


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        content, mode = self.server.content, self.server.mode
        start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        self.server.ranges.append(start)
        if mode in ("404", "416") or start > 0 and start >= len(content):
            self.send_response(404 if mode == "404" else 416)
            if mode != "416":
                self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        start = 0 if mode == "no ranges" else start
        self.send_response(200 if mode == "no ranges" else 206)
        if mode == "encoded":  # some servers say this of every .gz, and nobody must undo it
            self.send_header("Content-Encoding", "x-gzip")
        length = "abc" if mode == "odd length" else str(len(content) - start)
        self.send_header("Content-Length", length)
        self.end_headers()
        stop = (start + len(content)) // 2 if mode in ("cut", "stalled") else len(content)
        self.wfile.write(content[start:stop])
        if mode == "stalled":
            self.server.stop.wait()
        return None


@pytest.fixture
def server(tar_bytes):
    with Server(tar_bytes) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.stop.set()
        server.shutdown()


def script(code, *arguments, **environment):
    """Start a Python process that works on the small CIFAR-10 and can be stopped with Ctrl-C."""
    start = f"""
        import os, signal, sys, time
        from pathlib import Path
        import grh_helpers.datasets as datasets
        signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored around us
        datasets._ROWS = {datasets._ROWS}
        datasets.CIFAR_MD5 = {datasets.CIFAR_MD5!r}
        home = Path(sys.argv[1])
    """
    path = [str(Path(datasets.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent(start) + textwrap.dedent(code),
            *map(str, arguments),
        ],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


posix = pytest.mark.skipif(os.name == "nt", reason="signals to other processes are a POSIX matter")


# Digits and the choice of a data set --------------------------------------------------------------


def test_digits(digits):
    data, original = digits, datasets.load_digits()
    assert data.name == "digits"
    assert data.features.shape == (1797, 512)
    assert data.features.dtype == np.float64
    np.testing.assert_array_equal(data.features, np.float32(gist(data.images)))
    assert data.images.shape == (1797, 32, 32)
    assert data.images.dtype == np.uint8
    assert data.images.max() == 255
    # Bilinear enlargement between the centres of the small pixels, written out.
    for i, row, column in [(0, 0, 0), (0, 31, 13), (5, 17, 10), (9, 12, 31), (77, 15, 18)]:
        total = 0
        for y in range(8):
            for x in range(8):
                down = abs(min(max((row + 0.5) / 4 - 0.5, 0), 7) - y)
                across = abs(min(max((column + 0.5) / 4 - 0.5, 0), 7) - x)
                total += max(0, 1 - down) * max(0, 1 - across) * original.images[i, y, x]
        assert abs(data.images[i, row, column] - total * 255 / 16) <= 0.5 + 1e-9
    np.testing.assert_array_equal(data.labels, original.target)
    assert data.class_names[3] == "three"
    assert len(data.class_names) == 10
    assert data.nouns is None


def test_digits_write_nothing(home):
    load_dataset("digits", home)
    assert prepare("digits", home) == home
    assert not home.exists()


def test_digits_where_no_thread_can_be_started(digits):
    """As in a browser, where joblib finds no multiprocessing; nobody must even warn."""
    code = """
        import threading, warnings
        def start(self):
            raise RuntimeError("can't start new thread")
        threading.Thread.start = start
        warnings.simplefilter("error")
        print(repr(float(datasets.load_dataset("digits").features.sum())))
    """
    out, err = script(code, "", JOBLIB_MULTIPROCESSING="0").communicate(timeout=100)
    assert (out, err) == (f"{float(digits.features.sum())!r}\n", "")


def test_auto(raw_home, tmp_path, capsys, monkeypatch):
    empty = tmp_path / "empty"
    assert load_dataset("auto", empty).name == "digits"
    out = capsys.readouterr().out
    assert out.startswith("auto: digits")
    assert "python -m grh_helpers data" in out
    assert out.count("\n") == 1
    assert not empty.exists()
    assert load_dataset("auto", raw_home).name == "cifar10"
    first = capsys.readouterr().out
    assert first.startswith("auto: cifar10")
    assert "GRH_DATASET=digits" in first
    shutil.rmtree(raw_home / FOLDER)  # the cache is enough
    monkeypatch.setenv("GRH_DATA_HOME", str(raw_home))
    assert load_dataset().name == "cifar10"
    assert capsys.readouterr().out == first
    monkeypatch.setenv("GRH_DATASET", "digits")
    assert load_dataset().name == "digits"
    assert capsys.readouterr().out == ""


def test_unknown_names_are_answered_with_the_known(home, monkeypatch):
    for call in (load_dataset, prepare, dataset_name):
        with pytest.raises(DataError, match="one of .*digits, cifar10, cifar10-mat, got 'mnist'"):
            call("mnist", home)
    monkeypatch.setenv("GRH_DATASET", "cifar")
    with pytest.raises(DataError, match="one of auto, .* got 'cifar'"):
        load_dataset()


def test_data_home(monkeypatch, tmp_path):
    assert datasets.data_home(tmp_path) == tmp_path
    monkeypatch.setenv("GRH_DATA_HOME", "~/pictures")
    assert datasets.data_home() == Path.home() / "pictures"
    monkeypatch.setenv("GRH_DATA_HOME", "")
    assert datasets.data_home().name == "grh_helpers"
    monkeypatch.setenv("GRH_DATA_HOME", "~no such user/x")
    with pytest.raises(DataError, match="no folder ~no such user/x .*; set GRH_DATA_HOME"):
        load_dataset("cifar10")


def test_available(home, tar_bytes):
    nothing = {"cifar10": ("missing", None), "cifar10-mat": ("missing", None)}
    assert available(home) == {"digits": ("ready", None), **nothing}
    assert dataset_name("auto", home) == "digits"
    home.mkdir()
    (home / ARCHIVE).write_bytes(tar_bytes)
    assert available(home)["cifar10"] == ("raw only", home / ARCHIVE)
    assert dataset_name("auto", home) == dataset_name(None, home) == "cifar10"
    cache = prepare("cifar10", home)
    (home / MAT).write_bytes(b"123")
    found = available(home)
    assert (found["cifar10"], found["cifar10-mat"]) == (("ready", cache), ("ready", home / MAT))
    (home / ARCHIVE).unlink()
    assert dataset_name("auto", home) == "cifar10"


# Reading CIFAR-10 ---------------------------------------------------------------------------------


@pytest.mark.parametrize("link", [False, True])
def test_from_a_folder(home, tmp_path, files, fake, link):
    write_folder(tmp_path / "elsewhere" if link else home / FOLDER, files)
    if link:
        home.mkdir()
        (home / FOLDER).symlink_to(tmp_path / "elsewhere")
    assert available(home)["cifar10"] == ("raw only", home / FOLDER)
    data = load_dataset("cifar10", home)
    check_cifar10(data, fake)
    assert data.class_names[:3] == ["airplane", "automobile", "bird"]
    assert isinstance(data.images, np.memmap)
    assert not data.images.flags.writeable
    assert repr(data) == "Dataset(name='cifar10')"


def test_from_an_archive_in_the_home_without_unpacking_it(tar_home, fake):
    check_cifar10(load_dataset("cifar10", tar_home), fake)
    assert left(tar_home) == {ARCHIVE, cache_of(tar_home).name}


def test_from_a_given_archive(home, tmp_path, files, fake):
    archive = write_tar(tmp_path / "mine.tgz", files | {"other": b"so that the checksum differs"})
    assert prepare("cifar10", home, archive=archive) == cache_of(home)
    check_cifar10(load_dataset("cifar10", home), fake)
    cache_of(home).unlink()
    for name in ("cifar10", "cifar10-mat"):
        with pytest.raises(DataError, match="No such file or directory: .*nowhere"):
            prepare(name, home, archive=tmp_path / "nowhere")


@pytest.mark.parametrize(
    "write",
    [
        functools.partial(python2_file, core=b"numpy._core"),
        *(functools.partial(pickle.dumps, protocol=protocol) for protocol in (2, 3, 4)),
        lambda batch: pickle.dumps(text_keys(batch), 4),
        lambda batch: python2_file(
            {k: v[::-1] if k != b"batch_label" else v for k, v in batch.items()}
        ),
    ],
    ids=["NumPy 2", "Python 3, 2", "Python 3, 3", "Python 3, 4", "text", "another order"],
)
def test_batches_packed_again(home, fake, write):
    write_folder(home / FOLDER, {name: write(batch) for name, batch in fake.items()})
    check_cifar10(load_dataset("cifar10", home), fake)


def test_missing_batches_are_named(raw_home, tmp_path, files):
    (raw_home / FOLDER / "data_batch_3").unlink()
    (raw_home / FOLDER / "test_batch").unlink()
    with pytest.raises(DataError, match="cannot be read .*No such file .*data_batch_3"):
        load_dataset("cifar10", raw_home)
    assert left(raw_home) == {FOLDER}
    short = {name: files[name] for name in NAMES[2:]}
    found = "of six batches it has only data_batch_3, data_batch_4, data_batch_5, test_batch"
    with pytest.raises(DataError, match=found):
        prepare("cifar10", tmp_path / "h", archive=write_tar(tmp_path / "a.tgz", short))


def test_nothing_there_says_how_to_get_it(home):
    for name in ("cifar10", "cifar10-mat"):
        message = f"{home}.* cannot be read .*No such file .*data --dataset {name}., with --archive"
        with pytest.raises(DataError, match=message):
            load_dataset(name, home)
    assert not home.exists()


NO_BATCH = "data_batch_4 does not hold 7 images of 3,072 bytes, labels from 0 to 9 and file names"


def spoiled(fake, **changes):
    return {**fake["data_batch_4"], **{key.encode(): value for key, value in changes.items()}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"data": np.zeros((ROWS, 3071), np.uint8)}, NO_BATCH),
        ({"data": np.zeros((ROWS - 1, 3072), np.uint8)}, NO_BATCH),
        ({"data": np.zeros((ROWS, 3072))}, NO_BATCH),
        ({"data": [1, 2]}, NO_BATCH),
        ({"labels": [0] * (ROWS - 1)}, NO_BATCH),
        ({"labels": [10] * ROWS}, NO_BATCH),
        ({"labels": [-1] * ROWS}, NO_BATCH),
        ({"labels": [b"cat"] * ROWS}, NO_BATCH),
        ({"filenames": [b"a_s_000001.png"]}, NO_BATCH),
        ({"filenames": [3] * ROWS}, NO_BATCH),
        ({"filenames": [b"a_s_000001.png"] * ROWS}, "a file name twice"),
        (b"", "cannot be read .*get it again"),
        (b"not a pickle", "cannot be read .*get it again"),
        (python2_file([1, 2]), "cannot be read .*get it again"),
        (python2_file({b"data": b"", b"filenames": []}), NO_BATCH),
        (pickle.dumps(np.dtype("f8")), "cannot be read .*get it again"),
    ],
)
def test_batches_of_the_wrong_content(raw_home, fake, content, message):
    if isinstance(content, dict):
        content = python2_file(spoiled(fake, **content))
    (raw_home / FOLDER / "data_batch_4").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_dataset("cifar10", raw_home)
    assert left(raw_home) == {FOLDER}


@pytest.mark.filterwarnings("ignore")  # NumPy's own, about strange dtypes
@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 20000), flip=st.integers(1, 255))
@example(cut=100, flip=255)  # asks for more memory than there is
def test_damaged_pickles_never_surprise(tmp_path_factory, files, cut, flip):
    """A byte is changed or the end is missing: read all the same, or refused with DataError."""
    folder = tmp_path_factory.mktemp("batches") / FOLDER
    write_folder(folder, files)
    content = files["data_batch_1"]
    cut %= len(content)
    altered = content[:cut] + bytes([content[cut] ^ flip]) + content[cut + 1 :]
    for damaged in (content[:cut], altered):
        (folder / "data_batch_1").write_bytes(damaged)
        with contextlib.suppress(DataError):
            datasets._read_cifar10(folder)


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_truncated_archive(tar_home, tar_bytes, fraction):
    (tar_home / ARCHIVE).write_bytes(tar_bytes[: int(len(tar_bytes) * fraction)])
    with pytest.raises(DataError, match="cannot be read .*get it again"):
        load_dataset("cifar10", tar_home)
    assert left(tar_home) == {ARCHIVE}


def test_an_archive_that_may_not_be_read_is_not_called_damaged(tar_home, monkeypatch):
    def refuse(path, *args):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(tarfile, "open", refuse)
    with pytest.raises(DataError, match="Permission denied.*make it readable") as caught:
        load_dataset("cifar10", tar_home)
    assert "damaged" not in str(caught.value)
    assert "delete" not in str(caught.value)


def test_a_small_archive_with_an_enormous_batch_is_not_read_to_its_end(home, tmp_path, files, fake):
    batch = fake["data_batch_1"] | {b"more": np.zeros(30_000_000, np.uint8)}
    archive = write_tar(tmp_path / "a.tgz", files | {"data_batch_1": python2_file(batch)})
    assert archive.stat().st_size < 200_000
    tracemalloc.start()
    with pytest.raises(DataError, match="cannot be read .*get it again"):
        prepare("cifar10", home, archive=archive)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


class Bomb:
    """Unpickled the usual way, this calls a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("function", [os.mkdir, eval, np.save, functools.partial])
def test_a_pickle_that_calls_a_function(raw_home, fake, tmp_path, protocol, function):
    victim = tmp_path / "victim"
    arguments = {
        os.mkdir: (str(victim),),
        eval: (f"__import__('os').mkdir({str(victim)!r})",),
        np.save: (str(victim), 1),
        functools.partial: (os.mkdir, str(victim)),
    }[function]
    content = pickle.dumps(spoiled(fake, extra=Bomb(function, *arguments)), protocol)
    (raw_home / FOLDER / "data_batch_4").write_bytes(content)
    with pytest.raises(DataError, match=r"it asks for [a-z_.]+\.\w+, which no batch needs"):
        load_dataset("cifar10", raw_home)
    assert not list(tmp_path.glob("victim*"))
    if function is os.mkdir:  # the bomb is a real one
        pickle.loads(content)
        assert victim.exists()


def climb(name="../../evil", **attributes):
    info = tarfile.TarInfo(name)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info


@pytest.mark.parametrize(
    "member",
    [
        climb(),
        climb("/tmp/evil"),
        climb("cifar-10-batches-py/../../evil"),
        climb("cifar-10-batches-py/link", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        climb("cifar-10-batches-py/test_batch", type=tarfile.LNKTYPE, linkname="/etc/passwd"),
        climb("cifar-10-batches-py/fifo", type=tarfile.FIFOTYPE),
        climb("cifar-10-batches-py/device", type=tarfile.CHRTYPE),
    ],
    ids=lambda member: member.name,
)
def test_an_archive_that_climbs_out_is_read_but_never_unpacked(home, tmp_path, files, fake, member):
    with tarfile.open(tmp_path / "evil.tar", "w") as archive:
        archive.addfile(member)
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        archive.addfile(member)
    before = sorted(tmp_path.rglob("*"))
    cache = prepare("cifar10", home, archive=tmp_path / "evil.tar")
    check_cifar10(load_dataset("cifar10", home), fake)
    assert {*tmp_path.rglob("*")} - {*before} == {home, cache, home / ".grh_helpers.lock"}


# The cache ----------------------------------------------------------------------------------------


def test_raw_data_and_cache_are_used_and_preparing_is_idempotent(raw_home, monkeypatch, server):
    cache = prepare("cifar10", raw_home, url=server.url)
    assert server.ranges == []
    before = cache.stat().st_mtime_ns
    shutil.rmtree(raw_home / FOLDER)
    monkeypatch.setattr(datasets, "gist", None)
    monkeypatch.setattr(datasets, "FileLock", None)  # readers need none, so a home may be read-only
    assert prepare("cifar10", raw_home) == cache
    load_dataset("cifar10", raw_home)
    assert cache.stat().st_mtime_ns == before


def test_a_cache_of_another_version_is_never_used(raw_home, monkeypatch):
    old = load_dataset("cifar10", raw_home)
    monkeypatch.setitem(datasets.GIST_PARAMETERS, "contrast_floor", 0.3)
    new = load_dataset("cifar10", raw_home)
    assert np.abs(new.features - old.features).max() > 1e-3
    cache_of(raw_home).unlink()
    shutil.rmtree(raw_home / FOLDER)
    with pytest.raises(DataError, match="cannot be read .*No such file"):
        load_dataset("cifar10", raw_home)


def with_checksum(content):
    return content + datasets.zlib.crc32(content).to_bytes(4, "little")


def other_arrays(**arrays):
    file = io.BytesIO()
    np.save(file, np.zeros(3, [(name, "f4") for name in arrays] or "f4"))
    return with_checksum(file.getvalue())


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-3],
        lambda content: content[:2],
        lambda content: b"",
        lambda content: with_checksum(b"another file"),
        lambda content: other_arrays(),
        lambda content: other_arrays(features=1, labels=1, images=1, nouns=1),
    ],
    ids=["short", "two bytes", "empty", "no array", "another array", "other fields"],
)
def test_a_damaged_cache_is_noticed_and_made_again(raw_home, fake, damage):
    cache = prepare("cifar10", raw_home)
    good = cache.read_bytes()
    cache.write_bytes(damage(good))
    with pytest.warns(UserWarning, match="npy cannot be read .*--archive.* This is done now"):
        check_cifar10(load_dataset("cifar10", raw_home), fake)
    assert left(raw_home) == {FOLDER, cache.name}
    assert cache.read_bytes() == good
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_dataset("cifar10", raw_home)
    shutil.rmtree(raw_home / FOLDER)
    cache.write_bytes(damage(good))
    with pytest.raises(DataError, match="npy cannot be read .*python -m grh_helpers data"):
        load_dataset("cifar10", raw_home)


@pytest.mark.parametrize("name", ["features", "labels", "images", "nouns", "header", "checksum"])
def test_every_bit_of_the_cache_is_verified(raw_home, name):
    cache = prepare("cifar10", raw_home)
    content = bytearray(cache.read_bytes())
    rows = np.load(cache, mmap_mode="r")
    where = {"header": 20, "checksum": len(content) - 2}
    if name not in where:
        field = rows.dtype.fields[name]
        last = rows.offset + 41 * rows.itemsize + field[1] + field[0].itemsize - 1
        where[name] = last if name != "nouns" else last - field[0].itemsize + 1
    content[where[name]] ^= 1
    cache.write_bytes(content)
    with pytest.warns(UserWarning, match="its checksum is wrong"):
        load_dataset("cifar10", raw_home)


def test_memory_that_runs_out_is_not_called_damage(raw_home, monkeypatch):
    cache = prepare("cifar10", raw_home)
    before = cache.read_bytes()

    def full(*args):
        raise MemoryError("no room")

    monkeypatch.setattr(datasets, "Dataset", full)
    with pytest.warns(UserWarning, match="npy cannot be read .no room"):
        with pytest.raises(DataError, match="npy cannot be read .no room"):
            load_dataset("cifar10", raw_home)
    assert cache.read_bytes() == before


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
@pytest.mark.parametrize("call", ["np.save", "Path.mkdir", "os.replace", "FileLock"])
def test_a_home_that_cannot_be_written(raw_home, monkeypatch, code, call):
    def fail(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    owner, name = (
        {"np": np, "Path": Path, "os": os, "FileLock": datasets}[call.split(".")[0]],
        call.split(".")[-1],
    )
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fail)
        message = f"data home {raw_home} cannot be used .*{os.strerror(code)}.*free some space"
        with pytest.raises(DataError, match=message):
            prepare("cifar10", raw_home)
    assert left(raw_home) == {FOLDER}
    assert load_dataset("cifar10", raw_home).name == "cifar10"


def test_a_disk_that_fills_up_while_caching(raw_home):
    """The system's own limit on file sizes stands in for a full disk."""
    pytest.importorskip("resource")
    code = """
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
        try:
            datasets.prepare("cifar10", home)
        except datasets.DataError as error:
            print("DataError", error)
    """
    out, err = script(code, raw_home).communicate(timeout=100)
    assert out.startswith(f"DataError The data home {raw_home} cannot be used"), (out, err)
    assert left(raw_home) == {FOLDER}


def test_a_home_that_is_a_file(home):
    home.write_text("")
    with pytest.raises(DataError, match=f"data home {home} cannot be used"):
        prepare("cifar10", home)


@posix
@pytest.mark.parametrize("sign", ["SIGINT", "SIGKILL"])
def test_a_process_that_is_stopped_while_it_makes_the_cache(raw_home, fake, sign):
    """Ctrl-C leaves nothing; what a killed process leaves, the next one removes."""
    code = """
        def save(file, rows):
            file.write(b"half")
            print("started", flush=True)
            time.sleep(100)
        datasets.np.save = save
        datasets.prepare("cifar10", home)
    """
    process = script(code, raw_home)
    assert process.stdout.readline() == "started\n"
    process.send_signal(getattr(signal, sign))
    _, err = process.communicate(timeout=100)
    assert process.returncode != 0
    assert ("KeyboardInterrupt" in err) == (sign == "SIGINT")
    assert (left(raw_home) == {FOLDER}) == (sign == "SIGINT")
    assert available(raw_home)["cifar10"][0] == "raw only"
    check_cifar10(load_dataset("cifar10", raw_home), fake)
    assert left(raw_home) == {FOLDER, cache_of(raw_home).name}


def test_several_processes_at_once(home, server, fake):
    """One downloads and computes, the others wait for it; nothing is left over."""
    code = """
        (home.parent / f"{os.getpid()}.here").touch()
        while len(list(home.parent.glob("*.here"))) < 3:  # wait until all are here
            time.sleep(0.01)
        real = datasets.gist
        def gist(*args, **kwargs):
            print("computed")
            return real(*args, **kwargs)
        datasets.gist = gist
        datasets.prepare("cifar10", home, url=sys.argv[2])
        print(datasets.load_dataset("cifar10", home).features.sum())
    """
    processes = [script(code, home, server.url) for _ in range(3)]
    answers = [process.communicate(timeout=100) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], answers
    assert len({out.split()[-1] for out, _ in answers}) == 1
    assert sum("computed" in out for out, _ in answers) == 1
    assert server.ranges == [0]
    assert left(home) == {ARCHIVE, cache_of(home).name}
    check_cifar10(load_dataset("cifar10", home), fake)


# Downloads ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["good", "no ranges", "encoded", "odd length"])
def test_download(home, server, fake, mode, monkeypatch, capfd):
    server.mode = mode
    monkeypatch.setattr(datasets, "CIFAR_URL", server.url)
    cache = prepare("cifar10", home)
    assert left(home) == {ARCHIVE, cache.name}
    check_cifar10(load_dataset("cifar10", home), fake)
    prepare("cifar10", home)
    assert server.ranges == [0]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("mode", ["good", "no ranges"])
def test_a_broken_connection_is_resumed(home, server, fake, tar_bytes, mode):
    server.mode = "cut"
    with pytest.raises(DataError, match="could not be .*try again .what arrived is kept"):
        prepare("cifar10", home, url=server.url)
    assert left(home) == {PART}
    half = (home / PART).stat().st_size
    assert half == len(tar_bytes) // 2
    server.mode = mode
    prepare("cifar10", home, url=server.url)
    assert server.ranges == [0, half]
    assert (home / ARCHIVE).read_bytes() == tar_bytes
    check_cifar10(load_dataset("cifar10", home), fake)


@pytest.mark.parametrize("extra", [b"", b"more than the server has"])
def test_a_part_that_is_complete_or_too_long_is_downloaded_again(home, server, tar_bytes, extra):
    """The process may have been killed between the last byte and the checksum."""
    home.mkdir()
    (home / PART).write_bytes(tar_bytes + extra)
    prepare("cifar10", home, url=server.url)
    assert (home / ARCHIVE).read_bytes() == tar_bytes
    assert server.ranges == [len(tar_bytes + extra), 0]


def test_a_part_of_another_file_is_refused_and_removed(home, server, tar_bytes):
    home.mkdir()
    (home / PART).write_bytes(bytes(100))
    with pytest.raises(DataError, match=f"sent is not {datasets.CIFAR_MD5}"):
        prepare("cifar10", home, url=server.url)
    assert left(home) == set()
    prepare("cifar10", home, url=server.url)
    assert server.ranges == [100, 0]


@pytest.mark.parametrize("altered", [b"short", None])
def test_an_altered_download_is_refused_and_removed(home, server, tar_bytes, altered):
    server.content = altered or tar_bytes[:-1] + bytes([tar_bytes[-1] ^ 1])
    with pytest.raises(DataError, match=f"is not {datasets.CIFAR_MD5}; try again.* a mirror"):
        prepare("cifar10", home, url=server.url)
    assert left(home) == set()


@pytest.mark.parametrize(
    ("mode", "part", "message"),
    [
        ("404", b"", "404.*check the address.*name a mirror"),
        ("404", b"part", "404.*check the address.*name a mirror"),
        ("416", b"", "416.*check the address.*name a mirror"),
        ("416", b"part", "416.*check the address.*name a mirror"),
        ("stalled", b"", "timed out.*try again .what arrived is kept"),
    ],
)
def test_servers_that_do_not_serve(home, server, monkeypatch, mode, part, message):
    monkeypatch.setattr(datasets, "_PATIENCE", 0.4)
    server.mode = mode
    home.mkdir()
    if part:
        (home / PART).write_bytes(part)
    with pytest.raises(DataError, match=f"could not be downloaded .*{message}"):
        prepare("cifar10", home, url=server.url)
    size = (home / PART).stat().st_size if left(home) else 0
    assert left(home) <= {PART}
    assert (size > 0) == (mode == "stalled" or part != b"" and mode == "404")


def test_addresses_that_lead_nowhere(home):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{unused.getsockname()[1]}/x"
        for url in (closed, "not a url", "file:///tmp/x.tgz", "http://nowhere.invalid/x"):
            message = "could not be downloaded .*check the address.* mirror .url. or an archive"
            with pytest.raises(DataError, match=message):
                prepare("cifar10", home, url=url)
    assert left(home) == set()


def test_a_disk_that_fills_up_while_downloading(home, server, monkeypatch):
    class Full(io.FileIO):
        def write(self, block):
            super().write(block[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(datasets, "open", lambda path, mode: Full(path, mode), raising=False)
        with pytest.raises(DataError, match=f"data home {home} cannot be used .*free some space"):
            prepare("cifar10", home, url=server.url)
    assert left(home) == {PART}
    prepare("cifar10", home, url=server.url)
    assert server.ranges == [0, 100]


@posix
@pytest.mark.parametrize("sign", ["SIGINT", "SIGKILL"])
def test_a_process_that_is_stopped_while_it_downloads(home, server, tar_bytes, sign):
    """What has arrived is used at once, by another process as well, and does not stay."""
    server.mode = "stalled"
    process = script("datasets.prepare('cifar10', home, url=sys.argv[2])", home, server.url)
    deadline = time.monotonic() + 60
    while not (home / PART).exists() or (home / PART).stat().st_size < 1000:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(getattr(signal, sign))
    process.communicate(timeout=100)
    assert process.returncode != 0
    kept = (home / PART).stat().st_size
    server.mode = "good"
    prepare("cifar10", home, url=server.url)
    assert server.ranges == [0, kept]
    assert left(home) == {ARCHIVE, cache_of(home).name}


# The .mat file ------------------------------------------------------------------------------------


def mat_content(**changes):
    rng = np.random.default_rng(3)
    content = {"X": rng.random((6 * ROWS, 512)), "X_class": np.arange(6 * ROWS)[None] % 10}
    content |= changes
    return {key: value for key, value in content.items() if value is not None}


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_mat(home, first, dtype):
    content = mat_content()
    home.mkdir()
    classes = (content["X_class"] + first).astype(dtype)
    savemat(home / MAT, content | {"X_class": classes}, do_compression=True)
    data = load_dataset("cifar10-mat", home)
    np.testing.assert_array_equal(data.features, content["X"])
    np.testing.assert_array_equal(data.labels, np.arange(6 * ROWS) % 10)
    assert data.labels.dtype == np.int64
    assert data.features.flags.c_contiguous
    assert data.images is None
    assert data.nouns is None
    assert prepare("cifar10-mat", home) == home / MAT


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"X": None}, "cannot be read .*X"),
        ({"X_class": None}, "cannot be read .*X_class"),
        ({"X": np.zeros((6 * ROWS, 511))}, "X is not 42 x 512"),
        ({"X": np.zeros((512, 6 * ROWS))}, "X is not 42 x 512"),
        ({"X": "text"}, "cannot be read"),
        ({"X_class": np.zeros((1, 5))}, "X_class is not 42 numbers"),
        ({"X_class": np.arange(42)[None] % 11}, "X_class is not 42 numbers of ten classes"),
        ({"X_class": np.full((1, 42), np.nan)}, "X_class is not 42 numbers"),
        ({"X": np.full((42, 512), np.nan)}, "Row 0 of the features is zero, not finite"),
    ],
)
def test_mat_of_the_wrong_content(home, tmp_path, changes, message):
    """It is said; and the file is replaced as soon as there is a right one."""
    savemat(tmp_path / "a.mat", mat_content(**changes))
    with pytest.raises(DataError, match=message):
        prepare("cifar10-mat", home, archive=tmp_path / "a.mat")
    savemat(tmp_path / "a.mat", mat_content())
    with pytest.warns(UserWarning, match=message):
        prepare("cifar10-mat", home, archive=tmp_path / "a.mat")
    assert load_dataset("cifar10-mat", home).name == "cifar10-mat"
    assert left(home) == {MAT}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        *((lambda mat, k=k: mat[: int(k * len(mat))], "") for k in (0, 0.001, 0.5, 0.99)),
        (lambda mat: b"<html>sign in</html>" * 50, "Unknown mat file type"),
        (lambda mat: mat[:124] + b"\x00\x02IM" + bytes(900), "use HDF reader for matlab v7.3"),
    ],
)
def test_files_that_are_no_mat(home, damage, message):
    home.mkdir()
    savemat(home / MAT, mat_content())
    (home / MAT).write_bytes(damage((home / MAT).read_bytes()))
    with pytest.raises(DataError, match=f"{MAT} cannot be read .*{message}"):
        load_dataset("cifar10-mat", home)


def test_mat_download_and_local_file(home, server, tmp_path):
    savemat(tmp_path / "a.mat", mat_content())
    server.content = (tmp_path / "a.mat").read_bytes()
    assert prepare("cifar10-mat", home, url=server.url) == home / MAT
    assert load_dataset("cifar10-mat", home).name == "cifar10-mat"
    prepare("cifar10-mat", tmp_path / "second", archive=tmp_path / "a.mat")
    assert left(tmp_path / "second") == {MAT}
    assert server.ranges == [0]
    server.content = b"<html>this file is gone</html>"
    with pytest.raises(DataError, match="mat cannot be read .*--dataset cifar10-mat"):
        prepare("cifar10-mat", tmp_path / "third", url=server.url)
    server.content = (tmp_path / "a.mat").read_bytes()
    with pytest.warns(UserWarning, match="mat cannot be read .* This is done now"):
        prepare("cifar10-mat", tmp_path / "third", url=server.url)
    assert left(tmp_path / "third") == {MAT}


# Splits -------------------------------------------------------------------------------------------


def random_dataset(n=500, d=6, seed=0):
    rng = np.random.default_rng(seed)
    return Dataset("mine", rng.random((n, d)) + 0.1, rng.integers(0, 3, n), list("abc"))


def test_split_of_sixty_thousand_has_the_documented_sizes_and_rows():
    data = random_dataset(60_000, 3)
    split = data.split()
    assert [len(p) for p in (split.queries, split.train, split.database)] == [120, 1198, 58682]
    # The rates as they are usually given to scikit-learn.
    rest, query = train_test_split(np.arange(60_000), test_size=0.002, random_state=42)
    database, train = train_test_split(rest, test_size=0.02, random_state=42)
    np.testing.assert_array_equal(split.query_index, query)
    np.testing.assert_array_equal(split.train_index, train)
    np.testing.assert_array_equal(split.database_index, database)


@settings(max_examples=40, deadline=None)
@given(st.integers(5, 60), st.data())
def test_split_is_normalised_then_centred(n, data):
    n_queries = data.draw(st.integers(1, n - 2))
    n_train = data.draw(st.integers(1, n - n_queries - 1))
    source = random_dataset(n, 4, seed=n)
    split = source.split(n_queries, n_train, random_state=data.draw(st.integers(0, 5)))
    parts = {"query": split.queries, "train": split.train, "database": split.database}
    indices = [getattr(split, f"{part}_index").tolist() for part in parts]
    assert [len(i) for i in indices] == [n_queries, n_train, n - n_queries - n_train]
    assert sorted(sum(indices, [])) == list(range(n))
    unit = [[v / sum(w * w for w in row) ** 0.5 for v in row] for row in source.features.tolist()]
    others = indices[1] + indices[2]
    mean = [sum(unit[i][j] for i in others) / len(others) for j in range(4)]
    for (part, rows), index in zip(parts.items(), indices, strict=True):
        expected = [[v - m for v, m in zip(unit[i], mean, strict=True)] for i in index]
        np.testing.assert_allclose(rows, expected, atol=1e-13)
        assert rows.dtype == np.float64
        assert rows.flags.c_contiguous
        np.testing.assert_array_equal(getattr(split, f"{part}_labels"), source.labels[index])


def test_split_of_digits_and_seeds(digits):
    data = digits
    first = data.split()
    assert [len(p) for p in (first.queries, first.train, first.database)] == [120, 300, 1377]
    np.testing.assert_array_equal(first.query_index, data.split().query_index)
    assert (first.query_index != data.split(random_state=1).query_index).any()
    assert len(data.split(n_train=17).train) == 17


def test_stratified_split_has_every_class_in_equal_share():
    labels = np.repeat([0, 1, 2], [300, 200, 100])
    data = Dataset("mine", np.random.default_rng(0).random((600, 3)) + 0.1, labels, list("abc"))
    split = data.split(60, 120, stratify=True)
    assert np.bincount(split.query_labels).tolist() == [30, 20, 10]
    assert np.bincount(split.train_labels).tolist() == [60, 40, 20]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"n_queries": 0}, "test_size.* must be .* Got 0"),
        ({"n_train": -3}, "test_size.* must be .* Got -3"),
        ({"n_queries": 2.5}, "test_size.* must be .* Got 2.5"),
        ({"n_train": "9"}, "'test_size' parameter .* Got '9'"),
        ({"n_queries": 200, "n_train": 300}, "smaller than the number of samples 300"),
        ({"n_queries": 500}, "smaller than the number of samples 500"),
        ({"n_queries": 2, "stratify": True}, "number of classes"),
    ],
)
def test_impossible_sizes(sizes, message):
    with pytest.raises(ValueError, match=message):
        random_dataset().split(**sizes)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [(dtype, value) for dtype in ("f4", "f8") for value in (0, 1e-30, np.nan, -np.inf)]
    + [("f4", 1e30), ("f8", 1e300)],
)
def test_rows_that_cannot_be_normalised_are_named(dtype, value):
    features = np.ones((100, 3), dtype)
    features[[7, 77]] = value
    message = "Row 7 of the features is zero, not finite, .* remove or scale it"
    with pytest.raises(DataError, match=message):
        Dataset("mine", features, None, [])
    features[[7, 77]] = 1e12 if value > 1 else 1e-12
    unit = Dataset("mine", features, None, []).split().queries
    assert np.isfinite(unit).all()


def test_the_list_of_names_is_public():
    assert set(datasets.__all__) <= set(vars(datasets))


# Arrays of one's own ------------------------------------------------------------------------------


def test_arrays_of_ones_own_go_through_split_and_sweep():
    rng = np.random.default_rng(0)
    names = np.array(["ant", "bee", "cat"])[rng.integers(3, size=600)]
    centres = {name: rng.normal(size=8) for name in ("ant", "bee", "cat")}
    features = np.array([centres[name] for name in names]) + 0.1 * rng.normal(size=(600, 8))
    data = Dataset.from_arrays(features.astype(np.float32), names)
    assert [data.class_names[i] for i in data.labels] == names.tolist()
    split = data.split(20, 100)
    codes = encode(LSH(8, random_state=0), split)
    assert radius_sweep(*codes, split, [8])["precision"][0] == 1


def test_vectors_without_labels(tmp_path):
    features = np.random.default_rng(0).normal(size=(600, 8))
    data = Dataset.from_arrays(features)
    assert (data.labels, data.class_names) == (None, [])
    split = data.split(20, 100)
    assert [split.query_labels, split.train_labels, split.database_labels] == [None] * 3
    labelled = Dataset.from_arrays(features, np.arange(600) % 2).split(20, 100)
    for part in ("queries", "train", "database", "query_index", "train_index", "database_index"):
        np.testing.assert_array_equal(getattr(split, part), getattr(labelled, part))
    with pytest.raises(DataError, match="Without labels there is nothing to stratify by"):
        data.split(20, 100, stratify=True)


@pytest.mark.parametrize("mapped", [False, True])
def test_float32_stays_float32_and_is_not_copied(tmp_path, mapped):
    features = np.random.default_rng(0).normal(size=(20_000, 50)).astype(np.float32)
    np.save(tmp_path / "v.npy", features)
    given = np.load(tmp_path / "v.npy", mmap_mode="r") if mapped else features
    tracemalloc.start()
    data = Dataset.from_arrays(given)
    assert np.shares_memory(data.features, given)
    split = data.split()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.2 * features.nbytes
    exact = Dataset.from_arrays(features.astype(np.float64)).split()
    for part in ("queries", "train", "database"):
        assert getattr(split, part).dtype == np.float32
        assert getattr(exact, part).dtype == np.float64
        np.testing.assert_allclose(getattr(split, part), getattr(exact, part), atol=3e-7)


def test_the_mean_of_many_float32_rows_is_exact():
    """Added one by one in float32, a hundred thousand rows lose a digit in three."""
    features = np.full((100_000, 3), [3, 2, 1], np.float32)
    split = Dataset.from_arrays(features).split()
    assert np.abs(split.database).max() < 1e-7


@pytest.mark.parametrize("dtype", ["f2", ">f4", "i4", "u1", "?"])
def test_all_else_becomes_float64(dtype):
    features = np.eye(9).astype(dtype)
    data = Dataset.from_arrays(features)
    assert data.features.dtype == np.float64
    np.testing.assert_array_equal(data.features, np.eye(9))


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        ([["a"]], None, "could not convert string to float: 'a'"),
        (np.array([[1j]]), None, "Complex data not supported"),
        ([[1.0], [2.0]], [1], "inconsistent numbers of samples: [2, 1]"),
        ([[1.0], [2.0]], [[1, 2], [3, 4]], "should be a 1d array, got an array of shape (2, 2)"),
        ([[1.0], [np.nan]], None, "Row 1 of the features is zero, not finite, or too short"),
        ([1.0, 2.0], None, "Expected 2D array, got 1D array"),
        (np.zeros((0, 3)), None, "Found array with 0 sample(s)"),
    ],
)
def test_arrays_that_cannot_be_used(features, labels, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Dataset.from_arrays(features, labels)
