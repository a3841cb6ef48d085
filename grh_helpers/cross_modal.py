"""One code for two views: a word finds pictures, and a picture finds words."""

from __future__ import annotations

import numpy as np
from scipy.sparse import eye_array
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted

from grh_helpers.hashing import GRH

__all__ = ["CrossModalGRH"]


class CrossModalGRH(TransformerMixin, BaseEstimator):
    """Regularised cross-modal hashing: bits learned on texts, which pictures learn to predict.

    `GRH` learns codes of the texts. The smoothed bits of each training text then are the targets
    of a second set of classifiers, which see its picture. Both views so share one Hamming space.

    Parameters
    ----------
    n_bits : int, default=32
        Length of the code.
    alpha, n_iter
        As for `GRH`, which learns the text view.
    learner : {"svm", "ridge", "kernel"} or a scikit-learn estimator, default="kernel"
        What the image view trains, see `GRH`. The paper trains linear SVMs in both views.
    text_learner : {"svm", "ridge", "kernel"} or a scikit-learn estimator, default="ridge"
        What the text view trains.
    init : {"lsh", "itq-cca", "max-min"} or a hashing estimator, default="lsh"
        Where the bits of the texts start, see `GRH`; random hyperplanes, as in the paper.
    random_state : int, RandomState instance or None, default=None
        Seed.

    Attributes
    ----------
    text_, image_ : GRH
        The fitted hashers of the two views.
    train_bits_ : ndarray of bool, shape (n_samples, n_bits)
        The code of each training pair, the target of both views.

    References
    ----------
    S. Moran and V. Lavrenko, "Regularised Cross-Modal Hashing", SIGIR 2015,
    doi:10.1145/2766462.2767816.

    Examples
    --------
    >>> import numpy as np
    >>> from grh_helpers import CrossModalGRH
    >>> pictures = np.array([[1.0, 0.1], [0.9, -0.1], [-1.0, 0.1], [-0.9, -0.1]])
    >>> texts = np.array([[0.0, 1.0], [0.1, 0.9], [0.0, -1.0], [0.1, -0.9]])
    >>> hasher = CrossModalGRH(n_bits=4, random_state=0).fit(pictures, texts, [0, 0, 1, 1])
    >>> bool((hasher.transform(pictures) == hasher.transform(texts, view="text")).all())
    True
    """

    def __init__(
        self,
        n_bits: int = 32,
        alpha: float = 1.0,
        n_iter: int = 1,
        learner="kernel",
        text_learner="ridge",
        init="lsh",
        random_state=None,
    ):
        self.n_bits = n_bits
        self.alpha = alpha
        self.n_iter = n_iter
        self.learner = learner
        self.text_learner = text_learner
        self.init = init
        self.random_state = random_state

    def fit(self, X_image, X_text, y=None, graph=None) -> CrossModalGRH:
        """Learn the hash functions of both views from pairs, row i of one with row i of the other.

        Parameters
        ----------
        X_image : array-like of shape (n_samples, n_image_features)
            Vectors of the pictures.
        X_text : array-like of shape (n_samples, n_text_features)
            Vectors of their texts.
        y : array-like of shape (n_samples,), optional
            Class labels: pairs of a class are neighbours.
        graph : sparse or dense matrix of shape (n_samples, n_samples), optional
            Similarities >= 0 instead of labels. With neither, a pair has itself as its only
            neighbour: pictures learn the bits that their texts start from.

        Returns
        -------
        CrossModalGRH
            The estimator itself.

        Raises
        ------
        ValueError
            If the views differ in length, or as `GRH.fit`.
        """
        X_image, X_text = check_array(X_image), check_array(X_text)
        if len(X_image) != len(X_text):
            sizes = f"{len(X_image)} pictures and {len(X_text)} texts"
            raise ValueError(f"X_image and X_text must have a row per pair each, got {sizes}.")
        if y is None and graph is None:
            graph = eye_array(len(X_text), format="csr")
        rng = check_random_state(self.random_state)
        self.text_ = GRH(self.n_bits, self.alpha, self.n_iter, self.text_learner, self.init)
        self.text_.set_params(random_state=rng).fit(X_text, y, graph)
        bits = self.text_.train_bits_
        constant = (bits == bits[0]).all(axis=0)  # these got random hyperplanes in the text view
        self.train_bits_ = np.where(constant, self.text_.transform(X_text), bits)
        # With alpha = 0 step A leaves the bits as they are, so the picture's labels play no role.
        self.image_ = GRH(self.n_bits, 0.0, 1, self.learner, _Given(self.train_bits_))
        own = eye_array(len(X_image), format="csr")
        self.image_.set_params(random_state=rng).fit(X_image, graph=own)
        return self

    def _hasher(self, view: str) -> GRH:
        check_is_fitted(self)
        if view not in ("image", "text"):
            raise ValueError(f'view must be "image" or "text", got {view!r}.')
        return self.image_ if view == "image" else self.text_

    def transform(self, X, view: str = "image") -> np.ndarray:
        """Hash rows of one view.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Vectors of that view.
        view : {"image", "text"}, default="image"
            Which view they are of.

        Returns
        -------
        ndarray of bool, shape (n_samples, n_bits)

        Raises
        ------
        ValueError
            If there is no such view, or as `GRH.transform`.
        """
        return self._hasher(view).transform(X)

    def decision_function(self, X, view: str = "image") -> np.ndarray:
        """Score each row of one view for each bit; the bit is 1 where the score is 0 or more.

        Parameters, shapes and errors are those of `transform`; the scores are float.
        """
        return self._hasher(view).decision_function(X)


class _Given(TransformerMixin, BaseEstimator):
    """Initial bits that are known."""

    def __init__(self, bits: np.ndarray):
        self.bits = bits

    def fit(self, X, y=None) -> _Given:
        return self

    def transform(self, X) -> np.ndarray:
        return self.bits
