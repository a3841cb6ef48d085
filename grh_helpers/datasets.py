"""Where the data come from: embedded digits, the CIFAR-10 archive, a file of GIST features.

In reading order: what a data set is (`Split`, `Dataset`); what a user calls (`data_home`,
`load_dataset`, `prepare`, `available`); how errors are worded and who may write; then one part per
source: digits, the cache of CIFAR-10, its raw batches, the ``.mat`` file, the download.

Raw data and the cache of computed features live in one folder, the data home. Several processes may
share it. Readers take no lock. Whoever writes holds a lock, which the operating system takes back
when a process dies, and writes to a file with the name ``.part``, which is moved to its place when
it is complete. What a killed process leaves of a download is gone on with, what it leaves of the
cache is overwritten.
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
from itertools import chain
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
import pooch
import requests
import urllib3
from filelock import FileLock
from scipy.io import loadmat
from scipy.ndimage import zoom
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tqdm import tqdm

from grh_helpers.gist import GIST_PARAMETERS, gist

__all__ = ["DATASETS", "DataError", "Dataset", "Split"]
__all__ += ["available", "data_home", "load_dataset", "prepare"]

StrPath = str | os.PathLike

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
_AGAIN = (
    "check the address and the network and run the same command again, which goes on with what has "
    "arrived, or name a mirror (url) or a file on this machine (archive)"
)


class DataError(ValueError):
    """Data are missing, damaged or unusable; the message says what to do."""


def _need(condition: Any, sentence: str) -> None:
    if not condition:
        raise DataError(sentence)


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """Queries, training set and database, normalised and centred.

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
    DataError
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
        x = self.features.shape
        y = x[:1] if self.labels is None else self.labels.shape
        fit = len(x) == 2 and y == x[:1]
        _need(fit, f"features and labels must have shapes (n, d) and (n,), got {x} and {y}.")
        with np.errstate(over="ignore"):
            lengths = np.linalg.norm(self.features, axis=1)
        usable = (lengths >= 1e-15) & (lengths < np.inf)
        if not usable.all():
            wrong = "is zero, not finite, or too short or long to be normalised; remove or scale it"
            raise DataError(f"Row {usable.argmin()} of the features {wrong}.")

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
        DataError
            If the features are not numbers, or as for `Dataset`.

        Examples
        --------
        >>> data = Dataset.from_arrays([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0]], ["cat", "ant", "cat"])
        >>> data.labels.tolist(), data.class_names
        ([1, 0, 1], ['ant', 'cat'])
        """
        features = np.asarray(features)
        _need(features.dtype.kind in "biuf", f"features must be numbers, got {features.dtype}.")
        dtype = np.float32 if features.dtype == np.float32 else np.float64
        features = features.astype(dtype, copy=False)
        if labels is None:
            return cls(name, features, None, [])
        classes, members = np.unique(np.asarray(labels), return_inverse=True)
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
        labelled = ((unit[rows], None if y is None else y[rows]) for rows in parts)
        return Split(*chain(*labelled), *parts)


@dataclass(frozen=True)
class Availability:
    """What a data home holds of one data set.

    Attributes
    ----------
    name : str
    state : {"ready", "raw only", "missing"}
        Raw data still need their features computed, which `load_dataset` does at first use.
    path : Path or None
        Where it is, if it is a file or folder.
    size : int
        Bytes on disk.
    """

    name: str
    state: str
    path: Path | None
    size: int


def data_home(path: StrPath | None = None) -> Path:
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
    home = os.path.expanduser(path)
    _need(not home.startswith("~"), f"There is no user for {home}; set GRH_DATA_HOME to a folder.")
    return Path(home)


_home = data_home  # the functions below have a parameter of that name


def load_dataset(
    name: str | None = None, data_home: StrPath | None = None, *, progress: bool = True
) -> Dataset:
    """Load a data set that is on this machine; nothing is ever downloaded.

    Parameters
    ----------
    name : {"auto", "digits", "cifar10", "cifar10-mat"}, optional
        By default the environment variable ``GRH_DATASET``, else "auto": CIFAR-10 if the data home
        has it, else digits. "auto" prints one line that says which.
    data_home : path, optional
        See the function `data_home`.
    progress : bool
        Show a progress bar on terminals while GIST is computed for the first time.

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
    name = name or os.environ.get("GRH_DATASET") or "auto"
    _need(name in DATASETS, f"The data set must be one of {', '.join(DATASETS)}, got {name!r}.")
    if name == "auto":
        name = available(data_home)["auto"].name
        other = {"digits": "python -m grh_helpers data", "cifar10": "GRH_DATASET=digits"}[name]
        print(f"auto: {name}, {DATASETS[name]} (for the other one: {other})")
    if name == "digits":
        return _digits()
    return _open(name, _home(data_home), progress)


def prepare(
    name: str,
    data_home: StrPath | None = None,
    *,
    url: str | None = None,
    archive: StrPath | None = None,
    progress: bool = True,
) -> Path:
    """Download, verify, describe and cache a data set, as far as that is not done yet.

    Parameters
    ----------
    name : {"digits", "cifar10", "cifar10-mat"}
    data_home : path, optional
        See the function `data_home`.
    url : str, optional
        A mirror. What it serves must have the checksum of the official archive.
    archive : path, optional
        Local file that is used instead of a download; believed if its content is right.
    progress : bool
        Show progress bars on terminals.

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
    names = [name for name in DATASETS if name != "auto"]
    _need(name in names, f"The data set must be one of {', '.join(names)}, got {name!r}.")
    _need(not archive or os.path.exists(archive), f"There is no file {archive}; check the path.")
    home = _home(data_home)
    if name != "digits":
        official = CIFAR_URL if name == "cifar10" else MAT_URL
        _open(name, home, progress, url or official, archive)
    return available(home)[name].path or home


def available(data_home: StrPath | None = None) -> dict[str, Availability]:
    """Say what is on this machine, without reading it.

    Parameters
    ----------
    data_home : path, optional
        See the function `data_home`.

    Returns
    -------
    dict of str to Availability
        One entry per data set; that of "auto" is the entry of the data set it means now.
    """
    home = _home(data_home)
    found = {"digits": Availability("digits", "ready", None, 0)}
    places = {"cifar10": (_cache(home), _raw(home)), "cifar10-mat": (home / MAT_FILE, None)}
    for name, (ready, raw) in places.items():
        state = "ready" if ready.exists() else "raw only" if raw else "missing"
        path = ready if state == "ready" else raw
        files = [] if path is None else path.iterdir() if path.is_dir() else [path]
        found[name] = Availability(name, state, path, sum(f.stat().st_size for f in files))
    found["auto"] = found["digits" if found["cifar10"].state == "missing" else "cifar10"]
    return found


# Errors in sentences, and who may write -----------------------------------------------------------


@contextmanager
def _worded(what: str, todo: str, errors: Any = Exception) -> Iterator[None]:
    """Put what the operating system or a library raises into a sentence."""
    try:
        yield
    except errors as error:
        reason = str(error).partition("\n")[0].rstrip(".:")
        raise DataError(f"{what} ({reason}); {todo}.") from error


def _open(name, home, progress, url="", archive=None) -> Dataset:
    """Read CIFAR-10 or the ``.mat`` file, with a `url` after making sure that it is there."""
    todo = "free some space, make it readable and writable, or set GRH_DATA_HOME to another folder"
    with _worded(f"The data home {home} cannot be used", todo, OSError):
        return (_cifar10 if name == "cifar10" else _mat)(home, progress, url, archive)


def _lock(home: Path) -> FileLock:
    home.mkdir(parents=True, exist_ok=True)
    return FileLock(home / ".grh_helpers.lock", mode=0o666)


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


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


def _cache(home: Path) -> Path:
    """File of the cache; another version of GIST has another name and is never read."""
    return home / f"cifar10-{zlib.crc32(repr(GIST_PARAMETERS).encode()):08x}.npy"


def _raw(home: Path) -> Path | None:
    return next((p for p in (home / CIFAR_FOLDER, home / CIFAR_ARCHIVE) if p.exists()), None)


def _cifar10(home: Path, progress: bool, url: str, archive: StrPath | None) -> Dataset:
    """CIFAR-10 from the cache, which is made where it is missing or damaged."""
    cache = _cache(home)
    try:
        return _read_cache(cache)
    except DataError as error:
        if not (url or _raw(home)):
            raise
        if cache.exists():
            warnings.warn(f"{error} This is done now.", stacklevel=4)
    with _lock(home):
        with suppress(DataError):
            return _read_cache(cache)  # another process has made it meanwhile
        raw = Path(archive) if archive else _raw(home)
        if raw is None:
            raw = home / CIFAR_ARCHIVE
            _get(raw, url, None, _verify_archive, progress)
        _make_cache(raw, cache, progress)
    return _read_cache(cache)


def _make_cache(raw: Path, cache: Path, progress: bool) -> None:
    """Write the rows of CIFAR-10 as one array, and behind it the CRC-32 of all that."""
    rows, part = _read_cifar10(raw), _part(cache)
    rows["features"] = gist(rows["images"], n_jobs=-1, progress=progress)
    try:
        with open(part, "wb") as file:
            np.save(file, rows)
            file.flush()
            file.write(zlib.crc32(np.memmap(part, mode="r")).to_bytes(4, "little"))
        part.replace(cache)
    finally:
        part.unlink(missing_ok=True)


def _read_cache(cache: Path) -> Dataset:
    """Features, labels and nouns of the cache, and its images as a memory map, all verified."""
    todo = 'run "python -m grh_helpers data" to'
    there = f"put the folder {CIFAR_FOLDER} or the file {CIFAR_ARCHIVE} there"
    _need(cache.exists(), f"There is no CIFAR-10 in {cache.parent}; {todo} get it, or {there}.")
    wrong = OSError, ValueError, IndexError  # not MemoryError: that would not be its fault
    with _worded(f"The cache {cache} is damaged", f"{todo} make it again", wrong):
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
        batches = {name: _read_batch(file, name) for name, file in _batches(source)}
    missing = sorted({*CIFAR_BATCHES} - {*batches})
    _need(not missing, f"{source} has no {', '.join(missing)}; get CIFAR-10 again.")
    images, labels, names = map(np.concatenate, zip(*batches.values(), strict=True))
    files, place = np.unique(names, return_inverse=True)
    _need(len(files) == len(names), f"{source} holds a file name twice; get CIFAR-10 again.")
    # "fire_engine_s_000042.png" -> "fire engine"
    nouns = [name.decode("latin-1").rsplit("_", 2)[0].replace("_", " ") for name in names.tolist()]
    fields = {"features": "512f4", "images": "(32,32,3)u1", "labels": "i8", "nouns": "U%d"}
    fields["nouns"] %= max(map(len, nouns))
    rows = np.empty(len(names), {"names": [*fields], "formats": [*fields.values()]})
    rows["images"][place] = images.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    rows["labels"][place], rows["nouns"][place] = labels, nouns
    return rows


def _batches(source: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield the batch files of a folder, or of an archive without unpacking it to disk."""
    if source.is_dir():
        for name in {*CIFAR_BATCHES} & {*os.listdir(source)}:
            with open(source / name, "rb") as file:
                yield name, file
    else:
        with tarfile.open(source) as archive:
            for member in archive:
                name = Path(member.name).name
                if name in CIFAR_BATCHES and member.isreg():
                    yield name, archive.extractfile(member)


class _BatchUnpickler(pickle.Unpickler):
    """Unpickler that knows four names, whatever module they are asked from: no one else's code."""

    _known = {
        "_reconstruct": np.empty(0).__reduce__()[0],
        "ndarray": np.ndarray,
        "dtype": np.dtype,
        "encode": lambda text, _: text.encode("latin-1"),  # how Python 3 writes bytes for Python 2
    }

    def find_class(self, module: str, name: str) -> Any:
        if name not in self._known:
            raise ValueError(f"it asks for {module}.{name}, which no batch needs")
        return self._known[name]


def _read_batch(file: IO[bytes], name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unpickle the images, labels and file names of a batch, and check that they are that."""
    # No more than this is read: a batch has 31 MB, and 46 MB if Python 3 wrote it for Python 2.
    pickled = io.BytesIO(file.read(4 * 3072 * _ROWS))
    batch = _BatchUnpickler(pickled, encoding="bytes").load()
    batch = {str(key, "ascii") if isinstance(key, bytes) else key: batch[key] for key in batch}
    images, labels, names = (np.asarray(batch.get(k)) for k in ("data", "labels", "filenames"))
    pixels = images.shape == (_ROWS, 3072) and images.dtype == np.uint8
    _need(pixels, f"data of {name} is not {_ROWS} x 3072 bytes")
    classes = labels.shape == (_ROWS,) and {*labels.tolist()} <= {*range(10)}
    _need(classes, f"labels of {name} are not {_ROWS} numbers from 0 to 9")
    texts = names.shape == (_ROWS,) and names.dtype.kind in "SU"
    _need(texts, f"filenames of {name} are not {_ROWS} names")
    return images, labels.astype(np.int64), names.astype("S")


# The file of GIST features ------------------------------------------------------------------------


def _mat(home: Path, progress: bool, url: str, archive: StrPath | None) -> Dataset:
    target = home / MAT_FILE
    if url and (archive or not target.exists()):
        with _lock(home):
            _get(target, url, archive, _read_mat, progress)
    return _read_mat(target)


def _read_mat(path: Path) -> Dataset:
    todo = 'run "python -m grh_helpers data --dataset cifar10-mat" to get it'
    _need(path.exists(), f"There is no {path}; {todo}, or fetch it from {MAT_URL} .")
    with _worded(f"The file {path} is damaged or another", "get it again, as MATLAB 7 or older"):
        content = loadmat(path, variable_names=["X", "X_class"])
        features = np.array(content["X"], np.float64, order="C")
        _need(features.shape == (6 * _ROWS, 512), f"X is not {6 * _ROWS} x 512 numbers")
        # The ten classes are numbered from 0 or from 1.
        numbers, labels = np.unique(content["X_class"].ravel(), return_inverse=True)
        ten = len(numbers) == 10 and len(labels) == 6 * _ROWS
        _need(ten, f"X_class is not {6 * _ROWS} numbers of ten classes")
        return Dataset("cifar10-mat", features, labels, CIFAR_CLASSES[:])


# Downloads ----------------------------------------------------------------------------------------


def _get(target, url, archive, check, progress) -> None:
    """Copy or download a file, and give it its name if the check finds nothing."""
    part = _part(target)
    if archive:
        shutil.copyfile(archive, part)
    else:
        _download(url, part, progress)
    try:
        check(part)
    except DataError:
        part.unlink()
        raise
    part.replace(target)


def _verify_archive(path: Path) -> None:
    found = pooch.file_hash(path, "md5")
    wrong = f"The MD5 of what was downloaded should be {CIFAR_MD5} but is {found}"
    _need(found == CIFAR_MD5, f"{wrong}; {_AGAIN}.")


def _download(url: str, part: Path, progress: bool) -> None:
    """Append to `part` what it lacks."""
    start = part.stat().st_size if part.exists() else 0
    # Compressed transfer would be undone on arrival, and ranges would count something else.
    headers = {"Accept-Encoding": "identity", "Range": f"bytes={start}-"}
    errors = ValueError, requests.RequestException, urllib3.exceptions.HTTPError
    with (
        _worded(f"{url} could not be downloaded", _AGAIN, errors),
        requests.get(url, headers=headers, stream=True, timeout=_PATIENCE) as answer,
    ):
        if answer.status_code == 416 and start:  # the part is complete already, or too long
            part.unlink()
            return _download(url, part, progress)
        answer.raise_for_status()
        if answer.status_code != 206:  # the server cannot resume and sends all
            start = 0
        size = (answer.raw.length_remaining or 0) + start
        hidden = None if progress else True  # None: on terminals only
        bar = tqdm.wrapattr(answer.raw, "read", size, initial=start, disable=hidden)
        with open(part, "ab" if start else "wb") as file, bar as body:
            shutil.copyfileobj(body, file, 1 << 14)
