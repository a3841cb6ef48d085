"""One code for two views: a word finds pictures, and a picture finds words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import eye_array
from sklearn.base import BaseEstimator
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils.validation import check_is_fitted

from grh_helpers.hashing import GRH

__all__ = ["CrossModalGRH"]


@dataclass(eq=False, repr=False)
class CrossModalGRH(GRH):
    """Regularised cross-modal hashing: bits learned on texts, which pictures learn to predict.

    Built by hand in chapter 8.

    `GRH` learns codes of the texts. The smoothed bits of each training text then are the targets
    of a second set of classifiers, which see its picture. Both views so share one Hamming space.
    The estimator itself hashes pictures, as a `GRH` does; within it is the `GRH` of the texts.

    Parameters
    ----------
    n_bits : int, default=32
        Length of the code.
    alpha, n_iter, regularise
        As for `GRH`, which learns the text view.
    learner : {"svm", "ridge", "kernel"} or a scikit-learn estimator, default="kernel"
        What the image view trains, see `GRH`. The paper trains linear SVMs in both views.
    init : {"lsh", "itq-cca", "max-min"} or a hashing estimator, default="lsh"
        Where the bits of the texts start, see `GRH`; random hyperplanes, as in the paper.
    random_state : int, RandomState instance or None, default=None
        Seed.
    text_learner : {"svm", "ridge", "kernel"} or a scikit-learn estimator, default="ridge"
        What the text view trains.

    Attributes
    ----------
    text_ : GRH
        The fitted hasher of the texts.
    learners_, coef_, intercept_
        Of the hasher of the pictures, see `GRH`.
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

    n_bits: int = 32
    learner: str | BaseEstimator = "kernel"
    text_learner: str | BaseEstimator = "ridge"

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
        X_text = self._validate(X_text, reset=True)
        X_image = self._validate(X_image, reset=True)  # last, so that n_features_in_ is of pictures
        check_consistent_length(X_image, X_text)
        if y is None and graph is None:
            graph = eye_array(len(X_image), format="csr")
        rng = check_random_state(self.random_state)
        own = (self.n_bits, self.alpha, self.n_iter, self.text_learner, self.init, self.regularise)
        self.text_ = GRH(*own, random_state=rng).fit(X_text, y, graph)
        bits = self.text_.train_bits_
        constant = (bits == bits[0]).all(axis=0)  # these got random hyperplanes in the text view
        self._learn(X_image, np.where(constant, self.text_.transform(X_text), bits), rng)
        return self

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
        return self.decision_function(X, view) >= 0

    def decision_function(self, X, view: str = "image") -> np.ndarray:
        """Score each row of one view for each bit; the bit is 1 where the score is 0 or more.

        Parameters, shapes and errors are those of `transform`; the scores are float.
        """
        check_is_fitted(self)
        if view not in ("image", "text"):
            raise ValueError(f'view must be "image" or "text", got {view!r}.')
        return super().decision_function(X) if view == "image" else self.text_.decision_function(X)
