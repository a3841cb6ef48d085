"""LSH and GRH against plain loops, pencil arithmetic and scikit-learn's own checks."""

import os
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array, random_array
from sklearn.base import BaseEstimator, RegressorMixin, TransformerMixin, clone
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier, MultiOutputRegressor
from sklearn.neighbors import KNeighborsClassifier, kneighbors_graph
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, normalize
from sklearn.svm import SVC, LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from grh_helpers import GRH, ITQ, LSH, hashing, load_dataset, mean_average_precision
from grh_helpers.hashing import SVMs, class_codes, graph_step


@parametrize_with_checks([LSH(), ITQ(1), GRH(), GRH(learner="kernel"), GRH(learner=LinearSVC())])
def test_scikit_learn_compatible(estimator, check):
    try:
        check(estimator)
    except pytest.skip.Exception as skipped:
        pytest.fail(f"a check was skipped: {skipped}")


@pytest.fixture(scope="module")
def blobs():
    rng = np.random.default_rng(5)
    y = np.repeat([0, 1, 2], 40)
    centres = rng.standard_normal((3, 12))
    X = centres[y] + 0.6 * rng.standard_normal((120, 12))
    return X - X.mean(axis=0), y


# LSH ----------------------------------------------------------------------------------------------


def test_lsh_bits_are_the_signs_of_the_projections(blobs):
    X, _ = blobs
    planes = np.random.RandomState(3).standard_normal((5, 12))
    expected = [[sum(w * v for w, v in zip(plane, x, strict=True)) >= 0 for plane in planes]
                for x in X]  # fmt: skip
    bits = LSH(5, random_state=3).fit_transform(X)
    assert bits.dtype == bool
    assert bits.tolist() == expected


def test_a_vector_on_the_hyperplane_counts_as_positive():
    lsh = LSH(3, random_state=0).fit(np.ones((2, 4)))
    assert lsh.transform(np.zeros((1, 4))).all()


def test_collision_law():
    """P[bit equal] = 1 - angle/pi; 20,000 bits give a standard error below 0.0036."""
    angles = np.linspace(0, np.pi, 9)
    X = np.column_stack([np.cos(angles), np.sin(angles)])
    bits = LSH(20_000, random_state=1).fit_transform(X)
    agreement = (bits == bits[0]).mean(axis=1)
    np.testing.assert_allclose(agreement, 1 - angles / np.pi, atol=5 * 0.0036)
    assert agreement[0] == 1 and agreement[-1] == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_encoding_in_blocks_equals_encoding_at_once(dtype, monkeypatch):
    X = np.random.default_rng(0).standard_normal((1000, 20)).astype(dtype)
    lsh = LSH(7, random_state=0).fit(X)
    projections = X.astype(float) @ lsh.coef_.T
    clear = np.abs(projections) > 1e-4  # nearer to a plane, float32 may round either way
    monkeypatch.setattr("grh_helpers.hashing._BLOCK", 64)
    bits = lsh.transform(X)
    assert (bits == (projections >= 0))[clear].all()
    assert clear.mean() > 0.99


def test_encoding_takes_memory_maps_read_only_and_strided_arrays(tmp_path):
    X = np.random.default_rng(0).standard_normal((300, 16))
    lsh = LSH(9, random_state=0).fit(X)
    expected = lsh.transform(X)
    np.save(tmp_path / "x.npy", X)
    assert (lsh.transform(np.load(tmp_path / "x.npy", mmap_mode="r")) == expected).all()
    assert (lsh.transform(np.asfortranarray(X)) == expected).all()
    assert (lsh.transform(np.repeat(X, 2, axis=1)[:, ::2]) == expected).all()
    frozen = X.copy()
    frozen.flags.writeable = False
    assert (lsh.transform(frozen) == expected).all()


SEEDED = """
import numpy as np, hashlib
from grh_helpers import GRH, ITQ, LSH, load_dataset, mean_average_precision
X = np.random.RandomState(0).standard_normal((200, 30)); X -= X.mean(axis=0); X /= 6
y = np.arange(200) % 4
bits = [LSH(16, random_state=7).fit_transform(X), GRH(16, random_state=7).fit(X, y).transform(X)]
print(hashlib.sha256(np.packbits(np.hstack(bits)).tobytes()).hexdigest())
"""


def test_same_seed_same_bits_in_other_processes_with_other_numbers_of_threads():
    digests = set()
    for threads in ("1", "2"):
        env = {**os.environ, "OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
        out = subprocess.run([sys.executable, "-c", SEEDED], env=env, capture_output=True,
                             text=True, check=True)  # fmt: skip
        digests.add(out.stdout.strip())
    # The digest is part of the test: another machine must give the same bits, too.
    assert digests == {"c0ebc148ca9052e0de017ff1264fa07d271cc768b12801f376309a3057c1f5e5"}


def test_seeds_differ(blobs):
    X, y = blobs
    for make in (LSH, GRH):
        a, b = (make(16, random_state=s).fit(X, y).coef_ for s in (0, 1))
        assert not np.allclose(a, b)


# GRH: step A --------------------------------------------------------------------------------------


def naive_step_a(bits, initial, graph, alpha, regularise):
    """Loop over rows, bits and neighbours."""
    out = np.zeros_like(bits)
    for i in range(len(bits)):
        for b in range(bits.shape[1]):
            total = sum(graph[i, j] * (1 if bits[j, b] else -1) for j in range(len(bits)))
            mean = total / sum(graph[i])
            if regularise == "initial":
                value = alpha * mean + (1 - alpha) * (1 if initial[i, b] else -1)
            else:
                sign = 1 if mean >= 0 else -1
                value = alpha * sign + (1 - alpha) * (1 if bits[i, b] else -1)
            out[i, b] = value >= 0
    return out


def captured_targets(monkeypatch, **fit):
    """Targets of step B in each round of a fit."""
    seen = []
    original = GRH._learn

    def spy(self, X, targets, rng):
        seen.append(targets.copy())
        return original(self, X, targets, rng)

    monkeypatch.setattr(GRH, "_learn", spy)
    X = fit.pop("X")
    y, graph = fit.pop("y", None), fit.pop("graph", None)
    grh = GRH(**fit).fit(X, y, graph=graph)
    return seen, grh


@pytest.mark.parametrize("regularise", ["initial", "sign-first"])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.55, 0.8, 1.0])
def test_step_a_equals_the_loop_for_labels_and_for_the_same_graph(
    blobs, monkeypatch, alpha, regularise
):
    some = np.r_[0:40:2, 40:80:4, 80:120:8]  # classes of different sizes
    X, y = blobs[0][some], blobs[1][some]
    S = (y[:, None] == y).astype(float)
    initial = LSH(6, random_state=2).fit_transform(X)
    expected = naive_step_a(initial, initial, S, alpha, regularise)
    common = dict(X=X, n_bits=6, alpha=alpha, n_iter=1, regularise=regularise, random_state=2)
    by_labels, _ = captured_targets(monkeypatch, y=y, **common)
    by_graph, _ = captured_targets(monkeypatch, graph=csr_array(S), **common)
    assert (by_labels[0] == expected).all()
    assert (by_graph[0] == expected).all()


def test_step_a_averages_over_weighted_directed_neighbours(blobs, monkeypatch):
    X = blobs[0][:25]
    S = random_array((25, 25), density=0.3, rng=1).toarray() + np.eye(25)
    initial = LSH(4, random_state=0).fit_transform(X)
    targets, _ = captured_targets(monkeypatch, X=X, graph=S, n_bits=4, alpha=0.9, n_iter=1,
                                  random_state=0)  # fmt: skip
    assert (targets[0] == naive_step_a(initial, initial, S, 0.9, "initial")).all()


def test_the_second_round_blends_new_bits_with_the_initial_ones(blobs, monkeypatch):
    X = blobs[0]
    y = np.random.RandomState(1).permutation(blobs[1])  # no SVM can follow these labels entirely
    targets, _ = captured_targets(monkeypatch, X=X, y=y, n_bits=8, alpha=0.85, n_iter=2,
                                  random_state=4)  # fmt: skip
    initial = LSH(8, random_state=4).fit_transform(X)
    svm = SVC(kernel="linear", class_weight="balanced")
    first = np.column_stack([svm.fit(X, t).predict(X) for t in targets[0].T])
    S = (y[:, None] == y).astype(float)
    assert (targets[1] == naive_step_a(first, initial, S, 0.85, "initial")).all()
    assert (targets[0] != targets[1]).any()


@given(
    seed=st.integers(0, 1000),
    alpha=st.floats(0, 0.5, exclude_max=True),
    regularise=st.sampled_from(["initial", "sign-first"]),
)
@settings(max_examples=40, deadline=None)
def test_alpha_below_one_half_changes_no_bit(seed, alpha, regularise):
    rng = np.random.default_rng(seed)
    bits = rng.random((30, 5)) < 0.5
    S = rng.random((30, 30))
    out = graph_step(
        bits, bits, lambda signs: S @ signs / S.sum(axis=1, keepdims=True), alpha, regularise
    )
    assert (out == bits).all()


@given(mean=st.floats(-1, 1), alpha=st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_a_bit_flips_only_above_the_threshold(mean, alpha):
    """The paper's step flips a bit against a mean m of the other sign if alpha > 1/(1+|m|)."""
    if abs(alpha * (1 + abs(mean)) - 1) < 1e-9:
        return  # on the threshold rounding decides
    bit = np.array([[mean < 0]])  # the bit that disagrees with the mean
    flipped = graph_step(bit, bit, lambda _: np.array([[mean]]), alpha)[0, 0] != bit[0, 0]
    assert flipped == (alpha > 1 / (1 + abs(mean)) and mean != 0 or (alpha == 1 and mean == 0))


def test_a_tie_counts_as_plus_one():
    bits = np.array([[False], [True]])
    out = graph_step(bits, bits, lambda signs: np.zeros_like(signs), 1.0)
    assert out.all()
    half = graph_step(bits, bits, lambda signs: -signs, 0.5, "sign-first")
    assert half.all()


def test_step_a_takes_integers_for_bits_but_no_signs():
    bits = np.array([[True, False], [False, False]])

    def mean(signs):
        return np.full((2, 1), 0.5) * signs.sum(axis=0)

    expected = graph_step(bits, bits, mean, 1.0)
    assert expected.tolist() == [[True, False], [True, False]]
    assert (graph_step(bits.astype(int), bits.tolist(), mean, 1.0) == expected).all()
    signs = np.where(bits, 1, -1)
    for wrong in ((signs, bits), (bits, signs)):
        with pytest.raises(ValueError, match="Codes must be bool or the integers 0 and 1"):
            graph_step(*wrong, mean, 1.0)


@pytest.mark.parametrize(
    ("alpha", "regularise", "message"),
    [
        (7, "initial", "alpha must be a number between 0 and 1, got 7."),
        (float("nan"), "initial", "alpha must be a number between 0 and 1, got nan."),
        (0.5, "eq1", 'regularise is "current", "initial" or "sign-first", not \'eq1\'.'),
    ],
)
def test_step_a_refuses_other_parameters(alpha, regularise, message):
    bits = np.array([[True], [False]])
    with pytest.raises(ValueError, match=re.escape(message)):
        graph_step(bits, bits, lambda signs: signs, alpha, regularise)


def test_published_alpha_leaves_the_labels_without_effect(blobs):
    X, y = blobs
    shuffled = np.random.RandomState(0).permutation(y)
    common = dict(n_bits=8, alpha=0.25, regularise="sign-first", random_state=0)
    a, b = GRH(**common).fit(X, y), GRH(**common).fit(X, shuffled)
    assert (a.coef_ == b.coef_).all()
    assert (a.flips_ == 0).all()


def test_names_of_the_labels_do_not_matter(blobs):
    X, y = blobs
    renamed = np.array(["cat", "ant", "bee"])[y]
    a, b = (GRH(8, random_state=0).fit(X, labels) for labels in (y, renamed))
    np.testing.assert_allclose(a.coef_, b.coef_, atol=1e-12)
    assert b.classes_.tolist() == ["ant", "bee", "cat"]


# GRH: step B --------------------------------------------------------------------------------------


def test_shared_gram_matrix_gives_the_hyperplanes_of_one_svc_a_bit(digits_split):
    X, y = digits_split.train, digits_split.train_labels
    ours = GRH(16, random_state=0).fit(X, y)
    plain = SVC(kernel="linear", class_weight="balanced")
    svms = [clone(plain).fit(X, target) for target in ours.train_bits_.T]
    np.testing.assert_allclose(ours.coef_, np.vstack([s.coef_ for s in svms]), atol=1e-10)
    np.testing.assert_allclose(ours.intercept_, np.hstack([s.intercept_ for s in svms]), atol=1e-10)
    predicted = np.column_stack([s.predict(digits_split.queries) for s in svms])
    assert (ours.transform(digits_split.queries) == predicted).all()


@pytest.mark.parametrize(
    ("name", "estimator"),
    [
        ("svm", SVC(kernel="linear", C=1.0, class_weight="balanced")),
        ("ridge", Ridge(alpha=1.0)),
        ("kernel", KernelRidge(kernel="rbf", gamma=4.0, alpha=0.1)),
    ],
)
def test_names_of_learners_stand_for_estimators(digits_split, name, estimator):
    s = digits_split
    bits = [
        GRH(16, learner=learner, n_iter=2, random_state=1)
        .fit(s.train, s.train_labels)
        .transform(s.database)
        for learner in (name, estimator)
    ]
    assert (bits[0] == bits[1]).all()
    assert GRH().learner == "svm"


@pytest.mark.parametrize("learner", ["svm", "ridge", LinearSVC(), "kernel", SGDClassifier()])
def test_every_bit_is_decided_by_one_model(learner):
    """Also where constant bits have a model of their own."""
    X = np.random.RandomState(0).standard_normal((30, 4)) + 1.5
    grh = GRH(16, learner=learner, random_state=1).fit(X, np.arange(30) % 2)
    decided = np.concatenate([bits for bits, _ in grh.learners_])
    assert sorted(decided) == list(range(16))
    constant = (grh.train_bits_ == grh.train_bits_[0]).all(axis=0)
    assert 0 < constant.sum() < 16
    drawn = [bits for bits, model in grh.learners_ if isinstance(model, LSH)]
    assert np.concatenate(drawn).tolist() == np.flatnonzero(constant).tolist()
    if learner == "kernel":
        assert not hasattr(grh, "coef_")
        return
    assert grh.coef_.shape == (16, 4) and grh.intercept_.shape == (16,)
    assert (grh.transform(X) == (X @ grh.coef_.T + grh.intercept_ >= 0)).all()


@pytest.mark.parametrize("learner", ["svm", "kernel"])
def test_a_fit_that_fails_leaves_the_old_bits(blobs, learner):
    X, y = blobs
    grh = GRH(6, learner=learner, random_state=1).fit(X, y)
    bits = grh.transform(X)
    with pytest.raises(ValueError, match="two classes"):
        grh.set_params(n_bits=9).fit(X, np.zeros(120))
    assert (grh.transform(X) == bits).all()


@pytest.mark.parametrize(
    "learner",
    [
        Ridge(),  # several outputs in one fit, regressor
        KernelRidge(kernel="rbf"),
        RidgeClassifier(),  # several outputs, classifier
        KNeighborsClassifier(3),
        LinearSVC(),  # one bit at a time, classifier
        SGDClassifier(),  # random
        make_pipeline(StandardScaler(), Ridge()),
        MultiOutputClassifier(LogisticRegression()),  # takes several outputs, never one
        ClassifierChain(LogisticRegression()),
        MLPClassifier((16,), solver="lbfgs", max_iter=100),
    ],
    ids=lambda learner: type(learner).__name__,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_every_learner_separates_blobs_and_repeats(blobs, learner):
    X, y = blobs
    a, b = (GRH(6, learner=learner, random_state=1).fit(X, y).transform(X) for _ in range(2))
    assert (a == b).all()
    same = (y[:, None] == y)[~np.eye(len(y), dtype=bool)]
    agreement = (a[:, None] == a).mean(axis=2)[~np.eye(len(y), dtype=bool)]
    assert agreement[same].mean() > 0.9 > 0.75 > agreement[~same].mean()


def test_learners_without_a_seed_get_one_and_others_keep_theirs(blobs):
    X, y = blobs

    def seeds(seed, **options):
        learner = SGDClassifier(max_iter=2, tol=None, **options)
        grh = GRH(6, learner=learner, random_state=seed).fit(X, y)
        return [model.random_state for _, model in grh.learners_]

    assert seeds(0) == seeds(0)
    assert None not in seeds(0) and len(set(seeds(0))) == len(seeds(0)) > 1
    assert not set(seeds(0)) & set(seeds(1))
    assert set(seeds(0, random_state=7)) == {7}


@pytest.mark.parametrize(
    "learner",
    [MultiOutputClassifier(LogisticRegression()), MultiOutputRegressor(Ridge()), Ridge()],
)
def test_learners_of_several_outputs_learn_a_single_bit(blobs, learner):
    X, y = blobs
    grh = GRH(1, learner=learner, random_state=1).fit(X, y)
    assert (grh.transform(X) == grh.train_bits_).mean() > 0.9


@pytest.mark.parametrize("learner", [RidgeClassifier(), ClassifierChain(LogisticRegression())])
def test_classifiers_of_several_outputs_see_all_bits_at_once(blobs, learner):
    ((bits, model),) = GRH(6, learner=learner, random_state=0).fit(*blobs).learners_
    assert bits.tolist() == list(range(6)) and isinstance(model, type(learner))


def test_several_outputs_are_fitted_once(blobs):
    X, y = blobs
    grh = GRH(6, learner=Ridge(), random_state=0).fit(X, y)
    assert len(grh.learners_) == 1
    by_bit = np.column_stack(
        [Ridge().fit(X, np.where(t, 1, -1)).predict(X) >= 0 for t in grh.train_bits_.T]
    )
    assert (grh.transform(X) == by_bit).all()


@pytest.mark.parametrize("learner", ["svm", Ridge(), LinearSVC()])
def test_a_constant_bit_gets_a_fresh_random_hyperplane(learner):
    X = np.array([[1.0, 0.2], [1.1, -0.1], [0.9, 0.1], [1.0, -0.2]])  # all on one side of most
    y = [0, 0, 1, 1]
    grh = GRH(12, learner=learner, random_state=0).fit(X, y)
    constant = (grh.train_bits_ == grh.train_bits_[0]).all(axis=0)
    assert 0 < constant.sum()
    drawn = grh.coef_[constant]
    assert len(np.unique(drawn)) == drawn.size, "each of them drawn for itself"
    first = LSH(12, random_state=0).fit(X).coef_
    assert not np.isclose(drawn[:, None], first).all(axis=2).any(), "fresh, not the initial ones"
    assert (grh.transform(X)[:, constant] == (X @ drawn.T >= 0)).all()


def test_all_bits_constant_still_hashes():
    X = np.array([[1.0, 0.0], [1.0, 0.001]] * 3)
    bits = GRH(4, learner=DummyClassifier(), random_state=3).fit(X, [0, 1] * 3).transform(X)
    assert bits.shape == (6, 4)


def test_unscaled_vectors_end_in_a_warning_and_scaled_ones_in_none(blobs):
    X, y = blobs[0], np.random.RandomState(0).permutation(blobs[1])  # no plane follows these
    with pytest.warns(ConvergenceWarning, match="Solver terminated early.*Consider pre-processing"):
        GRH(4, random_state=0).fit(1000 * X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GRH(16, n_iter=3, random_state=0).fit(normalize(X), y)


def test_the_bound_on_the_solver_is_in_steps_per_row(blobs, monkeypatch):
    X, y = blobs[0], np.random.RandomState(0).permutation(blobs[1])
    monkeypatch.setattr("grh_helpers.hashing._SVM_STEPS", 1)
    with pytest.warns(ConvergenceWarning):
        GRH(4, random_state=0).fit(10 * X, y)


def test_a_small_integer_of_numpy_is_a_number_of_bits(blobs):
    codes = [ITQ(n, random_state=0).fit(*blobs).transform(blobs[0]) for n in (2, np.uint8(2))]
    assert np.array_equal(*codes)


def test_labels_help_and_shuffled_labels_do_not(digits_split):
    """The graph is what helps: with shuffled labels the gain over no graph is gone."""
    s = digits_split
    rng = np.random.RandomState(0)

    def purity(y, **kwargs):
        values = []
        for seed in range(3):
            grh = GRH(12, random_state=seed, **kwargs).fit(s.train, y)
            q, d = grh.transform(s.queries), grh.transform(s.database)
            near = (q[:, None] == d).all(axis=2)  # the query's own bucket
            hit = near & (s.query_labels[:, None] == s.database_labels)
            values.append(hit.sum() / near.sum())
        return np.mean(values)

    none = purity(s.train_labels, alpha=0, regularise="sign-first")
    labels = purity(s.train_labels)
    shuffled = purity(rng.permutation(s.train_labels))
    assert labels > none + 0.1
    assert shuffled < none


def test_nearest_neighbour_graph_works(blobs):
    X, _ = blobs
    S = kneighbors_graph(X, 5, include_self=True)
    grh = GRH(8, random_state=0).fit(X, graph=S)
    assert grh.transform(X).shape == (120, 8)
    assert not hasattr(grh, "classes_")


class PositiveParts(TransformerMixin, BaseEstimator):
    """A hash function of its own: the signs of the first coordinates."""

    def __init__(self, n_bits=4, as_float=False):
        self.n_bits, self.as_float = n_bits, as_float

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        bits = X[:, : self.n_bits] >= 0
        return bits.astype(float) if self.as_float else bits


def test_init_takes_any_hashing_estimator(blobs, monkeypatch):
    X, y = blobs
    targets, _ = captured_targets(monkeypatch, X=X, y=y, n_bits=4, init=PositiveParts(), alpha=0.0)
    assert (targets[0] == (X[:, :4] >= 0)).all()


# Bad input ----------------------------------------------------------------------------------------


class Hungry(RegressorMixin, BaseEstimator):
    """A learner whose matrix does not fit."""

    def fit(self, X, y):
        raise MemoryError

    def predict(self, X):
        raise AssertionError("never fitted")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LSH(0), "n_bits must be a whole number of at least 1, got 0."),
        (lambda: LSH(2.5), "n_bits must be a whole number of at least 1, got 2.5."),
        (lambda: LSH(True), "n_bits must be a whole number of at least 1, got True."),
        (lambda: GRH(-3), "n_bits must be a whole number of at least 1, got -3."),
        (lambda: GRH(alpha=1.2), "alpha must be a number between 0 and 1, got 1.2."),
        (lambda: GRH(alpha=-0.1), "alpha must be a number between 0 and 1, got -0.1."),
        (lambda: GRH(alpha=float("nan")), "alpha must be a number between 0 and 1, got nan."),
        (lambda: GRH(n_iter=0), "n_iter must be a whole number of at least 1, got 0."),
        (
            lambda: GRH(regularise="x"),
            'regularise is "current", "initial" or "sign-first", not \'x\'.',
        ),
        (lambda: GRH(init="pca"), 'No init pca; use a hasher, "lsh", "itq-cca" or "max-min".'),
        (lambda: GRH(init=Ridge()), "No init Ridge(); use a hasher"),
        (lambda: GRH(init=LSH), "LSH'>; use a hasher"),
        (
            lambda: GRH(learner="svc"),
            'No learner svc; use an estimator, "svm", "ridge" or "kernel".',
        ),
        (lambda: GRH(learner=None), "No learner None; use an estimator"),
        (lambda: GRH(learner=Ridge), "Ridge'>; use an estimator"),
        (lambda: GRH(learner=StandardScaler()), "No learner StandardScaler(); use an estimator"),
        (
            lambda: GRH(5, init=PositiveParts(4)),
            "init must give 5 bits per row, got shape (120, 4).",
        ),
        (lambda: GRH(4, init=PositiveParts(as_float=True)), "Codes must be bool or the integers 0"),
        (lambda: LSH(random_state=np.random.default_rng()), "Generator(PCG64)"),
        (lambda: GRH(random_state=np.random.default_rng()), "Generator(PCG64)"),
        (lambda: GRH(learner=Hungry()), 'Too little memory; use learner="ridge" or fewer rows.'),
    ],
)
def test_bad_parameters(blobs, make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make().fit(*blobs)


@pytest.mark.parametrize(
    ("y", "graph", "message"),
    [
        (None, None, "Labels are missing; pass one for each row of X as y, or a graph to GRH."),
        ("labels", "graph", "not both"),
        ("short", None, "X has 120 rows but y has 119; give one label"),
        ("one class", None, "y must hold two classes or more, got one class: 0.0."),
        ("continuous", None, "Unknown label type: continuous"),
        ("nan", None, "NaN"),
        ("infinite", None, "infinity"),
        ("none", None, "Labels must be all numbers or all strings, without None."),
        ("mixed", None, "Labels must be all numbers or all strings, without None."),
        (None, "wrong shape", "graph must be an n×n matrix for 120 rows, got (119, 119)."),
        (None, "isolated", "Graph row 7 has no neighbour; link it to itself."),
        (None, "negative", "Negative values in data passed to graph"),
        (None, "infinite", "Input graph contains infinity"),
        (None, "nan", "Input graph contains NaN"),
    ],
)
def test_bad_supervision(blobs, y, graph, message):
    X, labels = blobs
    full = np.ones((120, 120))

    def but(value, *place):
        changed = full.copy()
        changed[place] = value
        return changed

    names = labels.astype(str).astype(object)
    ys = {
        "labels": labels,
        "short": labels[:-1],
        "one class": np.zeros(120),
        "continuous": X[:, 0],
        "nan": np.where(labels == 1, np.nan, labels),
        "infinite": np.where(labels == 1, np.inf, labels),
        "none": np.where(labels == 1, None, names),
        "mixed": np.where(labels == 1, 1, names),
    }
    graphs = {
        "graph": full,
        "wrong shape": full[1:, 1:],
        "isolated": but(0, 7),
        "negative": but(-1, 3, 4),
        "infinite": but(np.inf, 3, 4),
        "nan": but(np.nan, 3, 4),
    }
    with pytest.raises(ValueError, match=re.escape(message)):
        GRH(4).fit(X, ys.get(y), graph=graphs.get(graph))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("learner", ["svm", Ridge(), DummyClassifier()])
def test_bad_vectors(blobs, bad, learner):
    X, y = blobs
    broken = X.copy()
    broken[50, 3] = bad
    grh = GRH(4, learner=learner, random_state=0).fit(X, y)
    for hasher in (grh, LSH(4, random_state=0).fit(X)):
        with pytest.raises(ValueError, match="NaN|infinity"):
            hasher.transform(broken)
        with pytest.raises(ValueError, match="NaN|infinity"):
            type(hasher)(4).fit(broken, y)
        with pytest.raises(ValueError, match="expecting 12 features"):
            hasher.transform(X[:, :5])


def test_sparse_vectors_get_advice(blobs):
    X, y = blobs
    for hasher in (LSH(4), GRH(4, random_state=0)):
        with pytest.raises(ValueError, match="X must be dense, .* use TruncatedSVD first"):
            hasher.fit(csr_array(X), y)
        with pytest.raises(ValueError, match="X must be dense, .* use TruncatedSVD first"):
            hasher.fit(X, y).transform(csr_array(X))


# ITQ, SVMs with weights and a Gaussian kernel, codes of classes -----------------------------------


def test_itq_without_rounds_is_the_sign_of_the_principal_components(blobs):
    X, _ = blobs
    _, _, directions = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)
    expected = (X - X.mean(axis=0)) @ directions[:5].T >= 0
    bits = ITQ(5, n_iter=0).fit_transform(X)
    same = (bits == expected).mean(axis=0)
    assert np.maximum(same, 1 - same).min() == 1  # a direction has no sign


def test_itq_does_not_depend_on_the_signs_of_eigenvectors(blobs, monkeypatch):
    """LAPACK gives either sign, depending on its version and on the number of threads."""
    X, y = blobs
    before = [ITQ(5, supervised=s, random_state=0).fit(X, y).transform(X) for s in (False, True)]
    eigh = hashing.eigh
    monkeypatch.setattr(hashing, "eigh", lambda *a: (eigh(*a)[0], -eigh(*a)[1]))
    after = [ITQ(5, supervised=s, random_state=0).fit(X, y).transform(X) for s in (False, True)]
    assert (before[0] == after[0]).all() and (before[1] == after[1]).all()


def test_each_round_of_itq_loses_less(blobs):
    X, _ = blobs

    def loss(rounds):
        itq = ITQ(5, n_iter=rounds, random_state=0).fit(X)
        scores = itq.decision_function(X)
        return ((np.where(scores >= 0, 1, -1) - scores) ** 2).sum()

    losses = [loss(rounds) for rounds in (1, 2, 5, 20)]
    assert losses == sorted(losses, reverse=True) and losses[-1] < losses[0]


def test_the_directions_of_itq_are_orthonormal(blobs):
    coef = ITQ(4, random_state=1).fit(blobs[0]).coef_
    assert np.allclose(coef @ coef.T, np.eye(4))


def test_labels_make_itq_rank_better():
    s = load_dataset("digits").split(300, 300)
    scores = {
        supervised: ITQ(16, supervised=supervised, random_state=0)
        .fit(s.train, s.train_labels)
        .score(s.database, s.database_labels)
        for supervised in (False, True)
    }
    assert scores[True] > scores[False] + 0.05


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda X, y: ITQ(X.shape[1] + 1).fit(X), "n_bits must be a whole number from 1 to"),
        (lambda X, y: ITQ(2, n_iter=-1).fit(X), "n_iter must be a whole number of at least 0"),
        (lambda X, y: ITQ(2, supervised=True).fit(X), "Labels are missing"),
        (lambda X, y: GRH(2, init="max-min").fit(X, graph=np.eye(len(X))), "Labels are missing"),
        (lambda X, y: GRH(2, init="itq-cca").fit(X, graph=np.eye(len(X))), "Labels are missing"),
    ],
)
def test_what_itq_and_the_starts_refuse(blobs, make, message):
    with pytest.raises(ValueError, match=message):
        make(*blobs)


@pytest.mark.parametrize("gamma", [None, 0.7])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_svms_are_those_of_scikit_learn_one_per_column(blobs, gamma, class_weight):
    X, y = blobs
    targets = np.where(np.column_stack([y == 0, y <= 1]), 1, -1)
    ours = SVMs(C=2, gamma=gamma, class_weight=class_weight).fit(X, targets).predict(X)
    kernel = {"kernel": "linear"} if gamma is None else {"kernel": "rbf", "gamma": gamma}
    for column, target in zip(ours.T, targets.T, strict=True):
        svm = SVC(C=2, class_weight=class_weight, **kernel).fit(X, target)
        assert np.allclose(column, svm.decision_function(X), atol=1e-2)


def test_grh_hashes_with_gaussian_svms_and_fresh_hyperplanes(blobs):
    X, y = blobs
    grh = GRH(6, learner=SVMs(gamma=1.0), random_state=0).fit(X, y)
    assert (grh.transform(X) == (grh.decision_function(X) >= 0)).all()
    assert grh.transform(X).shape == (len(X), 6)


def separation(codes):
    apart = (codes[:, None] != codes).sum(axis=2)
    return apart[np.triu_indices(len(codes), 1)].min()


@pytest.mark.parametrize(("n_classes", "n_bits", "least"), [(2, 5, 5), (4, 3, 2), (10, 16, 7)])
def test_class_codes_are_far_apart(n_classes, n_bits, least):
    codes = class_codes(n_classes, n_bits, random_state=0)
    assert codes.shape == (n_classes, n_bits) and codes.dtype == bool
    assert separation(codes) >= least
    assert (codes == class_codes(n_classes, n_bits, random_state=0)).all()


def test_max_min_starts_from_one_code_per_class(blobs):
    X, y = blobs
    grh = GRH(8, init="max-min", random_state=3).fit(X, y)
    codes = class_codes(len(np.unique(y)), 8, np.random.RandomState(3))
    assert (grh.train_bits_ == codes[np.unique(y, return_inverse=True)[1]]).all()


@pytest.mark.parametrize("init", ["lsh", "itq-cca", "max-min"])
def test_score_is_the_map_that_a_grid_search_ranks_by(init):
    s = load_dataset("digits").split(300, 300)
    grid = GridSearchCV(GRH(8, init=init, random_state=0), {"alpha": [0.6, 1.0]}, cv=2)
    grid.fit(s.train, s.train_labels)
    best = grid.best_estimator_
    codes = best.transform(s.queries)
    labels = s.query_labels
    assert best.score(s.queries, labels) == mean_average_precision(codes, codes, labels, labels)


def test_codes_go_to_faiss_and_back_as_packed_bytes(blobs):
    codes = LSH(13, random_state=0).fit_transform(blobs[0])
    theirs = np.packbits(codes, axis=1)  # what faiss.IndexBinaryFlat(16).add takes
    assert (np.unpackbits(theirs, axis=1)[:, :13].astype(bool) == codes).all()
