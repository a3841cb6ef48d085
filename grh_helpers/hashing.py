"""Hash functions as scikit-learn estimators: random hyperplanes (LSH), learned ones (ITQ, GRH)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from numbers import Real

import numpy as np
from scipy.linalg import eigh, orthogonal_procrustes
from scipy.sparse import csr_array, issparse
from scipy.sparse.linalg import aslinearoperator
from sklearn.base import BaseEstimator, MultiOutputMixin, TransformerMixin, clone, is_classifier
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.svm import SVC
from sklearn.utils import assert_all_finite, check_array, check_random_state, gen_batches, get_tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from grh_helpers.codes import check_codes, check_whole
from grh_helpers.evaluation import mean_average_precision

__all__ = ["GRH", "ITQ", "LSH", "SVMs", "class_codes", "graph_step"]

_SVM_STEPS = 100  # solver steps per row before it gives up; normalised vectors need five at most
_BLOCK = 1024  # rows encoded at a time: few enough to stay in the cache from check to product


class _Hasher(TransformerMixin, BaseEstimator):
    """What all hashers share: checked input, and bits that are the signs of scores.

    The scores are those of the hyperplanes coef_ and intercept_; a subclass finds them.
    """

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # bool comes out, whatever goes in
        return tags

    def _validate(self, X, *, reset: bool) -> np.ndarray:
        if issparse(X):
            raise ValueError("X must be dense, got a sparse matrix; use TruncatedSVD first.")
        # When encoding, _blocks looks for NaN and infinity while the rows are in the cache anyway.
        return validate_data(self, X, reset=reset, dtype=["f8", "f4"], ensure_all_finite=reset)

    def _scores(self, X: np.ndarray) -> np.ndarray:
        """Distance from each hyperplane times the length of its normal, in the precision of X."""
        return X @ self.coef_.T.astype(X.dtype) + self.intercept_.astype(X.dtype)

    def _blocks(self, X) -> Iterator[np.ndarray]:
        """Check X and yield its scores, some rows at a time."""
        check_is_fitted(self)
        X = self._validate(X, reset=False)
        for rows in gen_batches(len(X), _BLOCK):
            assert_all_finite(X[rows], input_name="X")
            yield self._scores(X[rows])

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
        return np.vstack(list(self._blocks(X)))

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
        return np.vstack([scores >= 0 for scores in self._blocks(X)])


@dataclass(eq=False, repr=False)
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

    n_bits: int = 16
    random_state: int | np.random.RandomState | None = None

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


@dataclass(eq=False, repr=False)
class ITQ(_Hasher):
    """Iterative quantisation: principal directions, rotated so that their signs lose little.

    Built by hand in chapter 9.

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

    n_bits: int = 16
    n_iter: int = 50
    supervised: bool = False
    regularisation: float = 1.0
    random_state: int | np.random.RandomState | None = None

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
            directions = eigh(covariance)[1][:, : -int(self.n_bits) - 1 : -1]
        # An eigenvector has no sign of its own: its largest entry becomes positive on all machines.
        largest = np.abs(directions).argmax(axis=0)
        directions = directions * _as_signs(directions[largest, range(self.n_bits)] >= 0)
        projected, rotation = X @ directions, np.eye(self.n_bits)
        if self.n_iter:
            rng = check_random_state(self.random_state)
            rotation = np.linalg.qr(rng.standard_normal(rotation.shape))[0]
        for _ in range(self.n_iter):
            rotation, _ = orthogonal_procrustes(projected, _as_signs(projected @ rotation >= 0))
        self.coef_ = (directions @ rotation).T
        self.intercept_ = -self.coef_ @ mean
        return self

    def _canonical(self, X: np.ndarray, covariance: np.ndarray, y) -> np.ndarray:
        """Directions that correlate most with the classes, each as long as its correlation."""
        classes, members = _check_labels(X, y)
        centred = np.eye(len(classes))[members] - np.bincount(members) / len(X)
        ridge = self.regularisation * np.trace(covariance) / len(covariance)
        within = centred.T @ centred / len(X) + self.regularisation * np.eye(len(classes))
        cross = X.T @ centred / len(X)
        between = cross @ np.linalg.solve(within, cross.T)
        values, vectors = eigh(between, covariance + ridge * np.eye(len(covariance)))
        strongest = slice(None, -int(self.n_bits) - 1, -1)
        return vectors[:, strongest] * np.sqrt(np.clip(values[strongest], 0, None))


@dataclass(eq=False, repr=False)
class SVMs(MultiOutputMixin, _Hasher):
    """The paper's learner: one SVM per column of ±1 targets, all from one kernel matrix.

    Built by hand, a support vector machine per bit, in chapter 4.

    Parameters
    ----------
    C : float, default=1.0
        Weight of the training errors.
    gamma : float or None, default=None
        Of the Gaussian kernel exp(-gamma |x - z|²); None makes the SVMs linear: hyperplanes.
    class_weight : "balanced" or None, default="balanced"
        Whether the two classes of a bit, −1 and +1, weigh the same, as in the paper.
    """

    C: float = 1.0
    gamma: float | None = None
    class_weight: str | None = "balanced"

    def _kernel(self, X: np.ndarray, others: np.ndarray) -> np.ndarray:
        return X @ others.T if self.gamma is None else rbf_kernel(X, others, self.gamma)

    def fit(self, X: np.ndarray, targets: np.ndarray) -> SVMs:
        """Train an SVM for each column of `targets`, ±1, of shape (n_samples, n_bits)."""
        kernel = self._kernel(X, X)
        svm = SVC(C=self.C, kernel="precomputed", class_weight=self.class_weight)
        svm.set_params(max_iter=_SVM_STEPS * len(X))
        svms = [clone(svm).fit(kernel, target) for target in np.atleast_2d(targets.T)]
        weights = np.zeros((len(svms), len(X)))  # of each row in each normal
        for row, svm in zip(weights, svms, strict=True):
            row[svm.support_] = svm.dual_coef_[0]
        self.rows_ = X
        self.coef_ = weights @ X if self.gamma is None else weights
        self.intercept_ = np.hstack([svm.intercept_ for svm in svms])
        return self

    predict = _Hasher.decision_function

    def _scores(self, X: np.ndarray) -> np.ndarray:
        return super()._scores(X if self.gamma is None else self._kernel(X, self.rows_))


def class_codes(n_classes: int, n_bits: int, random_state=None) -> np.ndarray:
    """Give each class a code, all as far apart from each other as a greedy search can put them.

    Explained in chapter 5.

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


_KERNEL = KernelRidge(kernel="rbf", gamma=4.0, alpha=0.1)  # by benchmarks/choose_defaults.py
_LEARNERS = {"svm": SVMs(), "ridge": Ridge(alpha=1.0), "kernel": _KERNEL}


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
    if regularise not in ("current", "initial", "sign-first"):
        raise ValueError(f'regularise is "current", "initial" or "sign-first", not {regularise!r}.')
    current, initial = _as_signs(check_codes(bits)), _as_signs(check_codes(initial_bits))
    mean = neighbours_mean(current)
    if regularise == "sign-first":
        mean = _as_signs(mean >= 0)
    own = initial if regularise == "initial" else current
    return alpha * mean + (1 - alpha) * own >= 0


def _as_signs(bits: np.ndarray) -> np.ndarray:
    """Bits as the -1.0 and +1.0 of the papers' algebra."""
    return np.where(bits, 1.0, -1.0)


@dataclass(eq=False, repr=False)
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

    n_bits: int = 16
    alpha: float = 1.0
    n_iter: int = 1
    learner: str | BaseEstimator = "svm"
    init: str | BaseEstimator = "lsh"
    regularise: str = "initial"
    random_state: int | np.random.RandomState | None = None

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
            If the SVM's solver gives up, as it does on vectors of great length; scale them.
        """
        check_whole("n_bits", self.n_bits, 1)
        check_whole("n_iter", self.n_iter, 1)
        vectors = self._validate(X, reset=True)
        mean = self._neighbours_mean(vectors, y, graph)
        rng = check_random_state(self.random_state)
        initial_bits = self._initial_bits(vectors, y, rng)
        self.flips_ = np.empty(self.n_iter)
        for i in range(self.n_iter):
            bits = self.decision_function(X) >= 0 if i else initial_bits
            # Step A: pull each bit towards the mean of its neighbours.
            targets = graph_step(bits, initial_bits, mean, self.alpha, self.regularise)
            self.flips_[i] = np.mean(targets != bits)
            # Step B: train a hash function for each bit.
            self._learn(vectors, targets, rng)
        return self

    def _neighbours_mean(self, X: np.ndarray, y, graph) -> Callable:
        """Return the function that averages signs over each row's neighbours."""
        if graph is None:
            self.classes_, members = _check_labels(X, y)
            one_hot = csr_array((np.ones(len(X)), members, np.arange(len(X) + 1)))
            # The n×n matrix of all pairs of a class is never built: SciPy keeps the two factors.
            graph = aslinearoperator(one_hot) @ aslinearoperator(one_hot.T)
        elif y is not None:
            raise ValueError("Pass class labels as y or a similarity matrix as graph, not both.")
        else:
            checks = {"accept_sparse": "csr", "ensure_non_negative": True, "input_name": "graph"}
            graph = check_array(graph, dtype=np.float64, **checks)
        if graph.shape != (len(X), len(X)):
            raise ValueError(f"graph must be an n×n matrix for {len(X)} rows, got {graph.shape}.")
        degrees = graph @ np.ones((len(X), 1))
        if not degrees.all():
            raise ValueError(f"Graph row {degrees.argmin()} has no neighbour; link it to itself.")
        return lambda signs: (graph @ signs) / degrees

    def _initial_bits(self, X: np.ndarray, y, rng: np.random.RandomState) -> np.ndarray:
        if self.init == "max-min":
            classes, members = _check_labels(X, y)
            return class_codes(len(classes), self.n_bits, rng)[members]
        if self.init == "lsh":
            start = LSH(self.n_bits, rng)
        elif self.init == "itq-cca":
            start = ITQ(self.n_bits, supervised=True, random_state=rng)
        elif hasattr(self.init, "transform") and not isinstance(self.init, type):
            start = _seeded(self.init, rng)
        else:
            raise ValueError(f'No init {self.init}; use a hasher, "lsh", "itq-cca" or "max-min".')
        bits = np.asarray(start.fit(X, y).transform(X))
        if bits.shape != (len(X), self.n_bits):
            raise ValueError(f"init must give {self.n_bits} bits per row, got shape {bits.shape}.")
        return bits

    def _learn(self, X: np.ndarray, targets: np.ndarray, rng: np.random.RandomState) -> None:
        """Step B: train models that predict the targets, and keep each with the bits it decides."""
        learner = _LEARNERS.get(self.learner, self.learner)
        if isinstance(learner, type) or not hasattr(learner, "predict"):
            raise ValueError(f'No learner {learner}; use an estimator, "svm", "ridge" or "kernel".')
        # A bit that is equal for all rows has nothing to learn: it gets a random hyperplane.
        constant = (targets == targets[0]).all(axis=0)
        fresh, varying = np.flatnonzero(constant), np.flatnonzero(~constant)
        models = [(fresh, LSH(len(fresh), rng).fit(X))] if len(fresh) else []
        tags = get_tags(learner)
        only_many = not tags.target_tags.single_output  # such as MultiOutputClassifier
        many = getattr(tags.classifier_tags, "multi_label", tags.target_tags.multi_output)
        # One fit for all bits where the learner takes several outputs, otherwise one per bit.
        groups = [varying] if (many or only_many) and len(varying) else varying[:, None]
        labels = targets.astype(int) if is_classifier(learner) else _as_signs(targets)
        try:
            for bits in groups:
                column = labels[:, bits] if only_many else labels[:, bits].squeeze()
                models.append((bits, _seeded(learner, rng).fit(X, column)))
        except MemoryError as error:
            raise ValueError('Too little memory; use learner="ridge" or fewer rows.') from error
        self.learners_, self.train_bits_ = models, targets

    def _scores(self, X: np.ndarray) -> np.ndarray:
        scores = np.empty((len(X), self.train_bits_.shape[1]))
        for bits, model in self.learners_:
            if isinstance(model, _Hasher):
                scores[:, bits] = model._scores(X)
            else:  # a classifier predicts 0 or 1, a regressor something between -1 and 1
                zero = 0.5 if is_classifier(model) else 0.0
                scores[:, bits] = np.reshape(model.predict(X) - zero, (len(X), -1))
        return scores

    def _stacked(self, name: str) -> np.ndarray:
        rows = [np.reshape(getattr(model, name), (len(bits), -1)) for bits, model in self.learners_]
        order = np.argsort(np.concatenate([bits for bits, _ in self.learners_]))
        return np.concatenate(rows)[order]

    coef_ = property(lambda self: self._stacked("coef_"))
    intercept_ = property(lambda self: self._stacked("intercept_").ravel())


def _check_labels(X: np.ndarray, y) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes and, for each row of X, the number of its class."""
    if y is None:
        raise ValueError("Labels are missing; pass one for each row of X as y, or a graph to GRH.")
    y = column_or_1d(y, warn=True)
    if len(X) != len(y):
        raise ValueError(f"X has {len(X)} rows but y has {len(y)}; give one label for each row.")
    assert_all_finite(y, input_name="y")
    try:
        classes, members = np.unique(y, return_inverse=True)
    except TypeError as error:  # there is no order between them
        raise ValueError("Labels must be all numbers or all strings, without None.") from error
    check_classification_targets(y)
    if len(classes) < 2:
        raise ValueError(f"y must hold two classes or more, got one class: {classes[0]}.")
    return classes, members


def _seeded(estimator, rng: np.random.RandomState):
    """Clone an estimator and give a seed to every random_state that it leaves open."""
    copy = clone(estimator)
    for name, value in sorted(copy.get_params().items()):
        if name.split("__")[-1] == "random_state" and value is None:
            copy.set_params(**{name: rng.randint(np.iinfo(np.int32).max)})
    return copy
