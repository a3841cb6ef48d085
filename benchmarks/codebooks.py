"""Is it the graph? Code books under one learner, on seen and on held-out classes; real baselines.

With α = 1, one round and classes, step A of GRH gives each class one code: a code book. Kernel
ridge is linear in its targets, so its scores for any code book are those for one-hot targets, one
column per class, times the code book: one factorisation and one pass over the database serve all
code books and draws. A bit that is the same for all classes gets a random hyperplane, as in `GRH`.

Questions, in the first column of results/codebooks_<dataset>.csv:

"code books": 1,000 labels, three splits x twelve draws at 16 bits and four at 64; 5,000 labels,
    half as many draws. mAP is tie-aware throughout.
"graphs": graphs that say more than classes, and labels of which 10 or 30 % are wrong (drawn from
    the other classes), 1,000 labels, 16 bits, three splits x three draws.
"held-out classes": train on seven classes (about 700 labels) and search among the images of the
    other three; fourteen choices of the three, drawn at random, x three draws. The queries are 300.
"baselines": the same budget of 1,000 candidates per query, 16 bits, ten splits x three draws.
    precision@10 and recall@10 of the true neighbours, the candidates ranked by exact cosine or by
    cosine + beta * P, where P is the estimated probability that both images have the same class;
    beta is chosen for each split and method's ranking within the training set (five folds).

"Soft class scores" are softmax(10 * one-hot scores) of the kernel ridge, and P their dot product; 5
or 20 in place of 10 change mAP by less than 0.01 (a look at 200 queries of the first split).

An interval counts splits (or choices) and draws as two crossed factors: the variance of the mean
is (MS_splits + MS_draws) / N, degrees of freedom by Satterthwaite. That is a little too wide, as
it counts their interaction twice. Each split has its own queries and training set. Where the column
"reference" names a method, the figures are differences to it, paired by split and draw. n_bits is 0
for what has no bits; its differences are to 16 bits of the reference.

    python -m benchmarks.codebooks      # about six minutes on two cores
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed, parallel_config
from scipy import stats
from scipy.linalg import cho_factor, cho_solve
from scipy.special import softmax
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import kneighbors_graph
from sklearn.preprocessing import normalize
from tqdm import tqdm

from grh_helpers import ITQ, LSH, Dataset, HammingIndex, load_dataset, mean_average_precision
from grh_helpers.checkpoints import results_file
from grh_helpers.datasets import atomic
from grh_helpers.hashing import class_codes

GAMMA, RIDGE, SHARPNESS, BLOCK = 4.0, 0.1, 10.0, 2048
BETAS = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
KEYS = ["question", "method", "n_bits", "labels", "measure"]
GRH_BOOK, ON_SITE = "majority of LSH bits (GRH)", "ITQ, fitted to the database"
REFERENCES = {
    "code books": (GRH_BOOK,),
    "graphs": (GRH_BOOK,),
    "held-out classes": (GRH_BOOK, "ITQ", ON_SITE),
    "baselines": ("LSH", "exact cosine"),
}


class Case(NamedTuple):
    """Vectors and classes; those of the training set are numbered from 0, and it has nouns."""

    train: np.ndarray
    members: np.ndarray
    nouns: np.ndarray
    queries: np.ndarray
    query_labels: np.ndarray
    database: np.ndarray
    database_labels: np.ndarray

    @property
    def n_classes(self) -> int:
        """Number of classes that the training set has."""
        return int(self.members.max()) + 1


def make_case(data: Dataset, n_queries: int, n_train: int, seed: int, held_out=()) -> Case:
    """Draw a stratified split; held-out classes have queries and database to themselves."""
    split = data.split(n_queries, n_train, stratify=True, random_state=seed)
    train = ~np.isin(split.train_labels, held_out)
    sides = []
    for side in ("query", "database"):
        vectors = split.queries if side == "query" else split.database
        labels = getattr(split, f"{side}_labels")
        kept = np.isin(labels, held_out) if len(held_out) else np.full(len(labels), True)
        sides += [vectors[kept], labels[kept]]
    members = np.unique(split.train_labels[train], return_inverse=True)[1]
    nouns = data.labels if data.nouns is None else data.nouns
    return Case(split.train[train], members, nouns[split.train_index[train]], *sides)


def smooth(train: np.ndarray, targets: np.ndarray, *parts: np.ndarray) -> list[np.ndarray]:
    """Return the kernel ridge's scores of each part: a column for each column of targets."""
    kernel = rbf_kernel(train, gamma=GAMMA)
    kernel[np.diag_indices(len(train))] += RIDGE
    dual = cho_solve(cho_factor(kernel, overwrite_a=True), targets).astype(np.float32)
    twice = (2 * GAMMA * train.T).astype(np.float32)
    lengths = GAMMA * np.square(train).sum(axis=1)

    def kernel_rows(block: np.ndarray) -> np.ndarray:  # float32 halves the time
        others = GAMMA * np.square(block).sum(axis=1)[:, None]
        values = block.astype(np.float32) @ twice - (others + lengths).astype(np.float32)
        return np.exp(values, out=values)

    return [
        np.concatenate([kernel_rows(part[i : i + BLOCK]) @ dual
                        for i in range(0, len(part), BLOCK)])
        for part in parts
    ]  # fmt: skip


def majority(bits: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Give each class the sign of its mean, and the sign of zero is +1: step A with alpha = 1."""
    return np.array([signs(bits[members == c]).mean(axis=0) >= 0 for c in range(members.max() + 1)])


def signs(bits: np.ndarray) -> np.ndarray:
    """Bits as −1 and +1."""
    return np.where(bits, 1.0, -1.0)


def nearby(case: Case, codes: np.ndarray) -> np.ndarray:
    """Hand codes to classes so that near classes get near codes, by swaps that help."""
    means = np.array([case.train[case.members == c].mean(axis=0) for c in range(case.n_classes)])
    likeness = normalize(means - means.mean(axis=0))
    likeness, apart = likeness @ likeness.T, signs(codes)
    apart, order = apart @ apart.T, np.arange(len(codes))

    def fit(order: np.ndarray) -> float:
        return float((likeness * apart[np.ix_(order, order)]).sum().round(9))

    best, improved = fit(order), True
    while improved:
        improved = False
        for i, j in itertools.combinations(range(len(order)), 2):
            order[[i, j]] = order[[j, i]]
            if fit(order) > best:
                best, improved = fit(order), True
            else:
                order[[i, j]] = order[[j, i]]
    return codes[order]


def _lsh(case: Case, n_bits: int, rng) -> np.ndarray:
    return LSH(n_bits, rng).fit_transform(case.train)


def _itq(case: Case, n_bits: int, rng) -> np.ndarray:
    return ITQ(n_bits, random_state=rng).fit_transform(case.train)


def _itq_on_site(case: Case, n_bits: int, rng) -> np.ndarray:
    """Bits by an ITQ that was fitted to 2,000 rows of the database: it needs no labels."""
    return ITQ(n_bits, random_state=rng).fit(case.database[:2000]).transform(case.train)


def _cca(case: Case, n_bits: int, rng) -> np.ndarray:
    itq = ITQ(n_bits, supervised=True, random_state=rng)
    return itq.fit(case.train, case.members).transform(case.train)


def _maxmin(case: Case, n_bits: int, rng) -> np.ndarray:
    return class_codes(case.n_classes, n_bits, rng)


BOOKS: dict[str, Callable] = {  # a code per class
    GRH_BOOK: lambda c, b, rng: majority(_lsh(c, b, rng), c.members),
    "random class codes": lambda c, b, rng: rng.random_sample((c.n_classes, b)) < 0.5,
    "max-min": _maxmin,
    "majority of ITQ-CCA bits": lambda c, b, rng: majority(_cca(c, b, rng), c.members),
    "majority of ITQ bits": lambda c, b, rng: majority(_itq(c, b, rng), c.members),
    "max-min, near classes near": lambda c, b, rng: nearby(c, _maxmin(c, b, rng)),
}


def nearest_of_class(case: Case, k: int = 20) -> np.ndarray:
    """Graph of the k nearest of the same class, the row itself among them."""
    graph = np.zeros((len(case.train),) * 2)
    for c in range(case.n_classes):
        rows = np.flatnonzero(case.members == c)
        near = kneighbors_graph(case.train[rows], min(k, len(rows) - 1), include_self=True)
        graph[np.ix_(rows, rows)] = near.toarray()
    return graph


def same(values: np.ndarray) -> np.ndarray:
    """Graph of equal values, its rows averages."""
    graph = (values[:, None] == values).astype(float)
    return graph / graph.sum(axis=1, keepdims=True)


GRAPHS: dict[str, tuple[Callable, Callable]] = {  # bits of each training row, averaged by a graph
    "no graph": (_lsh, lambda c: np.eye(len(c.train))),
    "no graph, ITQ bits": (_itq, lambda c: np.eye(len(c.train))),
    "20 nearest of the class": (_lsh, nearest_of_class),
    "20 nearest of the class, ITQ bits": (_itq, nearest_of_class),
    f"20 nearest of the class, {ON_SITE}": (_itq_on_site, nearest_of_class),
    "nouns": (_lsh, lambda c: same(c.nouns)),
    "nouns and classes": (_lsh, lambda c: same(c.nouns) + same(c.members)),
}
HASHERS = {"LSH": LSH, "ITQ": ITQ}
LIMITS = ["predicted class as the code", "soft class scores", "exact cosine", "random codes"]
HALVES = ["half max-min, half ITQ", f"half max-min, half {ON_SITE}"]


def book_scores(case: Case, book: np.ndarray, onehot: list, rng) -> list[np.ndarray]:
    """Scores of queries and database for a code book; bits equal for all classes are LSH's."""
    fixed = (book == book[0]).all(axis=0)
    planes = rng.standard_normal((fixed.sum(), case.train.shape[1])).T
    found = []
    for scores, vectors in zip(onehot, (case.queries, case.database), strict=True):
        found.append(scores @ signs(book))
        found[-1][:, fixed] = vectors @ planes
    return found


def probabilities(scores: np.ndarray) -> np.ndarray:
    """Soft class scores."""
    return softmax(SHARPNESS * scores, axis=1)


def ranking_map(case: Case, of_queries: np.ndarray, of_database: np.ndarray) -> float:
    """Return the mAP of the ranking by the dot product of two rows."""
    values = []
    for row, label in zip(of_queries, case.query_labels, strict=True):
        order = np.argsort(-(of_database @ row), kind="stable")
        places = np.flatnonzero(case.database_labels[order] == label)
        values.append(np.mean(np.arange(1, len(places) + 1) / (places + 1)))
    return float(np.mean(values))


def wrong_labels(members: np.ndarray, share: float, rng) -> np.ndarray:
    """Give a share of the rows the label of another class, each other class alike."""
    n_classes, members = members.max() + 1, members.copy()
    rows = rng.choice(len(members), round(share * len(members)), replace=False)
    members[rows] = (members[rows] + rng.randint(1, n_classes, len(rows))) % n_classes
    return members


def measure(
    case: Case, methods: Iterable[str], draws: dict[int, int], suffix: str = ""
) -> list[tuple]:
    """Return (method, n_bits, draw, mAP); `draws` maps numbers of bits to numbers of draws."""
    sides, labels = (case.queries, case.database), (case.query_labels, case.database_labels)
    jobs = [(b, s) for b, n in draws.items() for s in range(n)]
    columns, where, at = [np.eye(case.n_classes)[case.members]], {}, case.n_classes
    for name in methods:
        if name in GRAPHS:
            start, graph = GRAPHS[name]
            weights = graph(case)
            for b, s in jobs:
                rng = np.random.RandomState(s)
                targets = signs(weights @ signs(start(case, b, rng)) >= 0)
                columns.append(targets)
                where[name, b, s] = slice(at, at + b)
                at += b
    scores = smooth(case.train, np.hstack(columns), *sides)
    onehot = [part[:, : case.n_classes] for part in scores]
    rows = []
    for name, (b, s) in itertools.product(methods, jobs):
        rng = np.random.RandomState(s)
        if name in BOOKS:
            book = BOOKS[name](case, b, rng)
            codes = [part >= 0 for part in book_scores(case, book, onehot, rng)]
        elif name in HALVES:
            book = _maxmin(case, b // 2, rng)
            left = [part >= 0 for part in book_scores(case, book, onehot, rng)]
            right = ITQ(b - b // 2, random_state=rng)
            right.fit(case.train if name == HALVES[0] else case.database[:2000])
            codes = [np.hstack([a, right.transform(x)]) for a, x in zip(left, sides, strict=True)]
        elif name in GRAPHS:
            codes = [part[:, where[name, b, s]] >= 0 for part in scores]
        elif name in (*HASHERS, ON_SITE):
            hasher = HASHERS.get(name, ITQ)(b, random_state=s)
            hasher.fit(case.database[:2000] if name == ON_SITE else case.train)
            codes = [hasher.transform(x) for x in sides]
        elif name == "random codes":
            codes = [rng.random_sample((len(x), b)) < 0.5 for x in sides]
        elif s or b != min(draws):
            continue  # the rest has neither bits nor draws
        elif name == "predicted class as the code":
            codes = [np.eye(case.n_classes, dtype=bool)[part.argmax(axis=1)] for part in onehot]
        else:
            soft = name == "soft class scores"
            pair = map(probabilities, onehot) if soft else map(normalize, sides)
            rows.append((name + suffix, 0, s, ranking_map(case, *pair)))
            continue
        b = 0 if name == "predicted class as the code" else b
        rows.append((name + suffix, b, s, mean_average_precision(*codes, *labels)))
    return rows


def code_books(data: Dataset, seed: int, n_queries: int, n_train: int, draws: dict) -> list[dict]:
    """Compare all on one split of seen classes; with many labels only what they change."""
    case = make_case(data, n_queries, n_train, seed)
    few = [*list(BOOKS)[:4], "no graph", "LSH", *LIMITS[:2]]
    names = few if n_train > 1000 else [*BOOKS, "no graph", *HALVES, *HASHERS, ON_SITE, *LIMITS]
    return _frame("code books", len(case.train), seed, measure(case, names, draws))


def graphs(data: Dataset, seed: int, n_queries: int, n_train: int, draws: dict) -> list[dict]:
    """Compare graphs, with right labels and with some wrong."""
    case = make_case(data, n_queries, n_train, seed)
    found = measure(case, [GRH_BOOK, "max-min", *GRAPHS], draws)
    found += with_wrong_labels(case, seed, draws)
    return _frame("graphs", len(case.train), seed, found)


def with_wrong_labels(case: Case, seed: int, draws: dict) -> list[tuple]:
    """Compare graphs and code books that are given some wrong labels."""
    names = [GRH_BOOK, "random class codes", "max-min", "20 nearest of the class"]
    names += LIMITS[:2]
    found = []
    for share in (0.1, 0.3):
        wrong = wrong_labels(case.members, share, np.random.RandomState(seed))
        suffix = f", {share:.0%} wrong labels"
        found += measure(case._replace(members=wrong), names, draws, suffix)
    return found


def choices(n_classes: int, n: int) -> list[tuple]:
    """Draw n different choices of three classes."""
    triples = list(itertools.combinations(range(n_classes), 3))
    drawn = np.random.RandomState(0).choice(len(triples), n, replace=False)
    return [triples[i] for i in drawn]


def held_out(
    data: Dataset, seed: int, n_queries: int, n_train: int, draws: dict, classes: tuple
) -> list[dict]:
    """Train on the other classes, search among these."""
    case = make_case(data, n_queries, n_train, seed, classes)
    names = [*BOOKS, *GRAPHS, *HALVES, *HASHERS, ON_SITE, *LIMITS]
    found = measure(case, names, draws) + with_wrong_labels(case, seed, draws)
    return _frame("held-out classes", 100 * round(len(case.train) / 100), seed, found)


def _frame(question: str, labels: int, split: int, found: list[tuple]) -> list[dict]:
    common = {"question": question, "labels": labels, "measure": "map", "split": split}
    names = ("method", "n_bits", "draw", "value")
    return [{**common, **dict(zip(names, row, strict=True))} for row in found]


def choose_beta(case: Case) -> float:
    """Choose β by precision@10 within the training set: half of a fold queries the other half."""
    scores = np.zeros(len(BETAS))
    folds = StratifiedKFold(5, shuffle=True, random_state=0).split(case.train, case.members)
    unit = normalize(case.train)
    for fit, rest in folds:
        targets = np.eye(case.n_classes)[case.members[fit]]
        soft = probabilities(smooth(case.train[fit], targets, case.train[rest])[0])
        a, b = rest[::2], rest[1::2]
        cosine, likely = unit[a] @ unit[b].T, soft[::2] @ soft[1::2].T
        for i, beta in enumerate(BETAS):
            best = np.argsort(-(cosine + beta * likely), axis=1, kind="stable")[:, :10]
            scores[i] += (case.members[b[best]] == case.members[a, None]).mean()
    return BETAS[scores.argmax()]


def baselines(data: Dataset, seed: int, draws: int, budget: int = 1000) -> list[dict]:
    """Search with the same budget; the split is the one of `benchmarks.budget`."""
    split = data.split(random_state=seed)
    nouns = np.zeros(len(split.train))
    sides = (split.queries, split.query_labels, split.database, split.database_labels)
    case = Case(split.train, split.train_labels, nouns, *sides)
    sides = (case.queries, case.database)
    onehot = smooth(case.train, np.eye(case.n_classes)[case.members], *sides)
    soft, unit = [probabilities(part) for part in onehot], [normalize(part) for part in sides]
    beta = choose_beta(case)
    everything, likely = unit[0] @ unit[1].T, soft[0] @ soft[1].T
    true = np.argsort(-everything, axis=1, kind="stable")[:, :10]
    rows = []

    def add(method: str, draw: int, candidates: np.ndarray, order: str) -> None:
        """Measure the ten best of the candidates."""
        cosine = np.take_along_axis(everything, candidates, 1)
        same_class = np.take_along_axis(likely, candidates, 1)
        value = {"cosine": cosine, "labels": cosine + beta * same_class, "soft": same_class}[order]
        best = np.argsort(-value, axis=1, kind="stable")[:, :10]
        best = np.take_along_axis(candidates, best, 1)
        hits = case.database_labels[best] == case.query_labels[:, None]
        found = (best[:, :, None] == true[:, None]).any(axis=1)
        name = method + {"cosine": "", "labels": " + labels in the re-ranker", "soft": ""}[order]
        common = {"question": "baselines", "labels": len(case.train), "split": seed, "draw": draw}
        common |= {"method": name, "n_bits": 0 if method in bare else 16}
        rows.append({**common, "measure": "precision@10", "value": hits.mean()})
        rows.append({**common, "measure": "recall@10", "value": found.mean()})

    bare = ("exact cosine", "soft class scores, ten best", "predicted class as the code")
    bare += ("soft class scores, then cosine",)
    all_rows = np.tile(np.arange(len(case.database)), (len(case.queries), 1))
    for order in ("cosine", "labels"):
        add("exact cosine", 0, all_rows, order)
    add("soft class scores, ten best", 0, all_rows, "soft")
    likeliest = np.argsort(-likely, axis=1, kind="stable")[:, :budget]
    add("soft class scores, then cosine", 0, likeliest, "cosine")
    classes = [np.eye(case.n_classes, dtype=bool)[part.argmax(axis=1)] for part in onehot]
    drawn = {("predicted class as the code", 0): classes}
    for s in range(draws):
        for name in HASHERS:
            hasher = HASHERS[name](16, random_state=s).fit(case.train)
            drawn[name, s] = [hasher.transform(x) for x in sides]
        for name in (GRH_BOOK, "majority of ITQ-CCA bits", "max-min"):
            rng = np.random.RandomState(s)
            book = BOOKS[name](case, 16, rng)
            drawn[name, s] = [part >= 0 for part in book_scores(case, book, onehot, rng)]
        rng = np.random.RandomState(s)
        drawn["random codes", s] = [rng.random_sample((len(x), 16)) < 0.5 for x in sides]
    for (name, s), (query_codes, codes) in drawn.items():
        # Without vectors the ids are the candidates themselves, ties in the drawn order.
        ids, _ = HammingIndex(codes).search(query_codes, None, budget, budget=budget)
        for order in ("cosine", "labels"):
            add(name, s, ids, order)
    common = {"question": "baselines", "labels": len(case.train), "split": seed, "draw": 0}
    chosen = {"method": "labels in the re-ranker", "n_bits": 0, "measure": "beta", "value": beta}
    return [*rows, {**common, **chosen}]


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean and 95 % interval of values by split and draw, two crossed factors."""
    n_splits, n_draws = values.shape
    means = [values.mean(axis=1), values.mean(axis=0)]
    squares = [n_draws * means[0].var(ddof=1) if n_splits > 1 else np.nan]
    squares += [n_splits * means[1].var(ddof=1)] if n_draws > 1 else []
    freedom = np.array([n_splits - 1, n_draws - 1])[: len(squares)]
    total, mean = np.sum(squares), float(values.mean())
    if not total > 0:
        return mean, mean, mean
    df = total**2 / np.sum(np.square(squares) / freedom)
    half = float(stats.t.ppf(0.975, df) * np.sqrt(total / values.size))
    return mean, mean - half, mean + half


def summarise(rows: list[dict]) -> pd.DataFrame:
    """Average over splits and draws; differences to a reference are paired by both."""
    frame, table = pd.DataFrame(rows), []
    values = {key: part.pivot(index="split", columns="draw", values="value").to_numpy()
              for key, part in frame.groupby(KEYS, sort=False)}  # fmt: skip
    for key, value in values.items():
        line = dict(zip(KEYS, key, strict=True))
        for reference in ("", *REFERENCES[line["question"]]):
            lengths = [
                n for n in (line["n_bits"], 16, 0) if (key[0], reference, n, *key[3:]) in values
            ]
            if reference == line["method"] or (reference and not lengths):
                continue
            other = values[key[0], reference, lengths[0], *key[3:]] if reference else 0.0
            difference = value - other
            line |= {"reference": reference, "splits": len(value), "draws": difference.shape[1]}
            ends = dict(zip(("mean", "low", "high"), interval(difference), strict=True))
            table.append(line | ends)
    return pd.DataFrame(table)


def plan(
    data: Dataset,
    n_queries: int = 1000,
    sizes: Iterable[int] = (1000, 5000),
    splits: tuple[int, int, int] = (3, 14, 10),
    draws: tuple[dict, dict, dict, int] = ({16: 12, 64: 4}, {16: 3}, {16: 3, 64: 3}, 3),
) -> list:
    """List all jobs; splits and draws by question, draws by the number of bits."""
    seen, held, budgets = splits
    small = min(sizes)
    fewer = {n_bits: -(-n // 2) for n_bits, n in draws[0].items()}
    return [
        *(delayed(code_books)(data, s, n_queries, n, draws[0] if n == small else fewer)
          for n in sizes for s in range(seen)),
        *(delayed(held_out)(data, s, n_queries, small, draws[2], triple)
          for s, triple in enumerate(choices(len(data.class_names), held))),
        *(delayed(graphs)(data, s, n_queries, small, draws[1]) for s in range(seen)),
        *(delayed(baselines)(data, s, draws[3]) for s in range(budgets)),
    ]  # fmt: skip


def run(jobs: list, n_jobs: int = 2) -> pd.DataFrame:
    """Run the jobs of a plan, some at a time, each on one thread."""
    with parallel_config(backend="loky", inner_max_num_threads=1):
        results = Parallel(n_jobs=n_jobs, return_as="generator")(jobs)
        rows = [row for part in tqdm(results, total=len(jobs), disable=None) for row in part]
    return summarise(rows)


if __name__ == "__main__":
    data = load_dataset()
    table = run(plan(data)).round(4)
    print(table.to_string())
    with atomic(results_file(data.name).parent / f"codebooks_{data.name}.csv", "w") as file:
        table.to_csv(file, index=False)
