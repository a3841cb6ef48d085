"""Where the data come from: embedded digits, the CIFAR-10 archive, a file of GIST features.

Raw data and a cache of computed features live in one folder, the data home: the argument
``data_home``, else the environment variable ``GRH_DATA_HOME``, else a cache folder of the user.
Everything there is written under a temporary name and renamed when it is complete, so several
processes may share a data home, and an interrupted one leaves nothing that looks finished.
"""

import errno
import hashlib
import json
import os
import pickle
import re
import shutil
import tarfile
import time
import warnings
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import numpy as np
import pooch
import requests
import urllib3
from scipy.io import loadmat
from scipy.ndimage import zoom
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tqdm import tqdm

from grh_helpers.gist import GIST_PARAMETERS, gist

__all__ = [
    "DATASETS",
    "DataError",
    "Dataset",
    "Split",
    "available",
    "data_home",
    "load_dataset",
    "prepare",
]

StrPath = str | os.PathLike

DATASETS = {
    "auto": "cifar10 if it is on this machine, else digits",
    "digits": "1,797 handwritten digits, embedded in scikit-learn",
    "cifar10": "60,000 colour photographs, GIST computed here",
    "cifar10-mat": "GIST features of CIFAR-10 that the original tutorial used",
}

_AUTO = {
    "cifar10": "auto: cifar10, found on this machine (for the small one: GRH_DATASET=digits)",
    "digits": "auto: digits, embedded in scikit-learn (for CIFAR-10: python -m grh_helpers data)",
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

_ROWS = 10_000  # images a batch
_CACHE_FORMAT = 1
_HASHED = ("features", "labels", "nouns")  # arrays whose checksum is verified at each load
_DEAD_DOWNLOAD = 600  # seconds without growth; a live one gives up after one silent minute
_DEAD_CACHE = 86_400  # seconds; building a cache takes minutes


class DataError(ValueError):
    """Data are missing, damaged or unusable; the message says what to do."""


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """Queries, training set and database, normalised and centred.

    Attributes
    ----------
    queries, train, database : arrays of shape (rows, d), float64
        Rows of unit length, minus the mean of all rows that are not queries.
    query_labels, train_labels, database_labels : arrays of shape (rows,), int64
    query_index, train_index, database_index : arrays of shape (rows,), int64
        Row numbers in the data set; no row is in two parts.
    """

    queries: np.ndarray
    query_labels: np.ndarray
    train: np.ndarray
    train_labels: np.ndarray
    database: np.ndarray
    database_labels: np.ndarray
    query_index: np.ndarray
    train_index: np.ndarray
    database_index: np.ndarray


@dataclass(frozen=True, eq=False)
class Dataset:
    """Features of labelled images in a canonical order.

    Attributes
    ----------
    name : str
    features : array of shape (n, d), float64
        GIST, 512 numbers an image, neither normalised nor centred.
    labels : array of shape (n,), int64
        Index into `class_names`.
    class_names : list of str
    images : array of shape (n, 32, 32) or (n, 32, 32, 3), uint8, or None
        For CIFAR-10 a read-only memory map of the cache.
    nouns : array of shape (n,), str, or None
        The word each photograph was searched by: "fire engine".

    Raises
    ------
    DataError
        If features and labels do not match or features are not finite.
    """

    name: str
    features: np.ndarray = field(repr=False)
    labels: np.ndarray = field(repr=False)
    class_names: list[str] = field(repr=False)
    images: np.ndarray | None = field(default=None, repr=False)
    nouns: np.ndarray | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Check that features and labels fit."""
        if self.features.ndim != 2 or self.labels.shape != self.features.shape[:1]:
            raise DataError(
                f"{self.name}: features must have the shape (n, d) and labels (n,), "
                f"got {self.features.shape} and {self.labels.shape}"
            )
        wrong = np.flatnonzero(~np.isfinite(self.features).all(axis=1))
        if len(wrong):
            raise DataError(
                f"{self.name}: {len(wrong)} rows of the features hold NaN or infinity, the first "
                f"is row {wrong[0]}; remove or repair them"
            )

    def __len__(self) -> int:
        """Return the number of images."""
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
        n_queries, n_train : int, optional
            By default 0.2 % of the rows and 2 % of the others, rounded up: 120 and 1,198 of
            CIFAR-10. For digits 120 and 300.
        stratify : bool
            Give each class its share of queries and training set.
        random_state : int or None
            Seed of the two draws by scikit-learn's ``train_test_split``.

        Returns
        -------
        Split

        Raises
        ------
        DataError
            If a part would be empty, or a row is zero and cannot be normalised.

        Examples
        --------
        >>> split = load_dataset("digits").split()
        >>> len(split.queries), len(split.train), len(split.database)
        (120, 300, 1377)
        """
        n = len(self)
        digits = self.name == "digits"
        if n_queries is None:
            n_queries = 120 if digits else -(-n // 500)
        if n_train is None:
            n_train = 300 if digits else max(1, -(-(n - n_queries) // 50))
        for name, size in (("n_queries", n_queries), ("n_train", n_train)):
            if not isinstance(size, Integral) or size < 1:
                raise DataError(f"{name} must be a whole number of at least 1, got {size!r}")
        if n_queries + n_train >= n:
            raise DataError(
                f"{n_queries} queries and {n_train} training rows leave no database of the {n} "
                "rows; ask for fewer"
            )
        lengths = np.linalg.norm(self.features, axis=1, keepdims=True)
        if not lengths.all():
            raise DataError(
                f"{self.name}: row {np.argmin(lengths)} of the features is zero and cannot be "
                "normalised; remove it"
            )

        y = self.labels
        draw = partial(train_test_split, random_state=random_state)
        others, query = draw(np.arange(n), test_size=n_queries, stratify=y if stratify else None)
        database, train = draw(others, test_size=n_train, stratify=y[others] if stratify else None)
        unit = self.features / lengths
        unit -= unit[others].mean(axis=0)
        parts = (query, train, database)
        return Split(*(array[rows] for rows in parts for array in (unit, y)), *parts)


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
    """
    path = path or os.environ.get("GRH_DATA_HOME") or pooch.os_cache("grh_helpers")
    return Path(path).expanduser()


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

    Examples
    --------
    >>> digits = load_dataset("digits")
    >>> digits.features.shape, digits.images.shape, digits.class_names[3]
    ((1797, 512), (1797, 32, 32), 'three')
    """
    name = name or os.environ.get("GRH_DATASET") or "auto"
    _check_name(name, DATASETS)
    home = _home(data_home)
    with _plain_errors(home):
        if name == "auto":
            name = available(home)["auto"].name
            print(_AUTO[name])
        if name == "digits":
            return _read_digits()
        if name == "cifar10":
            return _cifar10(home, lambda: _raw_cifar10(home), progress)
        if not (home / MAT_FILE).exists():
            raise DataError(
                f"there is no {MAT_FILE} in {home}; get it with "
                f'"python -m grh_helpers data --dataset cifar10-mat" or from {MAT_URL}'
            )
        return _read_mat(home / MAT_FILE)


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
        Where the data are: a cache folder, a file, or for the embedded digits the data home.

    Raises
    ------
    DataError
        If there is no network, the data are damaged or the data home cannot be written. An
        interrupted download is kept and resumed by the next call.
    """
    _check_name(name, {*DATASETS} - {"auto"})
    home = _home(data_home)
    if archive is not None and not Path(archive).exists():
        raise DataError(f"there is no file {archive}; check the path")
    with _plain_errors(home):
        if name == "digits":
            return home
        home.mkdir(parents=True, exist_ok=True)
        if name == "cifar10-mat":
            return _prepare_mat(home, url or MAT_URL, archive, progress)

        def source() -> Path:
            found = Path(archive) if archive is not None else _raw_cifar10(home)
            if found is None:
                found = home / CIFAR_ARCHIVE
                _download(url or CIFAR_URL, found, _check_md5, progress)
            return found

        _cifar10(home, source, progress)
        return _cache_path(home)


def available(data_home: StrPath | None = None) -> dict[str, Availability]:
    """Say what is on this machine, without reading it.

    Parameters
    ----------
    data_home : path, optional
        See the function `data_home`.

    Returns
    -------
    dict of str to Availability
        One entry a data set; that of "auto" is the entry of the data set it means now.
    """
    home = _home(data_home)
    with _plain_errors(home):
        cache, raw, mat = _cache_path(home), _raw_cifar10(home), home / MAT_FILE
        found = {"digits": Availability("digits", "ready", None, 0)}
        state = "ready" if cache.is_dir() else "raw only" if raw else "missing"
        path = cache if cache.is_dir() else raw
        found["cifar10"] = Availability("cifar10", state, path, _size(path))
        path = mat if mat.exists() else None
        ready = "ready" if path else "missing"
        found["cifar10-mat"] = Availability("cifar10-mat", ready, path, _size(path))
    found["auto"] = found["digits" if state == "missing" else "cifar10"]
    return found


def _check_name(name: str, known: Collection[str]) -> None:
    if name not in known:
        raise DataError(f"unknown data set {name!r}; choose one of {', '.join(sorted(known))}")


@contextmanager
def _plain_errors(home: Path) -> Iterator[None]:
    """Turn the operating system's errors into a sentence that names the folder."""
    try:
        yield
    except OSError as error:
        # NumPy reports a write that failed half way without an error number.
        full = error.errno in (None, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        todo = "free some space" if full else "make it writable"
        raise DataError(
            f"cannot use the data home {home} ({error}); {todo} or set GRH_DATA_HOME"
        ) from error


def _size(path: Path | None) -> int:
    if path is None:
        return 0
    return sum(p.stat().st_size for p in (path.iterdir() if path.is_dir() else [path]))


def _read_digits() -> Dataset:
    digits = load_digits()
    # Bilinear enlargement: exact cosine search reaches a precision@10 of 0.960, against 0.943 with
    # repeated pixels and 0.933 with cubic splines.
    images = zoom(digits.images * (255 / 16), (1, 4, 4), order=1, mode="nearest", grid_mode=True)
    images = np.rint(images).astype(np.uint8)
    features = gist(images).astype(np.float32).astype(np.float64)
    return Dataset("digits", features, digits.target.astype(np.int64), DIGIT_CLASSES[:], images)


# CIFAR-10: the cache ------------------------------------------------------------------------------


def _cache_path(home: Path) -> Path:
    """Folder of the cache; another version of GIST has another name and is never read."""
    version = json.dumps([_CACHE_FORMAT, GIST_PARAMETERS], sort_keys=True)
    return home / f"cifar10-{hashlib.sha256(version.encode()).hexdigest()[:8]}"


def _raw_cifar10(home: Path) -> Path | None:
    return next((p for p in (home / CIFAR_FOLDER, home / CIFAR_ARCHIVE) if p.exists()), None)


def _cifar10(home: Path, source: Callable[[], Path | None], progress: bool) -> Dataset:
    """CIFAR-10 from the cache, which is built from `source()` where it is missing or damaged."""
    cache = _cache_path(home)
    damage = f"CIFAR-10 is not in {home}"
    if cache.is_dir():
        try:
            return _read_cache(cache)
        except DataError as error:
            damage = str(error)
    raw = source()
    if raw is None:
        raise DataError(
            f'{damage}; get it with "python -m grh_helpers data", or put a folder {CIFAR_FOLDER} '
            f"or the file {CIFAR_ARCHIVE} there"
        )
    if cache.is_dir():
        warnings.warn(f"{damage}; it is built again from {raw}", stacklevel=4)
        waste = _beside(cache, "tmp")
        with suppress(FileNotFoundError):  # another process may have done the same
            cache.rename(waste)
        shutil.rmtree(waste, ignore_errors=True)
    _build_cache(raw, cache, progress)
    return _read_cache(cache)


def _build_cache(raw: Path, cache: Path, progress: bool) -> None:
    for dead in cache.parent.glob("cifar10-*.tmp"):
        with suppress(FileNotFoundError):
            if time.time() - dead.stat().st_mtime > _DEAD_CACHE:
                shutil.rmtree(dead, ignore_errors=True)
    work = _beside(cache, "tmp")
    work.mkdir()
    try:
        arrays = _read_cifar10(raw)
        features = gist(arrays["images"], n_jobs=-1, progress=progress)
        arrays["features"] = features.astype(np.float32)
        for name, array in arrays.items():
            np.save(work / f"{name}.npy", array)
        sums = {name: _sha256(work / f"{name}.npy") for name in arrays}
        (work / "checksums.json").write_text(json.dumps(sums, indent=2) + "\n")
        try:
            work.rename(cache)
        except OSError:
            if not cache.is_dir():  # else another process was faster, and its cache is as good
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _read_cache(cache: Path) -> Dataset:
    try:
        sums = json.loads((cache / "checksums.json").read_text())
        for name in _HASHED:
            if _sha256(cache / f"{name}.npy") != sums[name]:
                raise ValueError(f"wrong checksum of {name}.npy")
        features, labels, nouns = (np.load(cache / f"{name}.npy") for name in _HASHED)
        # Opened, not read: numpy only checks that the file is long enough for its shape.
        images = np.load(cache / "images.npy", mmap_mode="r")
        if images.shape != (len(features), 32, 32, 3) or images.dtype != np.uint8:
            raise ValueError("images.npy holds something else")
    except (FileNotFoundError, EOFError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"the cache {cache} is damaged ({error})") from error
    features = features.astype(np.float64)
    return Dataset("cifar10", features, labels, CIFAR_CLASSES[:], images, nouns)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _beside(path: Path, suffix: str) -> Path:
    """Make up a name that no other process uses (process numbers repeat in containers)."""
    return path.with_name(f"{path.name}.{uuid4().hex[:12]}.{suffix}")


# CIFAR-10: the raw data ---------------------------------------------------------------------------


def _read_cifar10(source: Path) -> dict[str, np.ndarray]:
    """Read images, labels and nouns, sorted by file name: the order in the batches is no matter."""
    images, labels, names = [], [], []
    for name, file in _open_batches(source):
        batch = _read_batch(file, f"{name} in {source}")
        images.append(batch["data"])
        labels.append(batch["labels"])
        names += batch["filenames"]
    files = np.array(names)
    if len(np.unique(files)) != len(files):
        raise DataError(
            f"file names occur twice in {source}; its batches are not those of CIFAR-10"
        )
    order = np.argsort(files)
    pixels = np.concatenate(images).reshape(-1, 3, 32, 32)[order].transpose(0, 2, 3, 1)
    nouns = [_noun(name) for name in files[order].tolist()]
    return {
        "images": np.ascontiguousarray(pixels),
        "labels": np.concatenate(labels)[order],
        "nouns": np.array(nouns),
    }


def _noun(file_name: bytes) -> str:
    """`b"fire_engine_s_000042.png"` -> "fire engine"."""
    return re.sub(r"_[a-z]_\d+\.png$", "", file_name.decode("latin-1")).replace("_", " ")


def _open_batches(source: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Each of the six batch files, from a folder or straight out of an archive."""
    missing = set(CIFAR_BATCHES)
    if source.is_dir():
        for name in sorted(missing & {p.name for p in source.iterdir()}):
            missing.remove(name)
            with open(source / name, "rb") as file:
                yield name, file
    else:
        try:
            # Nothing is unpacked to disk; a name that climbs out is refused all the same, as the
            # sign of an archive made to do harm.
            with tarfile.open(source) as archive:
                for member in archive:
                    path = Path(member.name)
                    harmless = member.isreg() or member.isdir()
                    if path.is_absolute() or ".." in path.parts or not harmless:
                        raise DataError(
                            f"{source} holds {member.name!r}, which has no place in the CIFAR-10 "
                            "archive; delete the file and get it from a source you trust"
                        )
                    if path.name in missing and member.isreg():
                        missing.remove(path.name)
                        yield path.name, archive.extractfile(member)
        except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
            raise DataError(
                f"{source} is damaged or cut short ({error}); delete it and get it again"
            ) from error
    if missing:
        raise DataError(
            f"{source} has no {', '.join(sorted(missing))}; put back what is missing, or delete it "
            'and run "python -m grh_helpers data"'
        )


class _BatchUnpickler(pickle.Unpickler):
    """Unpickler that knows four names and can therefore run no one else's code."""

    _rebuild = np.empty(0).__reduce__()[0]
    _admitted = {
        # NumPy 2 moved the module; archives keep the old name.
        ("numpy.core.multiarray", "_reconstruct"): _rebuild,
        ("numpy._core.multiarray", "_reconstruct"): _rebuild,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        # How Python 3 writes bytes for Python 2, always with "latin1".
        ("_codecs", "encode"): lambda text, _: text.encode("latin-1"),
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._admitted[module, name]
        except KeyError:
            raise DataError(f"it asks for {module}.{name}, which no batch needs") from None


def _read_batch(file: IO[bytes], where: str) -> dict[str, Any]:
    """Unpickle one batch and check that it is what it should be."""
    try:
        batch = _BatchUnpickler(file, encoding="bytes").load()
        batch = {key.decode() if isinstance(key, bytes) else key: batch[key] for key in batch}
        if lacking := {"data", "labels", "filenames"} - set(batch):
            raise ValueError(f"it has no {' and no '.join(sorted(lacking))}")
        data, labels = batch["data"], np.asarray(batch["labels"])
        names = [n if isinstance(n, bytes) else n.encode() for n in batch["filenames"]]
        if (
            not isinstance(data, np.ndarray)
            or data.shape != (_ROWS, 3072)
            or data.dtype != np.uint8
        ):
            raise ValueError(f"data is not {_ROWS} x 3072 bytes")
        if (
            labels.shape != (_ROWS,)
            or labels.dtype.kind not in "iu"
            or not set(labels) <= set(range(10))
        ):
            raise ValueError(f"labels are not {_ROWS} numbers from 0 to 9")
        if len(names) != _ROWS:
            raise ValueError(f"there are not {_ROWS} file names")
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{where} is cut short or cannot be read ({error}); get it again"
        ) from error
    except Exception as error:  # a damaged pickle can raise anything
        raise DataError(f"{where} is no CIFAR-10 batch: {error}; get it again") from error
    return {"data": data, "labels": labels.astype(np.int64), "filenames": names}


# The file of GIST features ------------------------------------------------------------------------


def _read_mat(path: Path) -> Dataset:
    try:
        content = loadmat(path, variable_names=["X", "X_class"])
        features, labels = content["X"], content["X_class"].ravel()
        if features.shape != (6 * _ROWS, 512) or features.dtype.kind != "f":
            raise ValueError(f"X is not {6 * _ROWS} x 512 floats")
        numbers = set(np.unique(labels).tolist())
        first = 0 if 0 in numbers else 1
        if labels.shape != (6 * _ROWS,) or not numbers <= set(range(first, first + 10)):
            raise ValueError(f"X_class is not {6 * _ROWS} numbers from 0 to 9 or 1 to 10")
    except KeyError as error:
        raise DataError(f"{path} has no variable {error}; it is not {MAT_FILE}") from error
    except NotImplementedError as error:
        raise DataError(f"{path} is a MATLAB 7.3 file; save it as version 7 or older") from error
    except Exception as error:  # scipy raises anything on damaged files
        raise DataError(f"{path} is not {MAT_FILE} or damaged ({error}); get it again") from error
    features = np.ascontiguousarray(features, dtype=np.float64)
    return Dataset("cifar10-mat", features, labels.astype(np.int64) - first, CIFAR_CLASSES[:])


def _prepare_mat(home: Path, url: str, archive: StrPath | None, progress: bool) -> Path:
    target = home / MAT_FILE
    if archive is not None:
        copy = _beside(target, "tmp")
        try:
            shutil.copyfile(archive, copy)
            _read_mat(copy)
            copy.replace(target)
        finally:
            copy.unlink(missing_ok=True)
    elif target.exists():
        _read_mat(target)
    else:
        _download(url, target, _read_mat, progress)
    return target


# Downloads ----------------------------------------------------------------------------------------


def _download(url: str, target: Path, verify: Callable[[Path], Any], progress: bool) -> None:
    """Fetch `url` to `target`, going on from where an earlier run was interrupted."""
    mine = _beside(target, "downloading")
    _take_over(target, mine)
    try:
        _fetch(url, mine, progress)
        verify(mine)
        mine.replace(target)
    except DataError:  # complete, but not what it should be
        mine.unlink()
        raise
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise DataError(
            f"could not download {url} ({error}); what has arrived is kept: run the same command "
            "again to go on, or name a mirror (url) or a local copy (archive)"
        ) from error
    finally:
        with suppress(FileNotFoundError):  # it is still there unless all went well
            mine.replace(target.with_name(f"{target.name}.part"))


def _take_over(target: Path, mine: Path) -> None:
    """Give the largest download that a dead run left our name, and remove the others."""
    left = []
    for path in target.parent.glob(f"{target.name}.*"):
        with suppress(FileNotFoundError):
            stat = path.stat()
            dead = time.time() - stat.st_mtime > _DEAD_DOWNLOAD
            if path.suffix == ".part" or path.suffix == ".downloading" and dead:
                left.append((stat.st_size, path))
    for _, path in sorted(left, reverse=True):
        with suppress(OSError):  # another process took it: a rename has one winner
            if mine.exists():
                path.unlink()
            else:
                path.rename(mine)


def _fetch(url: str, path: Path, progress: bool) -> None:
    """Append the rest of what `url` serves to `path`; start again if the server cannot resume."""
    start = path.stat().st_size if path.exists() else 0
    # Compressed transfer would be undone by requests, and ranges would count something else.
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with requests.get(url, headers=headers, stream=True, timeout=(10, 60)) as answer:
        if answer.status_code == 416:  # nothing after `start`: complete, or of another size
            if answer.headers.get("Content-Range") != f"bytes */{start}":
                path.unlink()
                _fetch(url, path, progress)
            return
        answer.raise_for_status()
        if answer.status_code != 206:
            start = 0
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length else None
        bar = tqdm(total=total, initial=start, unit="B", disable=None if progress else True)
        bar.unit_scale = True
        with open(path, "ab" if start else "wb") as file, bar:
            for block in answer.raw.stream(1 << 14, decode_content=False):
                file.write(block)
                bar.update(len(block))
    if total and path.stat().st_size < total:  # older versions of urllib3 do not notice
        raise requests.ConnectionError(f"closed after {path.stat().st_size} of {total} bytes")


def _check_md5(path: Path) -> None:
    found = pooch.file_hash(str(path), alg="md5")
    if found != CIFAR_MD5:
        raise DataError(
            f"the download has the MD5 sum {found} instead of {CIFAR_MD5}: it was cut short or "
            "altered, and has been removed; try again, or name a mirror (url) or a local copy "
            "(archive)"
        )
