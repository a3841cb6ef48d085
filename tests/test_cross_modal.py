"""CrossModalGRH: two views, one Hamming space."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.preprocessing import normalize

from grh_helpers import GRH, CrossModalGRH, mean_average_precision


@pytest.fixture(scope="module")
def views():
    """Three classes seen in two views of different widths; the first 90 rows are for training."""
    rng = np.random.RandomState(0)
    y = np.arange(180) % 3
    image, text = (
        3 * rng.standard_normal((3, width))[y] + rng.standard_normal((180, width))
        for width in (8, 12)
    )
    return normalize(image), normalize(text), y


class Given(TransformerMixin, BaseEstimator):
    """A start from known bits."""

    def __init__(self, bits):
        self.bits = bits

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return self.bits


def fitted(views, rows=slice(90), **params):
    image, text, y = (view[rows] for view in views)
    return CrossModalGRH(16, random_state=0, **params).fit(image, text, y)


def test_each_view_finds_the_other(views):
    image, text, y = (view[90:] for view in views)
    hasher = fitted(views)
    codes = {"image": hasher.transform(image), "text": hasher.transform(text, view="text")}
    assert mean_average_precision(codes["text"], codes["image"], y, y) > 0.9
    assert mean_average_precision(codes["image"], codes["text"], y, y) > 0.9


def test_the_pairs_matter(views):
    image, text, y = views
    shuffled = np.random.RandomState(1).permutation(90)
    hasher = CrossModalGRH(16, random_state=0).fit(image[:90][shuffled], text[:90], y[:90])
    codes = hasher.transform(text[90:], view="text"), hasher.transform(image[90:])
    assert mean_average_precision(*codes, y[90:], y[90:]) < 0.6  # chance is a third


def test_equal_to_two_ridges_by_hand(views):
    image, text, y = (view[:90] for view in views)
    hasher = fitted(views, learner="ridge")
    # Start, class means and two regressions; step A with alpha = 1 is the sign of the mean.
    start = np.where(
        GRH(16, random_state=0)._initial_bits(text, y, np.random.RandomState(0)), 1, -1
    )
    means = np.array([start[y == c].mean(axis=0) for c in range(3)])[y]
    targets = np.where(means >= 0, 1.0, -1.0)
    varying = (targets != targets[0]).any(axis=0)
    assert varying.sum() > 5
    for view, X in {"image": image, "text": text}.items():
        scores = Ridge(alpha=1.0).fit(X, targets[:, varying]).predict(X)
        np.testing.assert_allclose(hasher.decision_function(X, view)[:, varying], scores)
        np.testing.assert_array_equal(hasher.transform(X, view)[:, varying], scores >= 0)


def test_the_picture_learns_the_bits_of_its_text(views):
    hasher = fitted(views)
    given = hasher.text_.train_bits_
    varying = (given != given[0]).any(axis=0)
    np.testing.assert_array_equal(hasher.train_bits_[:, varying], given[:, varying])
    # The picture's hasher is a GRH that starts from these bits and leaves them alone.
    alone = GRH(16, alpha=0, learner="kernel", init=Given(hasher.train_bits_), random_state=0)
    alone.fit(views[0][:90], graph=np.eye(90))
    learned = (hasher.train_bits_ != hasher.train_bits_[0]).any(axis=0)
    scores = [h.decision_function(views[0])[:, learned] for h in (hasher, alone)]
    np.testing.assert_array_equal(*scores)


def test_the_smoothed_bits_are_learned_not_the_predicted_ones(views):
    image, _, y = (view[:90] for view in views)
    noise = np.random.RandomState(2).standard_normal((90, 12))  # says nothing of the class
    hasher = CrossModalGRH(16, random_state=0).fit(image, noise, y)
    smoothed = hasher.text_.train_bits_
    varying = (smoothed != smoothed[0]).any(axis=0)
    assert (hasher.transform(noise, "text") != smoothed)[:, varying].any()
    np.testing.assert_array_equal(hasher.train_bits_[:, varying], smoothed[:, varying])


def test_a_constant_bit_is_shared_by_both_views(views):
    """Step A leaves a bit constant, the text view draws a hyperplane; pictures learn that one."""
    hasher = fitted(views)
    given = hasher.text_.train_bits_
    constant = (given == given[0]).all(axis=0)
    assert constant.any()
    text, image = hasher.transform(views[1], "text"), hasher.transform(views[0])
    assert (text == image)[:, constant].mean() > 0.7  # an unrelated hyperplane agrees by half


def test_pairs_without_labels_and_a_graph(views):
    image, text, y = views
    pairs = CrossModalGRH(16, random_state=0).fit(image[:90], text[:90])
    assert pairs.text_.flips_.tolist() == [0.0]  # a pair is its own only neighbour
    codes = pairs.transform(text[90:], "text"), pairs.transform(image[90:])
    assert mean_average_precision(*codes, y[90:], y[90:]) > 0.7
    graph = y[:90, None] == y[:90]
    by_graph = CrossModalGRH(16, random_state=0).fit(image[:90], text[:90], graph=graph)
    assert (by_graph.train_bits_ == fitted(views).train_bits_).all()


def test_same_seed_same_bits(views):
    once, again = fitted(views), clone(fitted(views)).fit(*(view[:90] for view in views))
    for view, X in zip(("image", "text"), views[:2], strict=True):
        np.testing.assert_array_equal(once.transform(X, view), again.transform(X, view))
    other = CrossModalGRH(16, random_state=1).fit(*(view[:90] for view in views))
    assert (once.train_bits_ != other.train_bits_).any()


def test_bad_input_is_one_clear_sentence(views):
    image, text, y = views
    with pytest.raises(ValueError, match="inconsistent numbers of samples: .180, 179"):
        CrossModalGRH().fit(image, text[1:], y)
    with pytest.raises(ValueError, match=r'view must be "image" or "text", got \'sound\'\.'):
        fitted(views).transform(image, view="sound")
    with pytest.raises(ValueError, match="8 features"):
        fitted(views).decision_function(text)
    with pytest.raises(ValueError, match="X has 180 rows but y has 179"):
        CrossModalGRH().fit(image, text, y[1:])
    with pytest.raises(ValueError, match="X must be dense.*use TruncatedSVD"):
        CrossModalGRH().fit(image, csr_array(text), y)
    with pytest.raises(NotFittedError):
        CrossModalGRH().transform(text, view="text")
    with pytest.raises(ValueError, match="n_bits must be"):
        CrossModalGRH(n_bits=0).fit(image, text, y)
