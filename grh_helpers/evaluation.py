"""Measures of retrieval: precision by Hamming radius, tie-aware rankings, intervals.

Two rules hold throughout, and the frame of a sweep carries its protocol in ``frame.attrs``.
Empty rule: a query without any candidate scores 0; the same mean over the other queries, and
their share, stand beside it. Tie rule: items at the same Hamming distance are in random order,
and a measure is its expected value over all those orders (McSherry and Najork 2008), never its
value for the order in which the database happens to be stored.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from sklearn.utils import check_consistent_length, check_random_state, check_X_y

from grh_helpers.codes import check_whole, hamming, pack_words
from grh_helpers.datasets import Split
from grh_helpers.index import HammingIndex

__all__ = ["average_precision", "bootstrap_ci", "budget_sweep", "exact_precision", "exact_sweep"]
__all__ += ["mean_average_precision", "mean_over_queries", "precision_at_k"]
__all__ += ["precision_recall_curve", "radius_sweep"]

_RULES = {"ties": "equal cosines: the lower row number first", "empty": "no candidates: 0"}


def radius_sweep(
    query_codes,
    database_codes,
    split: Split | tuple,
    radii: Iterable[int] = range(11),
    k: int = 10,
    *,
    per_query: bool = False,
) -> pd.DataFrame:
    """Measure multi-probe search with exact re-ranking at several Hamming radii.

    At each radius, the items within that distance of a query are its candidates; the `k` with
    the highest cosine are retrieved, and precision is the number of them with the query's
    label, over `k` even when there are fewer candidates. Built by hand in chapter 3.

    Parameters
    ----------
    query_codes : array-like of bool, shape (n_queries, n_bits)
        Codes of the queries.
    database_codes : array-like of bool, shape (n_database, n_bits)
        Codes of the database.
    split : Split or tuple of four arrays
        Vectors and labels of queries and database: a `Split`, or plain arrays as
        ``(queries, query_labels, database, database_labels)``.
    radii : iterable of int, default=range(11)
        Hamming radii, in bits.
    k : int, default=10
        Number of items retrieved.
    per_query : bool, default=False
        One row a radius and query instead of one a radius, for intervals and percentiles.

    Returns
    -------
    DataFrame
        Columns ``radius``, ``precision`` (empty queries count 0), ``precision_nonempty`` (mean
        over queries with a candidate, NaN if there is none), ``nonempty`` (their share),
        ``candidates`` (mean number per query) and ``seconds`` (per query, for search and
        re-ranking at this radius). With `per_query`: ``radius``, ``query``, ``precision``,
        ``candidates`` and ``seconds``, which is the same for all queries of a radius.

    Raises
    ------
    ValueError
        If codes, vectors and labels do not agree in number, or `radii` or `k` is invalid.

    Examples
    --------
    >>> vectors, labels = np.eye(3), [0, 0, 1]
    >>> codes = vectors == 1
    >>> frame = radius_sweep(codes, codes, (vectors, labels, vectors, labels), [0, 2], k=1)
    >>> frame[["radius", "precision", "candidates"]]
       radius  precision  candidates
    0       0        1.0         1.0
    1       2        1.0         3.0
    """
    rows, _ = _sweep(split, query_codes, database_codes, k, radii=[*radii])
    return rows if per_query else mean_over_queries(rows, ["radius"])


def mean_over_queries(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Average rows of queries, in both readings of a query without candidates.

    Built by hand in chapter 5.

    Parameters
    ----------
    rows : DataFrame
        As `radius_sweep` returns them with `per_query`; further columns may tell groups apart.
    by : list of str
        Columns that tell the groups apart.

    Returns
    -------
    DataFrame
        One row per group, the columns `by`, then those of `radius_sweep`.
    """
    found = rows["candidates"] > 0
    rows = rows.assign(precision_nonempty=rows["precision"].where(found), nonempty=found)
    columns = ["precision", "precision_nonempty", "nonempty", "candidates", "seconds"]
    # A mean of the groups one by one sums as NumPy does, so that by hand and here round alike.
    means = rows.groupby(by, sort=False)[columns].agg(lambda values: values.mean()).reset_index()
    means.attrs = rows.attrs
    return means


def budget_sweep(
    query_codes,
    database_codes,
    split: Split | tuple,
    budgets: Iterable[int] = (100, 300, 1000),
    k: int = 10,
    *,
    scores: np.ndarray | None = None,
    true: np.ndarray | None = None,
) -> pd.DataFrame:
    """Measure search with the same number of candidates for every query, and exact re-ranking.

    Built by hand in chapter 3.

    A radius gives one query thousands of candidates and the next one none. Here each query gets
    the `budget` items that are nearest by Hamming distance, ties in the order of the database,
    which a `Split` has drawn at random.

    Parameters
    ----------
    query_codes, database_codes, k
        As for `radius_sweep`.
    split : Split or tuple of four arrays
        As for `radius_sweep`; both labels may be None.
    budgets : iterable of int, default=(100, 300, 1000)
        Candidates per query.
    scores : ndarray of float, shape (n_queries, n_bits), optional
        The queries' ``decision_function``: candidates in query-directed order instead, where a
        surer bit counts more (Lv et al., VLDB 2007).
    true : ndarray of int, shape (n_queries, k), optional
        Ids of the true neighbours, if they are known, as `exact_sweep` returns them; otherwise
        they are searched for.

    Returns
    -------
    DataFrame
        One row per budget and query with the columns ``budget``, ``query``, ``precision`` (share
        of the k retrieved that have the query's label; left out without labels), ``recall``
        (share of the k true neighbours, those of exact cosine search, that are retrieved) and
        ``seconds`` (per query, the same for all queries of a budget).

    Raises
    ------
    ValueError
        As `radius_sweep` and `HammingIndex.search`, or if the database has fewer than k items.

    Examples
    --------
    >>> vectors = np.array([[3.0, 1.0], [1.0, 3.0], [-1.0, 0.0]])
    >>> codes = vectors >= 0
    >>> frame = budget_sweep(codes, codes, (vectors, None, vectors, None), [1, 2], k=1)
    >>> frame.drop(columns="seconds")
       budget  query  recall
    0       1      0     1.0
    1       1      1     0.0
    2       1      2     1.0
    3       2      0     1.0
    4       2      1     1.0
    5       2      2     1.0
    """
    true = exact_sweep(split, k)[1] if true is None else true
    rows, found = _sweep(split, query_codes, database_codes, k, False, scores, budgets=[*budgets])
    check_consistent_length(true, found[0])
    recall = (found[..., None] == true[:, None]).any(axis=2).mean(axis=2)
    return rows.drop(columns="candidates").assign(recall=recall.ravel())


def exact_sweep(split: Split | tuple, k: int = 10) -> tuple[pd.DataFrame, np.ndarray]:
    """Measure exact cosine search over the whole database, what all methods are compared with.

    Built by hand in chapter 1.

    Parameters
    ----------
    split : Split or tuple of four arrays
        As for `budget_sweep`.
    k : int, default=10
        Number of items retrieved.

    Returns
    -------
    rows : DataFrame
        As of `budget_sweep`, with the size of the database as the budget.
    true : ndarray of int64, shape (n_queries, k)
        Ids of the true neighbours, best first.

    Raises
    ------
    ValueError
        As `budget_sweep`.
    """
    queries, database, *_ = _parts(split, False)
    k = check_whole("k", k, 1, len(database))
    # One bucket that holds everything, as in `exact_search`; building it is not timed.
    codes = (np.zeros((len(vectors), 1), bool) for vectors in (queries, database))
    rows, found = _sweep(split, *codes, k, False, radii=[0])
    rows = rows.drop(columns=["radius", "candidates"]).assign(budget=len(database), recall=1.0)
    return rows, found[0]


def exact_precision(split: Split | tuple, k: int = 10) -> np.ndarray:
    """Precision@k of exact cosine search over the whole database. By hand in chapter 1.

    Parameters
    ----------
    split : Split or tuple of four arrays
        As for `radius_sweep`.
    k : int, default=10
        Number of items retrieved.

    Returns
    -------
    ndarray of float64, shape (n_queries,)
        Values in [0, 1].

    Raises
    ------
    ValueError
        If vectors and labels do not agree in number, or `k` is invalid.
    """
    _parts(split)  # says so where labels are missing
    return exact_sweep(split, k)[0]["precision"].to_numpy()


def _parts(split: Split | tuple, labelled: bool = True) -> tuple:
    """Return queries, database and the labels of both, or say what is wrong with them."""
    if not isinstance(split, tuple):
        split = split.queries, split.query_labels, split.database, split.database_labels
    queries, query_labels, database, database_labels = split
    if query_labels is None and not labelled:
        return queries, database, None, None
    queries, query_labels = check_X_y(queries, query_labels, dtype=None)
    database, database_labels = check_X_y(database, database_labels, dtype=None)
    if (query_labels.dtype.kind in "US") != (database_labels.dtype.kind in "US"):
        kinds = f"{query_labels.dtype} and {database_labels.dtype}"
        raise ValueError(f"Labels of queries and database must be of one kind, got {kinds}.")
    return queries, database, query_labels, database_labels


def _sweep(split, query_codes, database_codes, k: int, labelled=True, scores=None, **limits):
    """Search within radii or budgets; return a row per limit and query, and the ids found."""
    queries, database, *labels = _parts(split, labelled)
    index, [(name, values)] = HammingIndex(database_codes, database), limits.items()
    found, _, candidates, seconds = index.sweep(query_codes, queries, k, scores=scores, **limits)
    n = len(queries)
    rows = {"query": np.tile(np.arange(n), len(values)), "seconds": np.repeat(seconds / n, n)}
    rows = pd.DataFrame({name: np.repeat(values, n), **rows, "candidates": candidates.ravel()})
    rows.attrs["protocol"] = dict(queries=n, database=len(index), bits=index.n_bits, k=k, **_RULES)
    if labels[0] is not None:
        hits = (found >= 0) & (labels[1][found] == labels[0][:, None])  # -1: nothing found
        rows.insert(2, "precision", hits.mean(axis=2).ravel())
    return rows.rename(columns={"radii": "radius", "budgets": "budget"}), found


def _by_distance(query_codes, database_codes, query_labels, database_labels):
    """Count, for every query and Hamming distance, the items and the relevant items.

    A ranking by Hamming distance is known, up to ties, by these two counts alone, so nothing is
    sorted. Returns two int64 arrays of shape (n_queries, n_bits + 1).
    """
    case = query_codes, query_labels, database_codes, database_labels
    query_codes, database_codes, query_labels, database_labels = _parts(case)
    n_bits = database_codes.shape[1]
    # With the database sorted by label, the relevant items of a query are one slice.
    order = np.argsort(database_labels, kind="stable")
    first = np.searchsorted(database_labels[order], query_labels, side="left")
    last = np.searchsorted(database_labels[order], query_labels, side="right")
    items, counts = pack_words(database_codes)[order], []
    for query, start, end in zip(pack_words(query_codes, n_bits), first, last, strict=True):
        distances = hamming(items, query)
        parts = distances, distances[start:end]
        counts.append([np.bincount(part, minlength=n_bits + 1) for part in parts])
    return np.swapaxes(counts, 0, 1)


def average_precision(query_codes, database_codes, query_labels, database_labels) -> np.ndarray:
    """Average precision of each query's Hamming ranking, in expectation over ties.

    Built by hand in chapter 5.

    Parameters
    ----------
    query_codes : array-like of bool, shape (n_queries, n_bits)
    database_codes : array-like of bool, shape (n_database, n_bits)
    query_labels : array-like of shape (n_queries,)
    database_labels : array-like of shape (n_database,)
        An item is relevant to a query if their labels are equal.

    Returns
    -------
    ndarray of float64, shape (n_queries,)
        Values in [0, 1]; NaN for a query that has no relevant item.

    Raises
    ------
    ValueError
        If lengths, widths or kinds of labels disagree, or there is no query or no item.

    References
    ----------
    F. McSherry and M. Najork, "Computing information retrieval performance measures efficiently
    in the presence of tied scores", ECIR 2008, doi:10.1007/978-3-540-78646-7_38.

    Examples
    --------
    Both items tie; the relevant one comes first or second, so AP is (1 + 1/2) / 2.

    >>> average_precision([[True]], [[True], [True]], [1], [1, 0]).tolist()
    [0.75]
    """
    n, r = _by_distance(query_codes, database_codes, query_labels, database_labels)
    before, relevant_before = np.cumsum(n, axis=1) - n, np.cumsum(r, axis=1) - r
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, n[:1].sum() + 1))])
    # A group of n tied items, r of them relevant, follows N items with R relevant. Its i-th place
    # holds a relevant item with probability r/n, and then R + 1 + (i - 1)(r - 1)/(n - 1) of the
    # N + i items so far are relevant, in expectation. The sums of 1/(N + i) and (i - 1)/(N + i)
    # are differences of harmonic numbers.
    inverse_ranks = harmonic[before + n] - harmonic[before]
    others = (r - 1) / np.maximum(n - 1, 1)
    precisions = (relevant_before + 1) * inverse_ranks + others * (n - (before + 1) * inverse_ranks)
    total = r.sum(axis=1)
    sums = (r / np.maximum(n, 1) * precisions).sum(axis=1)
    return np.divide(sums, total, out=np.full(len(n), np.nan), where=total > 0)


def mean_average_precision(query_codes, database_codes, query_labels, database_labels) -> float:
    """Mean of `average_precision` over the queries that have a relevant item.

    Built by hand in chapter 5.

    Parameters
    ----------
    query_codes, database_codes, query_labels, database_labels
        As for `average_precision`.

    Returns
    -------
    float
        A value in [0, 1].

    Raises
    ------
    ValueError
        As `average_precision`, and if no query has a relevant item.
    """
    values = average_precision(query_codes, database_codes, query_labels, database_labels)
    if np.isnan(values).all():
        raise ValueError("No query has a relevant item: no label of theirs is in the database.")
    return float(np.nanmean(values))


def precision_at_k(
    query_codes, database_codes, query_labels, database_labels, k: int = 10
) -> np.ndarray:
    """Precision of the first `k` items of each Hamming ranking, in expectation over ties.

    Built by hand in exercise 1 of chapter 5.

    Parameters
    ----------
    query_codes, database_codes, query_labels, database_labels
        As for `average_precision`.
    k : int, default=10
        Length of the list; fewer than `k` items in the database still divide by `k`.

    Returns
    -------
    ndarray of float64, shape (n_queries,)
        Values in [0, 1].

    Raises
    ------
    ValueError
        As `average_precision`, and if `k` is not a whole number from 1 to 1,000 or to the number
        of items, whichever is more.

    Examples
    --------
    One of two tied items is relevant, so the first place is right half of the time.

    >>> precision_at_k([[True]], [[True], [True]], [1], [1, 0], k=1).tolist()
    [0.5]
    """
    n, r = _by_distance(query_codes, database_codes, query_labels, database_labels)
    k = check_whole("k", k, 1, max(1000, n[0].sum()))
    taken = np.clip(k - (np.cumsum(n, axis=1) - n), 0, n)  # how many of each group fit in
    return (taken * (r / np.maximum(n, 1))).sum(axis=1) / k


def precision_recall_curve(
    query_codes, database_codes, query_labels, database_labels
) -> pd.DataFrame:
    """Precision and recall of the Hamming ball at every radius, averaged over queries.

    Drawn in chapter 5.

    Parameters
    ----------
    query_codes, database_codes, query_labels, database_labels
        As for `average_precision`.

    Returns
    -------
    DataFrame
        Columns ``radius`` (0 to n_bits), ``recall``, ``precision`` (an empty ball counts 0),
        ``precision_nonempty`` (mean over the non-empty balls, NaN if there is none) and
        ``nonempty`` (their share).

    Raises
    ------
    ValueError
        As `average_precision`, and if a query has no relevant item.
    """
    n, r = _by_distance(query_codes, database_codes, query_labels, database_labels)
    n, r = np.cumsum(n, axis=1), np.cumsum(r, axis=1)
    if not r[:, -1].all():
        alone = f"Query {r[:, -1].argmin()} has no relevant item in the database"
        raise ValueError(f"{alone}, so its recall is undefined; leave it out.")
    precision, found = pd.DataFrame(r / np.maximum(n, 1)), pd.DataFrame(n > 0)
    columns = {"radius": precision.columns, "recall": (r / r[:, -1:]).mean(axis=0)}
    columns |= {"precision": precision.mean(), "precision_nonempty": precision.where(found).mean()}
    return pd.DataFrame({**columns, "nonempty": found.mean()})


def bootstrap_ci(
    values, level: float = 0.95, n_resamples: int = 2000, random_state=0
) -> tuple[float, float, float]:
    """Mean of a sample with a percentile bootstrap interval.

    Explained in chapter 5.

    Parameters
    ----------
    values : array-like of float, shape (n,) or (n, m)
        One value per query, say; or one per query and draw: then both are resampled, so that the
        interval covers other queries and other draws (the "pigeonhole" bootstrap).
    level : float, default=0.95
        Confidence level, between 0 and 1.
    n_resamples : int, default=2000
        Number of resamples.
    random_state : int or RandomState, default=0
        Seed of the resamples.

    Returns
    -------
    mean, low, high : float
        The mean and the ends of its interval.

    Raises
    ------
    ValueError
        If there are fewer than two values (queries, draws), or some are not finite, or `level` is
        not in [0, 1].

    References
    ----------
    B. Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 1979,
    doi:10.1214/aos/1176344552. A. B. Owen, "The pigeonhole bootstrap", Annals of Applied
    Statistics 2007, doi:10.1214/07-AOAS122.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim not in (1, 2) or min(values.shape) < 2 or not np.isfinite(values).all():
        need = "values must be a list, or a table, of at least two finite numbers each way"
        raise ValueError(f"{need}, got shape {values.shape}.")
    check_whole("n_resamples", n_resamples, 2)
    rng, means = check_random_state(random_state), []
    batch = max(1, 10**7 // len(values))  # memory for so many numbers, whatever there is
    for start in range(0, n_resamples, batch):
        size = min(batch, n_resamples - start)
        if values.ndim == 1:
            drawn = np.random.default_rng(rng).integers(len(values), size=(size, len(values)))
            means.append(values[drawn].mean(axis=1))
        else:  # a resample weighs rows and columns by how often each was drawn
            rows, columns = (rng.multinomial(n, [1 / n] * n, size) for n in values.shape)
            means.append((rows @ values * columns).sum(axis=1) / values.size)
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(values.mean()), float(low), float(high)
