"""Where the data come from: embedded digits, the CIFAR-10 archive, a file of GIST features.

In reading order: what a data set is (`Split`, `Dataset`); what a user calls (`data_home`,
`available`, `dataset_name`, `load_dataset`, `prepare`); what is where, how errors are worded and
who may write; then one part per source: digits, the cache of CIFAR-10, its raw batches, the
``.mat`` file, the download.

Raw data and the cache of computed features live in one folder, the data home. Several processes may
share it. Readers take no lock. Whoever writes holds a lock, which the operating system takes back
when a process dies, and writes to a temporary file, which is moved to its place when it is
complete. What a killed process leaves of a download (``.part``) is gone on with, what it leaves of
the cache (``.tmp``) is removed.
"""

import io
import os
import pickle
import shutil
import tarfile
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any, Self
from uuid import uuid4

import numpy as np
import pooch
import requests
from filelock import FileLock
from scipy.io import loadmat
from scipy.ndimage import zoom
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.utils import check_array, check_consistent_length, column_or_1d
from sklearn.utils.extmath import row_norms
from tqdm import tqdm
from urllib3.exceptions import HTTPError

from grh_helpers.gist import GIST_PARAMETERS, gist

__all__ = ["DATASETS", "DataError", "Dataset", "Split"]
__all__ += ["atomic", "available", "data_home", "dataset_name", "load_dataset", "prepare"]


DATASETS = {
    "auto": "cifar10 if it is on this machine, else digits",
    "digits": "1,797 handwritten digits, embedded in scikit-learn",
    "cifar10": "60,000 colour photographs, GIST computed here",
    "cifar10-mat": "GIST features of CIFAR-10 that the original tutorial used",
}
CIFAR_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
CIFAR_MD5 = "c58f30108f718f92721af3b95e74349a"
CIFAR_ARCHIVE = "cifar-10-python.tar.gz"
CIFAR_FOLDER = "cifar-10-batches-py"
CIFAR_BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
CIFAR_CLASSES = "airplane automobile bird cat deer dog frog horse ship truck".split()
MAT_URL = "https://www.dropbox.com/s/875u1rkva9iffpj/Gist512CIFAR10.mat?dl=1"
MAT_FILE = "Gist512CIFAR10.mat"
DIGIT_CLASSES = "zero one two three four five six seven eight nine".split()

_ROWS = 10_000  # images per batch
_PATIENCE = 60  # seconds for which a download may bring nothing
_AGAIN = "check the address, try again (what arrived is kept), or name a mirror (url) or an archive"


class DataError(ValueError):
    """Data are missing, damaged or unusable; the message says what to do."""


def _need(condition: Any, sentence: str) -> None:
    if not condition:
        raise DataError(sentence)


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """Queries, training set and database, normalised and centred.

    Made by hand in chapter 1.

    Attributes
    ----------
    queries, train, database : arrays of shape (rows, d), float64 or float32 as the data set
        Rows of unit length, minus the mean of all rows that are not queries.
    query_labels, train_labels, database_labels : arrays of shape (rows,), int64, or None
    query_index, train_index, database_index : arrays of shape (rows,), int64
        Row numbers in the data set; no row is in two parts.
    """

    queries: np.ndarray
    query_labels: np.ndarray | None
    train: np.ndarray
    train_labels: np.ndarray | None
    database: np.ndarray
    database_labels: np.ndarray | None
    query_index: np.ndarray
    train_index: np.ndarray
    database_index: np.ndarray


@dataclass(frozen=True, eq=False)
class Dataset:
    """Features in a canonical order, with or without labels and images.

    Attributes
    ----------
    name : str
    features : array of shape (n, d), float64 or float32
        GIST, 512 numbers per image, or vectors of one's own; neither normalised nor centred.
    labels : array of shape (n,), int64, or None
        Index into `class_names`.
    class_names : list of str
    images : array of shape (n, 32, 32) or (n, 32, 32, 3), uint8, or None
        For CIFAR-10 a read-only memory map of the cache.
    nouns : array of shape (n,), str, or None
        The word each photograph was searched by: "fire engine".

    Raises
    ------
    ValueError
        If features and labels do not match, or a row cannot be normalised: it is zero, not finite,
        or its length is below 1e-15 or beyond what its dtype holds.
    """

    name: str
    features: np.ndarray = field(repr=False)
    labels: np.ndarray | None = field(repr=False)
    class_names: list[str] = field(repr=False)
    images: np.ndarray | None = field(default=None, repr=False)
    nouns: np.ndarray | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Check that features and labels fit."""
        check_consistent_length(self.features, self.labels)
        lengths = row_norms(self.features)
        usable = (lengths >= 1e-15) & (lengths < np.inf)
        wrong = "is zero, not finite, or too short or long to be normalised; remove or scale it"
        _need(usable.all(), f"Row {usable.argmin()} of the features {wrong}.")

    @classmethod
    def from_arrays(cls, features, labels=None, name: str = "arrays") -> Self:
        """Make a data set of vectors of one's own, for `split` and all that takes a `Split`.

        Parameters
        ----------
        features : array-like of shape (n, d), memory maps included
            float32 stays float32 and is not copied, all else becomes float64.
        labels : array-like of shape (n,), optional
            Classes, numbers or strings.
        name : str

        Returns
        -------
        Dataset

        Raises
        ------
        ValueError
            If the features are no matrix of numbers, or as for `Dataset`.

        Examples
        --------
        >>> data = Dataset.from_arrays([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0]], ["cat", "ant", "cat"])
        >>> data.labels.tolist(), data.class_names
        ([1, 0, 1], ['ant', 'cat'])
        """
        features = check_array(features, dtype=(np.float64, np.float32), ensure_all_finite=False)
        if labels is None:
            return cls(name, features, None, [])
        classes, members = np.unique(column_or_1d(labels), return_inverse=True)
        return cls(name, features, members.astype(np.int64), [str(name) for name in classes])

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.features)

    def split(
        self,
        n_queries: int | None = None,
        n_train: int | None = None,
        *,
        stratify: bool = False,
        random_state: int | None = 42,
    ) -> Split:
        """Draw queries and a training set; the rest is the database.

        Parameters
        ----------
        n_queries, n_train : int or float, optional
            Numbers of rows, or shares of the rows and of the others, as for ``train_test_split``.
            By default 0.2 % of the rows and 2 % of the others, rounded up: 120 and 1,198 of
            CIFAR-10. For digits 120 and 300.
        stratify : bool
            Give each class its share of queries and training set; needs labels.
        random_state : int or None
            Seed of the two draws by scikit-learn's ``train_test_split``.

        Returns
        -------
        Split

        Raises
        ------
        ValueError
            If a part would be empty, or there are no labels to stratify by.

        Notes
        -----
        Built by hand in chapter 1.

        Examples
        --------
        >>> split = load_dataset("digits").split()
        >>> len(split.queries), len(split.train), len(split.database)
        (120, 300, 1377)
        """
        n, y = len(self), self.labels
        _need(y is not None or not stratify, "Without labels there is nothing to stratify by.")
        if n_queries is None:
            n_queries = 120 if self.name == "digits" else -(-n // 500)
        draw = partial(train_test_split, random_state=random_state)
        others, query = draw(np.arange(n), test_size=n_queries, stratify=y if stratify else None)
        if n_train is None:
            n_train = 300 if self.name == "digits" else -(-len(others) // 50)
        database, train = draw(others, test_size=n_train, stratify=y[others] if stratify else None)
        unit = self.features / np.linalg.norm(self.features, axis=1, keepdims=True)
        unit -= unit[others].mean(axis=0, dtype=np.float64)
        parts = (query, train, database)
        pairs = [(unit[rows], None if y is None else y[rows]) for rows in parts]
        return Split(*pairs[0], *pairs[1], *pairs[2], *parts)


def data_home(path: str | Path | None = None) -> Path:
    """Folder of raw data and caches; it need not exist.

    Parameters
    ----------
    path : path, optional
        By default the environment variable ``GRH_DATA_HOME``, else a cache folder of the user.

    Returns
    -------
    Path

    Raises
    ------
    DataError
        If it is the home folder of a user that does not exist: "~nobody".
    """
    path = path or os.environ.get("GRH_DATA_HOME") or pooch.os_cache("grh_helpers")
    with _worded(f"There is no folder {path}", "set GRH_DATA_HOME to a folder", RuntimeError):
        return Path(path).expanduser()


_home = data_home  # the functions below have a parameter of that name


def available(data_home: str | Path | None = None) -> dict[str, tuple[str, Path | None]]:
    """Say what is on this machine, without reading it.

    Parameters
    ----------
    data_home : path, optional
        See the function `data_home`.

    Returns
    -------
    dict of str to (state, path)
        Per data set "ready", "raw only" (`load_dataset` computes the features at first use) or
        "missing", and the file or folder that holds it, if there is one.
    """
    found = {"digits": ("ready", None)}
    for name in ("cifar10", "cifar10-mat"):
        ready, raw = _files(name, _home(data_home))
        without = "raw only" if raw else "missing"
        found[name] = ("ready", ready) if ready.exists() else (without, raw)
    return found


def dataset_name(name: str | None = None, data_home: str | Path | None = None) -> str:
    """Name of the data set that `load_dataset` loads.

    Parameters
    ----------
    name : {"auto", "digits", "cifar10", "cifar10-mat"}, optional
        By default the environment variable ``GRH_DATASET``, else "auto": CIFAR-10 if the data home
        has it, else digits.
    data_home : path, optional
        See the function `data_home`.

    Returns
    -------
    {"digits", "cifar10", "cifar10-mat"}

    Raises
    ------
    DataError
        If the name is unknown.
    """
    name = name or os.environ.get("GRH_DATASET") or "auto"
    _need(name in DATASETS, f"The data set must be one of {', '.join(DATASETS)}, got {name!r}.")
    if name != "auto":
        return name
    return "digits" if available(data_home)["cifar10"][0] == "missing" else "cifar10"


def load_dataset(name: str | None = None, data_home: str | Path | None = None) -> Dataset:
    """Load a data set that is on this machine; nothing is ever downloaded.

    Parameters
    ----------
    name : {"auto", "digits", "cifar10", "cifar10-mat"}, optional
        See `dataset_name`. "auto" prints one line that says which.
    data_home : path, optional
        See the function `data_home`.

    Returns
    -------
    Dataset
        GIST features went through float32, whose rounding hides the differences of FFT libraries
        in the last digits: every machine gets the same numbers.

    Raises
    ------
    DataError
        If the name is unknown, or the data are missing, damaged or unusable.

    Notes
    -----
    Built by hand in the appendix.

    Examples
    --------
    >>> digits = load_dataset("digits")
    >>> digits.features.shape, digits.images.shape, digits.class_names[3]
    ((1797, 512), (1797, 32, 32), 'three')
    """
    asked = name or os.environ.get("GRH_DATASET")
    name = dataset_name(name, data_home)
    if name != asked:
        other = {"digits": "python -m grh_helpers data", "cifar10": "GRH_DATASET=digits"}[name]
        print(f"auto: {name}, {DATASETS[name]} (for the other one: {other})")
    return _digits() if name == "digits" else _open(name, _home(data_home))


def prepare(
    name: str | None = None,
    data_home: str | Path | None = None,
    *,
    url: str | None = None,
    archive: str | Path | None = None,
) -> Path:
    """Download, verify, describe and cache a data set, as far as that is not done yet.

    The appendix goes through its steps by hand.

    Parameters
    ----------
    name : {"auto", "digits", "cifar10", "cifar10-mat"}, optional
        See `dataset_name`.
    data_home : path, optional
        See the function `data_home`.
    url : str, optional
        A mirror. What it serves must have the checksum of the official archive.
    archive : path, optional
        Local file that is used instead of a download; believed if its content is right.

    Returns
    -------
    Path
        Where the data are: the cache, a file, or for the embedded digits the data home.

    Raises
    ------
    DataError
        If there is no network, the data are damaged or the data home cannot be written. An
        interrupted download is kept and resumed by the next call.

    Notes
    -----
    Built by hand in the appendix.
    """
    name, home = dataset_name(name, data_home), _home(data_home)
    if name != "digits":
        _open(name, home, url or (CIFAR_URL if name == "cifar10" else MAT_URL), archive)
    return available(home)[name][1] or home


# What is where, errors in sentences, and who may write --------------------------------------------


def _files(name: str, home: Path) -> tuple[Path, Path | None]:
    """Path of the file that is read, and the raw data that it is made from, if they are there."""
    if name == "cifar10-mat":
        return home / MAT_FILE, None
    raw = (path for path in (home / CIFAR_FOLDER, home / CIFAR_ARCHIVE) if path.exists())
    # The cache of another version of GIST has another name and is never read.
    return home / f"cifar10-{zlib.crc32(repr(GIST_PARAMETERS).encode()):08x}.npy", next(raw, None)


@contextmanager
def atomic(path: str | os.PathLike, mode: str = "wb") -> Iterator[IO]:
    """Open a temporary file that takes the place of `path` at the end, or vanishes on an error.

    Parameters
    ----------
    path : path of the file; a symbolic link is followed, and the file keeps its permissions
    mode : {"wb", "w"}
        Text is written as UTF-8.

    Yields
    ------
    The open temporary file, which lies in the folder of the file.

    Raises
    ------
    ValueError
        If there is something at `path` that is not a file.
    OSError
        If the file cannot be written.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise ValueError(f"{path} is a folder or a device; give the path of a file.")
    # Only the beginning of the name, because file systems limit a name to 255 bytes.
    temporary = target.with_name(f".{target.name[:24]}.{uuid4().hex[:12]}.tmp")
    try:
        with open(temporary, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
        if target.exists():
            temporary.chmod(target.stat().st_mode)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _worded(what: str, todo: str, errors: Any = Exception) -> Iterator[None]:
    """Put what the operating system or a library raises into a sentence."""
    try:
        yield
    except errors as error:
        reason = str(error).partition("\n")[0].rstrip(".:")
        raise DataError(f"{what} ({reason}); {todo}.") from error


def _open(name: str, home: Path, url: str = "", archive: str | Path | None = None) -> Dataset:
    """Read a file; if it is missing or damaged, make it first from raw data or a download."""
    path, raw = _files(name, home)
    make = _make_cache if name == "cifar10" else _make_mat
    todo = "free some space, make it readable and writable, or set GRH_DATA_HOME to another folder"
    with _worded(f"The data home {home} cannot be used", todo, OSError):
        try:
            return _read(name, path)
        except DataError as error:
            if not (raw or url):
                raise
            if path.exists():
                warnings.warn(f"{error} This is done now.", stacklevel=3)
        with FileLock(home / ".grh_helpers.lock", mode=0o666):
            with suppress(DataError):
                return _read(name, path)  # another process has made it meanwhile
            make(path, archive or _files(name, home)[1], url)
        return _read(name, path)


def _read(name: str, path: Path) -> Dataset:
    todo = f'run "python -m grh_helpers data --dataset {name}", with --archive if you have its file'
    with _worded(f"{path} cannot be read", todo):
        return (_read_cache if name == "cifar10" else _read_mat)(path)


# Digits -------------------------------------------------------------------------------------------


def _digits() -> Dataset:
    digits = load_digits()
    # Bilinear enlargement: exact cosine search reaches a precision@10 of 0.960, against 0.943 with
    # repeated pixels and 0.933 with cubic splines.
    images = zoom(digits.images * (255 / 16), (1, 4, 4), order=1, mode="nearest", grid_mode=True)
    images = np.rint(images).astype(np.uint8)
    features = gist(images).astype(np.float32).astype(np.float64)
    return Dataset("digits", features, digits.target.astype(np.int64), DIGIT_CLASSES[:], images)


# CIFAR-10: the cache ------------------------------------------------------------------------------


def _make_cache(cache: Path, raw: str | Path | None, url: str) -> None:
    """Write the rows of CIFAR-10 as one array, and behind it the CRC-32 of all that."""
    rows = _read_cifar10(Path(raw or _download(url, cache.with_name(CIFAR_ARCHIVE), CIFAR_MD5)))
    rows["features"] = gist(rows["images"], n_jobs=-1, progress=True)
    for left_by_a_killed_process in cache.parent.glob(f".{cache.name}.*.tmp"):
        left_by_a_killed_process.unlink()
    with atomic(cache) as file:
        np.save(file, rows)
        file.flush()
        file.write(zlib.crc32(np.memmap(file.name, mode="r")).to_bytes(4, "little"))


def _read_cache(cache: Path) -> Dataset:
    """Features, labels and nouns of the cache, and its images as a memory map, all verified."""
    content = np.memmap(cache, mode="r")
    right = zlib.crc32(content[:-4]).to_bytes(4, "little") == content[-4:].tobytes()
    _need(right, "its checksum is wrong")
    rows = np.load(cache, mmap_mode="r")
    features, images = np.array(rows["features"], np.float64), rows["images"]
    labels, nouns = np.array(rows["labels"]), np.array(rows["nouns"])
    return Dataset("cifar10", features, labels, CIFAR_CLASSES[:], images, nouns)


# CIFAR-10: the raw data ---------------------------------------------------------------------------


def _read_cifar10(source: Path) -> np.ndarray:
    """Read all but the features, sorted by file name: the order in the batches is no matter."""
    with _worded(f"{source} cannot be read", "make it readable, or get it again"):
        batches = {name: _read_batch(content, name) for name, content in _batches(source)}
        _need(len(batches) == 6, f"of six batches it has only {', '.join(sorted(batches))}")
        images, labels, names = map(np.concatenate, zip(*batches.values(), strict=True))
        files, place = np.unique(names, return_inverse=True)
        _need(len(files) == len(names), "it holds a file name twice")
    # "fire_engine_s_000042.png" -> "fire engine"
    nouns = [name.decode("latin-1").rsplit("_", 2)[0].replace("_", " ") for name in names.tolist()]
    columns = [("features", "f4", 512), ("images", "u1", (32, 32, 3)), ("labels", "i8")]
    rows = np.empty(len(names), [*columns, ("nouns", f"U{max(map(len, nouns))}")])
    rows["images"][place] = images.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    rows["labels"][place], rows["nouns"][place] = labels, nouns
    return rows


def _batches(source: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the batch files of a folder, or of an archive without unpacking it to disk."""
    if source.is_dir():
        for name in CIFAR_BATCHES:
            yield name, (source / name).read_bytes()
    else:
        with tarfile.open(source) as archive:
            for member in archive:
                name = Path(member.name).name
                if name in CIFAR_BATCHES and member.isreg():
                    # A batch has 31 MB, and 46 MB if Python 3 wrote it for Python 2.
                    yield name, archive.extractfile(member).read(4 * 3072 * _ROWS)


class _BatchUnpickler(pickle.Unpickler):
    """Unpickler that admits what a batch needs, as NumPy 1 and 2 spell it, and no one's program."""

    known = {"numpy.ndarray", "numpy.dtype", "_codecs.encode"}
    known |= {f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core")}

    def find_class(self, module: str, name: str) -> Any:
        asked = f"{module}.{name}"
        _need(asked in self.known, f"it asks for {asked}, which no batch needs")
        return super().find_class(module, name)


def _read_batch(content: bytes, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unpickle the images, labels and file names of a batch, and check that they are that."""
    batch = _BatchUnpickler(io.BytesIO(content), encoding="bytes").load()
    # Who wrote it again with Python 3 may have made the keys text.
    fields = [batch.get(key.encode(), batch.get(key)) for key in ("data", "labels", "filenames")]
    images, labels, names = map(np.asarray, fields)
    shapes = images.shape == (_ROWS, 3072) and labels.shape == names.shape == (_ROWS,)
    kinds = images.dtype == np.uint8 and names.dtype.kind in "SU"
    right = shapes and kinds and {*labels.tolist()} <= {*range(10)}
    what = f"{_ROWS} images of 3,072 bytes, labels from 0 to 9 and file names"
    _need(right, f"{name} does not hold {what}")
    return images, labels.astype(np.int64), names.astype("S")


# The file of GIST features ------------------------------------------------------------------------


def _make_mat(target: Path, archive: str | Path | None, url: str) -> None:
    if archive:
        with atomic(target) as file:
            file.write(Path(archive).read_bytes())
    else:
        _download(url, target)


def _read_mat(path: Path) -> Dataset:
    # Of a missing Path it would say something else than that it is missing.
    content = loadmat(str(path), variable_names=["X", "X_class"])
    features = np.array(content["X"], np.float64, order="C")
    _need(features.shape == (6 * _ROWS, 512), f"X is not {6 * _ROWS} x 512 numbers")
    # The ten classes are numbered from 0 or from 1.
    numbers, labels = np.unique(content["X_class"].ravel(), return_inverse=True)
    ten = len(numbers) == 10 and len(labels) == 6 * _ROWS
    _need(ten, f"X_class is not {6 * _ROWS} numbers of ten classes")
    return Dataset("cifar10-mat", features, labels, CIFAR_CLASSES[:])


# Downloads ----------------------------------------------------------------------------------------


def _download(url: str, target: Path, md5: str | None = None) -> Path:
    """Go on with the ``.part`` of a file, and give it its name when it is complete and right."""
    part = target.with_name(f"{target.name}.part")
    start = part.stat().st_size if part.exists() else 0
    # Compressed transfer would be undone on arrival, and ranges would count something else.
    headers = {"Accept-Encoding": "identity", "Range": f"bytes={start}-"}
    with (
        _worded(f"{url} could not be downloaded", _AGAIN, (requests.RequestException, HTTPError)),
        requests.get(url, headers=headers, stream=True, timeout=_PATIENCE) as answer,
    ):
        if answer.status_code == 416 and start:  # the part is complete already, or too long
            part.unlink()
            return _download(url, target, md5)
        answer.raise_for_status()
        if answer.status_code != 206:  # the server cannot resume and sends all
            start = 0
        # disable=None: a progress bar on terminals only
        bar = tqdm.wrapattr(answer.raw, "read", answer.raw.length_remaining, disable=None)
        with open(part, "ab" if start else "wb") as file, bar as body:
            shutil.copyfileobj(body, file, 1 << 14)
    if md5 and pooch.file_hash(part, "md5") != md5:
        part.unlink()
        raise DataError(f"The MD5 of what {url} sent is not {md5}; try again, or name a mirror.")
    return part.replace(target)
