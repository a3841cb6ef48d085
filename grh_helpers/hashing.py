"""Hash functions as scikit-learn estimators: random hyperplanes (LSH) and learned ones (GRH)."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from scipy.sparse import csr_array
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    clone,
    is_classifier,
)
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from sklearn.svm import SVC
from sklearn.utils import assert_all_finite, check_random_state, get_tags
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

__all__ = ["GRH", "LSH", "graph_step", "make_learner"]

_BLOCK = 4096  # rows encoded at a time: 16 MB of 512 float64 features, and small temporaries


def _check_count(name: str, value: object) -> None:
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, but it is {value!r}.")


def _as_signs(bits: np.ndarray) -> np.ndarray:
    """Bits as the -1.0 and +1.0 of the papers' algebra."""
    return np.where(bits, 1.0, -1.0)


def _encode(X: np.ndarray, n_bits: int, scores) -> np.ndarray:
    """Sign of ``scores(block)`` for every block of rows, without a second copy of X.

    NaN and infinity always reach the scores, so X itself is read again only to explain them.
    """
    bits = np.empty((len(X), n_bits), dtype=bool)
    for start in range(0, len(X), _BLOCK):
        block = X[start : start + _BLOCK]
        with np.errstate(invalid="ignore", over="ignore"):
            projected = scores(block)
        if not np.isfinite(projected).all():
            assert_all_finite(block, input_name="X")
        np.greater_equal(projected, 0, out=bits[start : start + _BLOCK])
    return bits


class _Hasher(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """What LSH and GRH share: checking the input and encoding by hyperplanes."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # bool comes out, whatever goes in
        return tags

    @property
    def _n_features_out(self) -> int:
        return len(self.coef_)

    def _validate(self, X, *, reset: bool) -> np.ndarray:
        # When encoding, _encode looks for NaN and infinity where it costs next to nothing.
        return validate_data(
            self, X, reset=reset, dtype=[np.float64, np.float32], ensure_all_finite=reset
        )

    def _draw(self, rng: np.random.RandomState, n_bits: int, n_features: int) -> np.ndarray:
        return rng.standard_normal((n_bits, n_features))

    def transform(self, X) -> np.ndarray:
        """Hash the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Vectors, normalised and centred like those given to `fit`. float32 is encoded in
            float32, everything else in float64.

        Returns
        -------
        ndarray of bool, shape (n_samples, n_bits)
            True where a vector lies on the positive side of a hyperplane, or on it.

        Raises
        ------
        ValueError
            If X has another number of features than in `fit`, or NaN or infinite entries.
        """
        check_is_fitted(self)
        X = self._validate(X, reset=False)
        weights = np.ascontiguousarray(self.coef_.T, dtype=X.dtype)
        offset = self.intercept_.astype(X.dtype)
        return _encode(X, len(self.coef_), lambda block: block @ weights + offset)


class LSH(_Hasher):
    """Locality-sensitive hashing by the signs of random projections.

    Each bit says on which side of a random hyperplane through the origin a vector lies. Two
    vectors at an angle θ agree in a bit with probability 1 − θ/π.

    Parameters
    ----------
    n_bits : int, default=16
        Number of hyperplanes, one a bit.
    random_state : int, RandomState instance or None, default=None
        Seed of the Gaussian hyperplanes; an int gives the same bits on every machine.

    Attributes
    ----------
    coef_ : ndarray of float64, shape (n_bits, n_features)
        The hyperplanes' normal vectors.
    intercept_ : ndarray of float64, shape (n_bits,)
        Zeros: the hyperplanes pass through the origin.
    n_features_in_ : int
        Number of features seen in `fit`.

    References
    ----------
    M. S. Charikar, "Similarity estimation techniques from rounding algorithms", STOC 2002,
    doi:10.1145/509907.509965.

    Examples
    --------
    >>> import numpy as np
    >>> from grh_helpers import LSH
    >>> X = np.array([[1.0, 2.0], [-1.0, -2.0]])
    >>> bits = LSH(n_bits=4, random_state=0).fit_transform(X)
    >>> bits.astype(int)
    array([[1, 1, 0, 1],
           [0, 0, 1, 0]])
    """

    def __init__(self, n_bits: int = 16, random_state=None):
        self.n_bits = n_bits
        self.random_state = random_state

    def fit(self, X, y=None) -> LSH:
        """Draw the hyperplanes; of X only the number of columns is used.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Vectors of the kind to be hashed.
        y : ignored
            There for scikit-learn's pipelines.

        Returns
        -------
        LSH
            The estimator itself.

        Raises
        ------
        ValueError
            If `n_bits` is not a whole number of at least 1, or X is not a finite matrix.
        """
        _check_count("n_bits", self.n_bits)
        X = self._validate(X, reset=True)
        self.coef_ = self._draw(check_random_state(self.random_state), self.n_bits, X.shape[1])
        self.intercept_ = np.zeros(self.n_bits)
        return self


def graph_step(
    bits, initial_bits, neighbours_mean, alpha: float, regularise: str = "paper"
) -> np.ndarray:
    """Step A of GRH: pull each bit towards the mean of its neighbours' bits.

    Parameters
    ----------
    bits, initial_bits : array-like of bool, shape (n_samples, n_bits)
        The current bits and those that the whole procedure started from.
    neighbours_mean : callable
        Maps signs (n_samples, n_bits) to the neighbours' mean signs of the same shape.
    alpha : float
        Weight of the neighbours, between 0 and 1.
    regularise : {"paper", "published"}
        "paper": sgn(α·mean + (1 − α)·initial). "published": the form of the original tutorial's
        code, sgn(α·sgn(mean) + (1 − α)·current), which changes no bit for α < ½.

    Returns
    -------
    ndarray of bool, shape (n_samples, n_bits)
        The regularised bits; the sign of zero counts as +1.

    Examples
    --------
    Three images, all neighbours of each other; the third disagrees with a mean of 1/3, and a bit
    flips only when α > 1 / (1 + |mean|) = 0.75.

    >>> import numpy as np
    >>> bits = np.array([[True], [True], [False]])
    >>> def mean(signs):
    ...     return np.ones((3, 3)) @ signs / 3
    >>> graph_step(bits, bits, mean, alpha=0.7).ravel().tolist()
    [True, True, False]
    >>> graph_step(bits, bits, mean, alpha=0.8).ravel().tolist()
    [True, True, True]
    """
    mean = neighbours_mean(_as_signs(bits))
    if regularise == "published":
        return alpha * _as_signs(mean >= 0) + (1 - alpha) * _as_signs(bits) >= 0
    return alpha * mean + (1 - alpha) * _as_signs(initial_bits) >= 0


def make_learner(name: str):
    """Build one of the learners that the series compares, by name.

    Parameters
    ----------
    name : {"svm", "ridge", "kernel"}
        "svm": the paper's linear SVM (None, GRH's own fast path). "ridge": linear ridge
        regression. "kernel": ridge regression with a Gaussian kernel, for vectors of norm
        near one; its two numbers were chosen by `benchmarks/choose_defaults.py`, where
        alpha from 0.03 to 0.3 makes no difference above 0.001.

    Returns
    -------
    estimator or None
        What to give to ``GRH(learner=...)``.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    learners = {
        "svm": lambda: None,
        "ridge": lambda: Ridge(alpha=1.0),
        "kernel": lambda: KernelRidge(kernel="rbf", gamma=4.0, alpha=0.1),
    }
    if name not in learners:
        raise ValueError(f"Unknown learner {name!r}; choose one of {', '.join(learners)}.")
    return learners[name]()


class GRH(_Hasher):
    """Graph Regularised Hashing: hyperplanes learned from labels or from a similarity graph.

    Starting from the bits of `init`, repeat `n_iter` times: (A) pull each bit towards the mean
    of its neighbours in the graph; (B) train one classifier a bit on the result and replace the
    bits by its predictions. The classifiers of the last round are the hash functions. A bit that
    step A makes equal for all images gets a fresh random hyperplane.

    Parameters
    ----------
    n_bits : int, default=16
        Length of the code.
    alpha : float, default=1.0
        Weight of the graph in step A, between 0 and 1. A bit whose neighbours' mean is m flips
        only if alpha > 1 / (1 + |m|), so alpha < 0.5 never changes a bit. The default was
        chosen on a validation part of the training set (`benchmarks/choose_defaults.py`).
    n_iter : int, default=1
        Rounds of steps A and B, chosen likewise: with alpha = 1 a second round makes bits lopsided,
        which fills buckets but ranks worse.
    learner : scikit-learn classifier or regressor, or None, default=None
        What step B trains. None is the paper's linear SVM (C=1, with intercept), all bits from
        one Gram matrix. A learner that takes several outputs is fitted once for all bits.
    init : "lsh" or a hashing estimator, default="lsh"
        Where the bits start; an estimator is cloned, fitted, and must return `n_bits` bits.
    regularise : {"paper", "published"}, default="paper"
        Which form of step A, see `graph_step`.
    random_state : int, RandomState instance or None, default=None
        Seed. ``GRH(random_state=s)`` starts from the bits of ``LSH(random_state=s)``.
    n_jobs : int or None, default=None
        Threads that train bits side by side; the result does not depend on it.

    Attributes
    ----------
    coef_, intercept_ : ndarray of float64, shapes (n_bits, n_features) and (n_bits,)
        The learned hyperplanes. Where another learner than the SVM decides a bit, its row is
        zero and `learners_` holds the model.
    learners_ : list of (ndarray of int, estimator)
        Fitted models and the bits they decide; empty for the SVM.
    flips_ : ndarray of float64, shape (n_iter,)
        Share of the bits that step A changed in each round, against the bits it was given.
    train_bits_ : ndarray of bool, shape (n_samples, n_bits)
        The last targets of step B.
    classes_ : ndarray
        The labels seen in `fit` (only if it was given labels).
    n_features_in_ : int
        Number of features seen in `fit`.

    References
    ----------
    S. Moran and V. Lavrenko, "Graph Regularised Hashing", ECIR 2015,
    doi:10.1007/978-3-319-16354-3_15.

    Examples
    --------
    >>> import numpy as np
    >>> from grh_helpers import GRH
    >>> X = np.array([[2.0, 0.1], [1.5, -0.1], [-2.0, 0.1], [-1.5, -0.1]])
    >>> grh = GRH(n_bits=2, random_state=0).fit(X, ["left", "left", "right", "right"])
    >>> grh.transform(X).astype(int)
    array([[1, 1],
           [1, 1],
           [0, 0],
           [0, 0]])
    """

    def __init__(
        self,
        n_bits: int = 16,
        alpha: float = 1.0,
        n_iter: int = 1,
        learner=None,
        init="lsh",
        regularise: str = "paper",
        random_state=None,
        n_jobs: int | None = None,
    ):
        self.n_bits = n_bits
        self.alpha = alpha
        self.n_iter = n_iter
        self.learner = learner
        self.init = init
        self.regularise = regularise
        self.random_state = random_state
        self.n_jobs = n_jobs

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

    def fit(self, X, y=None, graph=None) -> GRH:
        """Learn the hash functions.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training vectors, normalised and centred.
        y : array-like of shape (n_samples,), optional
            Class labels: images of a class are neighbours. The n×n graph is never built, since
            its neighbours' mean is the mean of each class.
        graph : sparse or dense matrix of shape (n_samples, n_samples), optional
            Similarities >= 0 instead of labels; row i holds the neighbours of image i, and
            their mean is weighted by it (D⁻¹S in place of labels).

        Returns
        -------
        GRH
            The estimator itself.

        Raises
        ------
        ValueError
            If a parameter is out of range; X and y differ in length; there is only one class;
            both or neither of y and graph are given; or the graph has the wrong shape, negative
            or missing weights, or a node without neighbours.
        """
        self._check_parameters()
        X = self._validate(X, reset=True)
        neighbours_mean = self._neighbours_mean(len(X), y, graph)
        rng = check_random_state(self.random_state)
        initial_bits = self._initial_bits(X, y, rng)
        gram = X @ X.T if self.learner is None else None
        bits, flips = initial_bits, []
        for _ in range(self.n_iter):
            targets = graph_step(bits, initial_bits, neighbours_mean, self.alpha, self.regularise)
            flips.append(np.mean(targets != bits))
            self._learn(X, targets, gram, rng)
            bits = self._bits(X)
        self.flips_ = np.array(flips)
        self.train_bits_ = targets
        return self

    def _check_parameters(self) -> None:
        _check_count("n_bits", self.n_bits)
        _check_count("n_iter", self.n_iter)
        if not isinstance(self.alpha, Real) or not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha must lie between 0 and 1, but it is {self.alpha!r}.")
        if self.regularise not in ("paper", "published"):
            raise ValueError(
                f'regularise must be "paper" or "published", but it is {self.regularise!r}.'
            )
        if not (hasattr(self.init, "fit") or (isinstance(self.init, str) and self.init == "lsh")):
            raise ValueError(f'init must be "lsh" or a hashing estimator, but it is {self.init!r}.')
        if self.learner is not None and not hasattr(self.learner, "fit"):
            raise ValueError(
                "learner must be a scikit-learn classifier or regressor, or None for the linear "
                f"SVM, but it is {self.learner!r}; names such as 'ridge' go through make_learner."
            )

    def _neighbours_mean(self, n: int, y, graph):
        """Return the function that averages signs over each image's neighbours."""
        if y is None and graph is None:
            raise ValueError(
                "This GRH estimator requires y to be passed, but the target y is None; "
                "pass class labels as y, or a similarity matrix as graph."
            )
        if y is not None and graph is not None:
            raise ValueError("Pass class labels as y or a similarity matrix as graph, not both.")
        if graph is not None:
            return self._graph_mean(n, graph)
        y = column_or_1d(y, warn=True)
        if len(y) != n:
            raise ValueError(f"X has {n} rows but y has {len(y)} labels; they must agree.")
        assert_all_finite(y, input_name="y")
        self.classes_, members = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"The labels hold only one class ({self.classes_[0]!r}); "
                "GRH needs at least two to tell apart."
            )
        # A sparse one-hot matrix: summing the ±1 of each class is exact, so ties are exact too.
        membership = csr_array((np.ones(n), members, np.arange(n + 1)))
        sizes = np.bincount(members)[:, None]
        return lambda signs: ((membership.T @ signs) / sizes)[members]

    @staticmethod
    def _graph_mean(n: int, graph):
        graph = csr_array(graph, dtype=np.float64)
        if graph.shape != (n, n):
            raise ValueError(
                f"The graph must have one row and one column an image, ({n}, {n}) here, "
                f"but its shape is {graph.shape}."
            )
        if not (np.isfinite(graph.data).all() and (graph.data >= 0).all()):
            raise ValueError("The graph's weights must be finite and not negative.")
        degrees = graph.sum(axis=1)
        if (degrees == 0).any():
            raise ValueError(
                f"Node {np.flatnonzero(degrees == 0)[0]} of the graph has no neighbour; "
                "connect it, to itself if to nothing else, or leave the image out."
            )
        return lambda signs: (graph @ signs) / degrees[:, None]

    def _initial_bits(self, X: np.ndarray, y, rng: np.random.RandomState) -> np.ndarray:
        if isinstance(self.init, str):
            start = LSH(self.n_bits, random_state=rng)
        else:
            start = _seeded(self.init, rng)
        bits = np.asarray(start.fit(X, y).transform(X))
        if bits.shape != (len(X), self.n_bits) or bits.dtype != bool:
            raise ValueError(
                f"init must give {self.n_bits} bool bits an image, "
                f"but it gave {bits.dtype} of shape {bits.shape}."
            )
        return bits

    def _learn(self, X, targets, gram, rng) -> None:
        """Step B: one hash function a bit."""
        self.coef_ = np.zeros((self.n_bits, X.shape[1]))
        self.intercept_ = np.zeros(self.n_bits)
        self.learners_ = []
        constant = (targets == targets[0]).all(axis=0)
        self.coef_[constant] = self._draw(rng, constant.sum(), X.shape[1])
        varying = np.flatnonzero(~constant)
        if len(varying) == 0:
            return
        parallel = Parallel(n_jobs=self.n_jobs, prefer="threads")
        if gram is not None:
            planes = parallel(delayed(_linear_svm)(X, gram, targets[:, bit]) for bit in varying)
            for bit, (weights, offset) in zip(varying, planes, strict=True):
                self.coef_[bit], self.intercept_[bit] = weights, offset
            return
        labels = targets.astype(int) if is_classifier(self.learner) else _as_signs(targets)
        if _takes_many_outputs(self.learner) and len(varying) > 1:
            groups = [varying]
        else:
            groups = [varying[i : i + 1] for i in range(len(varying))]
        seeded = [_seeded(self.learner, rng) for _ in groups]
        fitted = parallel(
            delayed(learner.fit)(X, labels[:, group] if len(group) > 1 else labels[:, group[0]])
            for learner, group in zip(seeded, groups, strict=True)
        )
        self.learners_ = list(zip(groups, fitted, strict=True))

    def _bits(self, X: np.ndarray) -> np.ndarray:
        if not self.learners_:
            return super().transform(X)

        def scores(block):
            assert_all_finite(block, input_name="X")
            out = block @ self.coef_.T + self.intercept_
            for group, learner in self.learners_:
                predicted = np.asarray(learner.predict(block), dtype=float)
                if is_classifier(learner):
                    predicted = predicted - 0.5
                out[:, group] = predicted.reshape(len(block), -1)
            return out

        return _encode(X, self.n_bits, scores)

    def transform(self, X) -> np.ndarray:
        """Hash the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Vectors, normalised and centred like those given to `fit`.

        Returns
        -------
        ndarray of bool, shape (n_samples, n_bits)
            True where the bit's hyperplane, or learner, says +1; the sign of zero is +1.

        Raises
        ------
        ValueError
            If X has another number of features than in `fit`, or NaN or infinite entries.
        """
        check_is_fitted(self)
        return self._bits(self._validate(X, reset=False))


def _linear_svm(X, gram, target) -> tuple[np.ndarray, float]:
    """Train one linear SVM from the shared Gram matrix; return its hyperplane."""
    svm = SVC(kernel="precomputed").fit(gram, target)
    return svm.dual_coef_[0] @ X[svm.support_], svm.intercept_[0]


def _seeded(estimator, rng: np.random.RandomState):
    """Clone an estimator and give a seed to every random_state that it leaves open."""
    copy = clone(estimator)
    seeds: dict[str, Any] = {
        name: rng.randint(np.iinfo(np.int32).max)
        for name, value in sorted(copy.get_params(deep=True).items())
        if name.split("__")[-1] == "random_state" and value is None
    }
    return copy.set_params(**seeds)


def _takes_many_outputs(learner) -> bool:
    tags = get_tags(learner)
    if is_classifier(learner):
        return tags.classifier_tags is not None and tags.classifier_tags.multi_label
    return tags.target_tags.multi_output
