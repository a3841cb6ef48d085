"""Hash functions as scikit-learn estimators: random hyperplanes (LSH), learned ones (ITQ, GRH)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from numbers import Real

import numpy as np
from joblib import Parallel, delayed
from scipy.linalg import eigh
from scipy.sparse import csr_array, issparse
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    MultiOutputMixin,
    TransformerMixin,
    clone,
    is_classifier,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.svm import SVC
from sklearn.utils import assert_all_finite, check_random_state, get_tags
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from grh_helpers.codes import check_whole
from grh_helpers.evaluation import mean_average_precision

__all__ = ["GRH", "ITQ", "LSH", "SVMs", "class_codes", "graph_step"]

_BLOCK = 4096  # rows encoded at a time: 16 MB of 512 float64 features, and small temporaries
_SVM_STEPS = 100  # solver steps per row before it gives up; normalised vectors need five at most


class _Hasher(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """What all hashers share: checked input, and bits that are the signs of scores.

    The scores are those of the hyperplanes coef_ and intercept_; a subclass finds them.
    """

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # bool comes out, whatever goes in
        return tags

    _n_features_out = property(lambda self: len(self.coef_))

    def _validate(self, X, *, reset: bool) -> np.ndarray:
        if issparse(X):
            raise ValueError("X must be dense, got a sparse matrix; use TruncatedSVD first.")
        # When encoding, _hash looks for NaN and infinity where it costs next to nothing.
        return validate_data(
            self, X, reset=reset, dtype=[np.float64, np.float32], ensure_all_finite=reset
        )

    def _scores(self, X: np.ndarray) -> np.ndarray:
        """Distance from each hyperplane times the length of its normal, in the precision of X."""
        weights = np.ascontiguousarray(self.coef_.T, dtype=X.dtype)
        return X @ weights + self.intercept_.astype(X.dtype)

    def _hash(self, X: np.ndarray) -> np.ndarray:
        bits = np.empty((len(X), self._n_features_out), dtype=bool)
        for start in range(0, len(X), _BLOCK):
            block = X[start : start + _BLOCK]
            with np.errstate(invalid="ignore", over="ignore"):
                scores = self._scores(block)
            if not np.isfinite(scores).all():  # as they are wherever X is not finite
                assert_all_finite(block, input_name="X")
            np.greater_equal(scores, 0, out=bits[start : start + _BLOCK])
        return bits

    def decision_function(self, X) -> np.ndarray:
        """Score each row for each bit; the bit is 1 where the score is 0 or more.

        How far a score is from 0 says how sure its bit is, for query-directed probing.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            As for `transform`.

        Returns
        -------
        ndarray of float, shape (n_samples, n_bits)

        Raises
        ------
        ValueError
            As `transform`.
        """
        check_is_fitted(self)
        X = self._validate(X, reset=False)
        assert_all_finite(X, input_name="X")
        return self._scores(X)

    def score(self, X, y) -> float:
        """Mean average precision of the rows of X, ranked for each of them by Hamming distance.

        Scikit-learn's searches and cross-validation use it where no scorer is given.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Class labels. A row is in its own ranking, which is the same for all hashers.

        Returns
        -------
        float
            A value in [0, 1], see `mean_average_precision`.

        Raises
        ------
        ValueError
            As `transform` and `mean_average_precision`.
        """
        codes = self.transform(X)
        return mean_average_precision(codes, codes, y, y)

    def transform(self, X) -> np.ndarray:
        """Hash the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Vectors, normalised and centred like those given to `fit`. Hyperplanes encode float32
            in float32, everything else in float64.

        Returns
        -------
        ndarray of bool, shape (n_samples, n_bits)
            True where a row lies on the positive side of a hyperplane, or on it; for other
            learners, where they say +1. The sign of zero is +1.

        Raises
        ------
        ValueError
            If X is sparse, has another number of features than in `fit`, or has NaN or infinite
            entries.
        """
        check_is_fitted(self)
        return self._hash(self._validate(X, reset=False))


class LSH(_Hasher):
    """Locality-sensitive hashing by the signs of random projections.

    Each bit says on which side of a random hyperplane through the origin a vector lies. Two
    vectors at an angle θ agree in a bit with probability 1 − θ/π. Built by hand in chapter 2.

    Parameters
    ----------
    n_bits : int, default=16
        Number of hyperplanes, one per bit.
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
            If a parameter is out of range, or X is not a dense finite matrix.
        """
        check_whole("n_bits", self.n_bits, 1)
        X = self._validate(X, reset=True)
        rng = check_random_state(self.random_state)
        self.coef_ = rng.standard_normal((self.n_bits, X.shape[1]))
        self.intercept_ = np.zeros(self.n_bits)
        return self


class ITQ(_Hasher):
    """Iterative quantisation: principal directions, rotated so that their signs lose little.

    With labels and ``supervised=True``, the directions of canonical correlation between vectors
    and classes take the place of the principal ones (ITQ-CCA).

    Parameters
    ----------
    n_bits : int, default=16
        Length of the code, at most the number of features.
    n_iter : int, default=50
        Rounds of the rotation; with 0 the directions stay as they are (PCAH).
    supervised : bool, default=False
        Use the labels.
    regularisation : float, default=1.0
        Added to the diagonal of both covariances before correlations are found, as a share of the
        mean variance of the features. Only for labels.
    random_state : int, RandomState instance or None, default=None
        Seed of the rotation that the rounds start from.

    Attributes
    ----------
    coef_, intercept_ : ndarray of float64, shapes (n_bits, n_features) and (n_bits,)
        The hyperplanes.
    n_features_in_ : int
        Number of features seen in `fit`.

    References
    ----------
    Y. Gong and S. Lazebnik, "Iterative quantization: a Procrustean approach to learning binary
    codes", CVPR 2011, doi:10.1109/CVPR.2011.5995432.

    Examples
    --------
    >>> import numpy as np
    >>> from grh_helpers import ITQ
    >>> X = np.array([[2.0, 0.1], [1.5, -0.1], [-2.0, 0.1], [-1.5, -0.1]])
    >>> codes = ITQ(n_bits=2, random_state=0).fit_transform(X)
    >>> (codes[0] != codes[2]).any()
    np.True_
    """

    def __init__(
        self,
        n_bits: int = 16,
        n_iter: int = 50,
        supervised: bool = False,
        regularisation: float = 1.0,
        random_state=None,
    ):
        self.n_bits = n_bits
        self.n_iter = n_iter
        self.supervised = supervised
        self.regularisation = regularisation
        self.random_state = random_state

    def fit(self, X, y=None) -> ITQ:
        """Find the directions and rotate them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training vectors.
        y : array-like of shape (n_samples,), optional
            Class labels, needed if `supervised`.

        Returns
        -------
        ITQ
            The estimator itself.

        Raises
        ------
        ValueError
            If a parameter is out of range, X is not a dense finite matrix, or labels are needed
            and missing or unusable.
        """
        X = self._validate(X, reset=True).astype(np.float64)
        check_whole("n_bits", self.n_bits, 1, X.shape[1])
        check_whole("n_iter", self.n_iter, 0)
        mean = X.mean(axis=0)
        X = X - mean
        covariance = X.T @ X / len(X)
        if self.supervised:
            directions = self._canonical(X, covariance, y)
        else:
            directions = eigh(covariance)[1][:, : -self.n_bits - 1 : -1]
        # An eigenvector has no sign of its own: its largest entry becomes positive on all machines.
        largest = np.abs(directions).argmax(axis=0)
        directions = directions * _as_signs(directions[largest, range(self.n_bits)] >= 0)
        projected, rotation = X @ directions, np.eye(self.n_bits)
        if self.n_iter:
            rng = check_random_state(self.random_state)
            rotation = np.linalg.qr(rng.standard_normal(rotation.shape))[0]
        for _ in range(self.n_iter):
            left, _, right = np.linalg.svd(projected.T @ _as_signs(projected @ rotation >= 0))
            rotation = left @ right
        self.coef_ = (directions @ rotation).T
        self.intercept_ = -self.coef_ @ mean
        return self

    def _canonical(self, X: np.ndarray, covariance: np.ndarray, y) -> np.ndarray:
        """Directions that correlate most with the classes, each as long as its correlation."""
        classes, members = _check_labels(y, len(X))
        centred = np.eye(len(classes))[members] - np.bincount(members) / len(X)
        ridge = self.regularisation * np.trace(covariance) / len(covariance)
        within = centred.T @ centred / len(X) + self.regularisation * np.eye(len(classes))
        cross = X.T @ centred / len(X)
        between = cross @ np.linalg.solve(within, cross.T)
        values, vectors = eigh(between, covariance + ridge * np.eye(len(covariance)))
        strongest = slice(None, -self.n_bits - 1, -1)
        return vectors[:, strongest] * np.sqrt(np.clip(values[strongest], 0, None))


class SVMs(MultiOutputMixin, _Hasher):
    """The paper's learner: one SVM per column of ±1 targets, all from one kernel matrix.

    Parameters
    ----------
    C : float, default=1.0
        Weight of the training errors.
    gamma : float or None, default=None
        Of the Gaussian kernel exp(-gamma |x - z|²); None makes the SVMs linear: hyperplanes.
    class_weight : "balanced" or None, default="balanced"
        Whether the two classes of a bit, −1 and +1, weigh the same, as in the paper.
    n_jobs : int or None, default=None
        Threads that train bits side by side.
    """

    def __init__(
        self,
        C: float = 1.0,
        gamma: float | None = None,
        class_weight: str | None = "balanced",
        n_jobs: int | None = None,
    ):
        self.C = C
        self.gamma = gamma
        self.class_weight = class_weight
        self.n_jobs = n_jobs

    def _kernel(self, X: np.ndarray, others: np.ndarray) -> np.ndarray:
        return X @ others.T if self.gamma is None else rbf_kernel(X, others, self.gamma)

    def fit(self, X: np.ndarray, targets: np.ndarray) -> SVMs:
        """Train an SVM for each column of `targets`, ±1, of shape (n_samples, n_bits)."""
        svm = SVC(C=self.C, kernel="precomputed", max_iter=_SVM_STEPS * len(X))
        svm.set_params(class_weight=self.class_weight)
        kernel = self._kernel(X, X)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # one below instead of one per bit
            svms = Parallel(n_jobs=self.n_jobs, prefer="threads")(
                delayed(clone(svm).fit)(kernel, target) for target in np.atleast_2d(targets.T)
            )
        if any(svm.fit_status_ for svm in svms):
            message = "The SVM stopped before it converged; scale each row to length 1 first."
            warnings.warn(message, ConvergenceWarning, stacklevel=2)
        self.rows_ = X
        self.coef_ = np.zeros((len(svms), len(X)))
        for weights, svm in zip(self.coef_, svms, strict=True):
            weights[svm.support_] = svm.dual_coef_[0]
        if self.gamma is None:
            self.coef_ = self.coef_ @ X
        self.intercept_ = np.array([svm.intercept_[0] for svm in svms])
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Scores, shape (n_samples, n_bits)."""
        return self._scores(X)

    def _scores(self, X: np.ndarray) -> np.ndarray:
        return super()._scores(X if self.gamma is None else self._kernel(X, self.rows_))


def class_codes(n_classes: int, n_bits: int, random_state=None) -> np.ndarray:
    """Give each class a code, all as far apart from each other as a greedy search can put them.

    From random codes on, the bit is flipped that lowers the sum over all pairs of 4 to the power
    of minus their Hamming distance most, until none lowers it: nearest pairs weigh most.

    Parameters
    ----------
    n_classes, n_bits : int
    random_state : int, RandomState instance or None, default=None
        Seed of the codes that the search starts from; the best of 20 is returned.

    Returns
    -------
    ndarray of bool, shape (n_classes, n_bits)

    References
    ----------
    T. G. Dietterich and G. Bakiri, "Solving multiclass learning problems via error-correcting
    output codes", JAIR 2, 1995, doi:10.1613/jair.105.

    Examples
    --------
    >>> class_codes(2, 4, random_state=0).sum(axis=0).tolist()
    [1, 1, 1, 1]
    """
    rng, found = check_random_state(random_state), []
    for _ in range(20):
        signs, gains = _as_signs(rng.random_sample((n_classes, n_bits)) < 0.5), -np.ones((1, 1))
        while gains.min() < 0:
            apart = (n_bits - signs @ signs.T) / 2
            np.fill_diagonal(apart, np.inf)
            near = 4.0 ** (apart.min() - apart)
            # Flipping a bit moves a code by 1 away from those with the same bit, 1 towards others.
            gains = near.sum(axis=1)[:, None] * 1.125 - 1.875 * signs * (near @ signs)
            gains = gains.round(9)  # so that a flip does not depend on the order of a sum
            if gains.min() < 0:
                signs.flat[gains.argmin()] *= -1
        found.append((apart.min(), -near.sum().round(9), -len(found), signs > 0))
    return max(found)[-1]


class _ClassCodes(BaseEstimator):
    """A start that gives each row the code of its class."""

    def __init__(self, n_bits: int, random_state):
        self.n_bits = n_bits
        self.random_state = random_state

    def fit(self, X, y) -> _ClassCodes:
        classes, self.members = _check_labels(y, len(X))
        self.codes = class_codes(len(classes), self.n_bits, self.random_state)
        return self

    def transform(self, X) -> np.ndarray:
        return self.codes[self.members]


def graph_step(
    bits, initial_bits, neighbours_mean: Callable, alpha: float, regularise: str = "initial"
) -> np.ndarray:
    """Step A of GRH: pull each bit towards the mean of its neighbours' bits.

    Built by hand in chapter 4.

    Parameters
    ----------
    bits, initial_bits : array-like of shape (n_samples, n_bits), bool or 0/1 integers
        The current bits and those that the whole procedure started from.
    neighbours_mean : callable
        Maps signs (n_samples, n_bits) to the neighbours' mean signs of the same shape.
    alpha : float
        Weight of the neighbours, between 0 and 1.
    regularise : {"current", "initial", "sign-first"}
        What the mean is blended with. "current": the bits of the round before, as in equation 1 of
        the paper. "initial": the bits of the start, as in the author's thesis and MATLAB code.
        "sign-first": sgn(α·sgn(mean) + (1 − α)·current), as in the author's tutorial, which
        changes no bit for α < ½. In the first round the first two are the same.

    Returns
    -------
    ndarray of bool, shape (n_samples, n_bits)
        The regularised bits. The sign of zero is +1, as in the MATLAB code; the paper says −1.

    Raises
    ------
    ValueError
        If `alpha` or `regularise` is none of these, or the bits hold anything but 0 and 1.

    Examples
    --------
    Three rows, all neighbours of each other; the third disagrees with a mean of 1/3, and a bit
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
    if not isinstance(alpha, Real) or not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be a number between 0 and 1, got {alpha!r}.")
    current, initial = _as_signs(bits), _as_signs(initial_bits)
    mean = neighbours_mean(current)
    if regularise == "sign-first":
        mean = _as_signs(mean >= 0)
    elif regularise not in ("current", "initial"):
        names = '"current", "initial" or "sign-first"'
        raise ValueError(f"regularise must be {names}, got {regularise!r}.")
    return alpha * mean + (1 - alpha) * (initial if regularise == "initial" else current) >= 0


def _as_signs(bits) -> np.ndarray:
    """Bits as the -1.0 and +1.0 of the papers' algebra."""
    bits = np.asarray(bits)
    if bits.dtype != bool and not np.isin(bits, (0, 1)).all():
        raise ValueError("Bits must be bool or the integers 0 and 1, got others; use signs >= 0.")
    return np.where(bits, 1.0, -1.0)


class GRH(_Hasher):
    """Graph Regularised Hashing: hash functions learned from labels or from a similarity graph.

    Starting from the bits of `init`, repeat `n_iter` times: (A) pull each bit towards the mean
    of its neighbours in the graph; (B) train one classifier per bit on the result and replace
    the bits by its predictions. The classifiers of the last round are the hash functions. A bit
    that step A makes equal for all rows gets a fresh random hyperplane. Built by hand in chapter 4.

    Parameters
    ----------
    n_bits : int, default=16
        Length of the code.
    alpha : float, default=1.0
        Weight of the graph in step A, between 0 and 1. A bit whose neighbours' mean is m flips
        only if alpha > 1 / (1 + |m|), so alpha < 0.5 never changes a bit. The default was chosen
        on images that no reported figure uses (`benchmarks/choose_defaults.py`).
    n_iter : int, default=1
        Rounds of steps A and B, chosen likewise: with alpha = 1 a second round fills buckets but
        does not rank better.
    learner : {"svm", "ridge", "kernel"} or a scikit-learn estimator, default="svm"
        What step B trains. "svm": the paper's linear SVM (C=1, with intercept), all bits from
        one Gram matrix, both classes of a bit weighing the same, for rows of length near one; see
        `SVMs`, which can leave out the weights and takes a Gaussian kernel. "ridge": linear ridge
        regression, which needs no n×n matrix. "kernel": ridge regression with a Gaussian kernel,
        for rows of length near one; its two numbers were chosen by `benchmarks/choose_defaults.py`.
        A classifier or regressor that takes several outputs is fitted once for all bits, any other
        once per bit.
    init : {"lsh", "itq-cca", "max-min"} or a hashing estimator, default="lsh"
        Where the bits start: random hyperplanes; `ITQ` with labels; or one code per class, all far
        apart (`class_codes`). An estimator is cloned, fitted, and must return `n_bits` bits.
    regularise : {"current", "initial", "sign-first"}, default="initial"
        Which form of step A, see `graph_step`.
    random_state : int, RandomState instance or None, default=None
        Seed. ``GRH(random_state=s)`` starts from the bits of ``LSH(random_state=s)``.
    n_jobs : int or None, default=None
        Threads that train bits side by side; the result does not depend on it.

    Attributes
    ----------
    learners_ : list of (ndarray of int, estimator)
        The fitted models, each with the bits that it decides. A fitted `LSH` decides the bits
        that got random hyperplanes.
    coef_, intercept_ : ndarray of float64, shapes (n_bits, n_features) and (n_bits,)
        The hyperplanes, if all learners are linear models.
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
        learner="svm",
        init="lsh",
        regularise: str = "initial",
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
            Class labels: rows of a class are neighbours. The n×n graph is never built, since
            its neighbours' mean is the mean of each class.
        graph : sparse or dense matrix of shape (n_samples, n_samples), optional
            Similarities >= 0 instead of labels; row i holds the neighbours of row i of X, and
            their mean is weighted by it (D⁻¹S in place of labels).

        Returns
        -------
        GRH
            The estimator itself.

        Raises
        ------
        ValueError
            If a parameter is out of range; X is not a dense finite matrix; X and y differ in
            length; y has no two classes, or a row without a label; both or neither of y and graph
            are given; the graph has the wrong shape, negative or missing weights, or a node
            without neighbours; or the learner runs out of memory.

        Warns
        -----
        ConvergenceWarning
            If the SVM's solver gives up, as it does on vectors of great length.
        """
        check_whole("n_bits", self.n_bits, 1)
        check_whole("n_iter", self.n_iter, 1)
        X = self._validate(X, reset=True)
        neighbours_mean = self._neighbours_mean(len(X), y, graph)
        rng = check_random_state(self.random_state)
        initial_bits = bits = self._initial_bits(X, y, rng)
        flips = []
        for _ in range(self.n_iter):
            targets = graph_step(bits, initial_bits, neighbours_mean, self.alpha, self.regularise)
            flips.append(np.mean(targets != bits))
            self.learners_ = self._learn(X, targets, rng)
            bits = self._hash(X)
        self.flips_ = np.array(flips)
        self.train_bits_ = targets
        return self

    def _neighbours_mean(self, n: int, y, graph) -> Callable:
        """Return the function that averages signs over each row's neighbours."""
        if y is None and graph is None:
            message = "GRH requires y to be passed, but the target y is None; pass it or a graph."
            raise ValueError(message)
        if y is not None and graph is not None:
            raise ValueError("Pass class labels as y or a similarity matrix as graph, not both.")
        if graph is not None:
            return _graph_mean(n, graph)
        self.classes_, members = _check_labels(y, n)
        # A sparse one-hot matrix: summing the ±1 of each class is exact, so ties are exact too.
        membership = csr_array((np.ones(n), members, np.arange(n + 1)))
        sizes = np.bincount(members)[:, None]
        return lambda signs: ((membership.T @ signs) / sizes)[members]

    def _initial_bits(self, X: np.ndarray, y, rng: np.random.RandomState) -> np.ndarray:
        named = {
            "lsh": LSH(self.n_bits, rng),
            "itq-cca": ITQ(self.n_bits, supervised=True, random_state=rng),
            "max-min": _ClassCodes(self.n_bits, rng),
        }
        start = _choose("init", self.init, named, "transform")
        if start is self.init:
            start = _seeded(start, rng)
        bits = np.asarray(start.fit(X, y).transform(X))
        if bits.shape != (len(X), self.n_bits) or bits.dtype != bool:
            got = f"{bits.dtype} of shape {bits.shape}"
            raise ValueError(f"init must give {self.n_bits} bool bits per row, got {got}.")
        return bits

    def _learn(self, X: np.ndarray, targets: np.ndarray, rng: np.random.RandomState) -> list:
        """Step B: return models that predict the targets, each with the bits that it decides."""
        kernel = KernelRidge(kernel="rbf", gamma=4.0, alpha=0.1)
        named = {"svm": SVMs(n_jobs=self.n_jobs), "ridge": Ridge(alpha=1.0), "kernel": kernel}
        learner = _choose("learner", self.learner, named, "predict")
        constant = (targets == targets[0]).all(axis=0)
        fresh, varying = np.flatnonzero(constant), np.flatnonzero(~constant)
        drawn = [(fresh, LSH(len(fresh), rng).fit(X))] if len(fresh) else []
        tags = get_tags(learner)
        only_many = not tags.target_tags.single_output  # such as MultiOutputClassifier
        many = getattr(tags.classifier_tags, "multi_label", tags.target_tags.multi_output)
        # One fit for all bits where the learner takes several outputs, otherwise one per bit.
        groups = [varying] if (many or only_many) and len(varying) else varying[:, None]
        labels = targets.astype(int) if is_classifier(learner) else _as_signs(targets)
        columns = [labels[:, bits] if only_many else labels[:, bits].squeeze() for bits in groups]
        try:
            fitted = Parallel(n_jobs=self.n_jobs, prefer="threads")(
                delayed(_seeded(learner, rng).fit)(X, column) for column in columns
            )
        except MemoryError as error:
            message = 'There is too little memory for this learner; use "ridge" or fewer rows.'
            raise ValueError(message) from error
        return drawn + list(zip(groups, fitted, strict=True))

    def _scores(self, X: np.ndarray) -> np.ndarray:
        hashers = [model for _, model in self.learners_ if isinstance(model, _Hasher)]
        linear = all(getattr(model, "gamma", None) is None for model in hashers)
        if linear and len(hashers) == len(self.learners_):  # one product for all bits
            return super()._scores(X)
        scores = np.empty((len(X), self._n_features_out))
        for bits, model in self.learners_:
            scores[:, bits] = _predict(model, X)
        return scores

    _n_features_out = property(lambda self: sum(len(bits) for bits, _ in self.learners_))

    def _stacked(self, name: str, *shape: int) -> np.ndarray:
        rows = np.empty(shape)
        for bits, model in self.learners_:
            rows[bits] = getattr(model, name)
        return rows

    @property
    def coef_(self) -> np.ndarray:
        """The hyperplanes' normal vectors, row by row from the models that decide the bits."""
        return self._stacked("coef_", self._n_features_out, self.n_features_in_)

    @property
    def intercept_(self) -> np.ndarray:
        """The hyperplanes' offsets, likewise."""
        return self._stacked("intercept_", self._n_features_out)


def _check_labels(y, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes and, for each row, the number of its class."""
    if y is None:
        raise ValueError("This hasher learns from labels; pass y, one class label per row of X.")
    y = column_or_1d(y, warn=True)
    if len(y) != n:
        raise ValueError(f"y must have one label per row of X, {n}, got {len(y)}.")
    assert_all_finite(y, input_name="y")
    try:
        classes, members = np.unique(y, return_inverse=True)
    except TypeError as error:  # there is no order between them
        raise ValueError("Labels must be all numbers or all strings, without None.") from error
    if len(classes) < 2:
        raise ValueError(f"y must hold two classes or more, got one class: {classes[0]}.")
    return classes, members


def _graph_mean(n: int, graph) -> Callable:
    graph = csr_array(graph, dtype=np.float64)
    if graph.shape != (n, n):
        raise ValueError(f"graph must have the shape ({n}, {n}) for {n} rows, got {graph.shape}.")
    if not (np.isfinite(graph.data) & (graph.data >= 0)).all():
        raise ValueError("graph must have weights that are finite and not negative.")
    degrees = graph.sum(axis=1)
    alone = np.flatnonzero(degrees == 0)
    if len(alone):
        raise ValueError(f"There is no neighbour of row {alone[0]}; connect it, if only to itself.")
    return lambda signs: (graph @ signs) / degrees[:, None]


def _predict(model, X: np.ndarray) -> np.ndarray:
    """Scores of a model of `GRH.learners_`, a column per bit; the bit is 1 from 0 upwards."""
    if isinstance(model, _Hasher):
        return model._scores(X.astype(float))  # in the precision of the other learners' scores
    assert_all_finite(X, input_name="X")  # some learners would not mind
    scores = np.asarray(model.predict(X), dtype=float).reshape(len(X), -1)
    return scores - 0.5 if is_classifier(model) else scores


def _choose(name: str, value, named: dict, method: str):
    """Return the estimator that a parameter names, or is."""
    if isinstance(value, str) and value in named:
        return named[value]
    if isinstance(value, type) or not hasattr(value, method):
        names = ", ".join(f'"{key}"' for key in named)
        raise ValueError(f"{name} must be {names} or a scikit-learn estimator, got {value!r}.")
    return value


def _seeded(estimator, rng: np.random.RandomState):
    """Clone an estimator and give a seed to every random_state that it leaves open."""
    copy = clone(estimator)
    for name, value in sorted(copy.get_params().items()):
        if name.split("__")[-1] == "random_state" and value is None:
            copy.set_params(**{name: rng.randint(np.iinfo(np.int32).max)})
    return copy
