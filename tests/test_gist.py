"""GIST against a slow version of the formulas: scalar loops and dense Fourier matrices."""

import cmath
import math
import sys
import threading
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grh_helpers.gist import GIST_PARAMETERS, contrast_normalise, gabor_bank, gist

module = sys.modules["grh_helpers.gist"]


def slow_gist(image):
    """One (rows, columns, 3) image, every formula written out."""
    rows, columns = image.shape[:2]
    big_rows, big_columns = rows + 16, columns + 16

    def mirrored(i, n):
        return -i - 1 if i < 0 else 2 * n - 1 - i if i >= n else i

    grey = np.empty((big_rows, big_columns))
    for i in range(big_rows):
        for j in range(big_columns):
            pixel = image[mirrored(i - 8, rows), mirrored(j - 8, columns)]
            grey[i, j] = math.log(1 + sum(float(v) for v in pixel) / 3)

    def dft(n):
        return np.array(
            [[cmath.exp(-2j * math.pi * a * b / n) for b in range(n)] for a in range(n)]
        )

    down, across = dft(big_rows), dft(big_columns)

    def transform(x):
        return down @ x @ across

    def inverse(x):
        return down.conj() @ x @ across.conj() / (big_rows * big_columns)

    def frequency(k, n):
        return (k if k < n / 2 else k - n) / n

    low = np.empty((big_rows, big_columns))
    filters = np.empty((32, big_rows, big_columns))
    for a in range(big_rows):
        for b in range(big_columns):
            fy, fx = frequency(a, big_rows), frequency(b, big_columns)
            low[a, b] = math.exp(-math.log(2) * ((fy * rows) ** 2 + (fx * columns) ** 2) / 16)
            for scale in range(4):
                for orientation in range(8):
                    off = math.hypot(fx, fy) / (0.3 / 1.85**scale) - 1
                    turn = math.atan2(fy, fx) + math.pi * orientation / 8
                    turn = math.remainder(turn, 2 * math.pi)
                    filters[scale * 8 + orientation, a, b] = math.exp(
                        -3.5 * off**2 - 2 * math.pi * turn**2
                    )
    detail = grey - inverse(transform(grey) * low).real
    spread = np.sqrt(np.abs(inverse(transform(detail * detail) * low).real))
    spectrum = transform(detail / (0.2 + spread))
    features = []
    for gabor in filters:
        response = np.abs(inverse(spectrum * gabor))[8 : 8 + rows, 8 : 8 + columns]
        for i in range(4):
            for j in range(4):
                cell = response[
                    i * rows // 4 : (i + 1) * rows // 4, j * columns // 4 : (j + 1) * columns // 4
                ]
                features.append(sum(cell.ravel()) / cell.size)
    return np.array(features)


def pictures(n, rows=32, columns=32, seed=0):
    """Smooth random colours plus noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 200, (n, rows // 4, columns // 4, 3)).repeat(4, 1).repeat(4, 2)
    return (coarse + rng.integers(0, 56, (n, rows, columns, 3))).astype(np.uint8)


@pytest.mark.parametrize(("rows", "columns"), [(32, 32), (20, 28)])
def test_agrees_with_the_formulas(rows, columns):
    images = pictures(3, rows, columns)
    images[2] = 77  # a flat one
    features = gist(images)
    assert features.shape == (3, 512)
    assert features.dtype == np.float64
    for image, row in zip(images, features, strict=True):
        np.testing.assert_allclose(row, slow_gist(image), rtol=1e-9, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(
    n=st.integers(0, 11),
    rows=st.sampled_from([4, 16, 32]),
    columns=st.sampled_from([8, 32]),
    n_jobs=st.sampled_from([1, 2, 3, -1]),
    data=st.data(),
)
def test_the_same_bits_in_any_company(n, rows, columns, n_jobs, data):
    images = pictures(n, rows, columns, seed=n)
    features = gist(images, n_jobs=n_jobs)
    assert features.shape == (n, 512)
    start = data.draw(st.integers(0, n))
    stop = data.draw(st.integers(start, n))
    np.testing.assert_array_equal(gist(images[start:stop], n_jobs=1), features[start:stop])
    alone = [gist(image[None])[0] for image in images]
    np.testing.assert_array_equal(np.reshape(alone, features.shape), features)


@pytest.mark.parametrize("images_per_block", [0, 1, 3])
def test_the_same_bits_in_blocks_of_any_size(images_per_block, monkeypatch):
    images = pictures(5, 20, 28)
    features = gist(images)
    monkeypatch.setattr(module, "_BLOCK_PIXELS", images_per_block * 36 * 44)
    np.testing.assert_array_equal(gist(images), features)


def test_a_large_picture_takes_little_memory():
    """With the responses of all filters at once it took 1.4 GB."""
    image = np.random.default_rng(0).integers(0, 256, (1, 1024, 1024), dtype=np.uint8)
    tracemalloc.start()
    gist(image)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 500e6


def test_input_types_and_layouts_do_not_matter():
    images = pictures(5)
    features = gist(images)
    np.testing.assert_array_equal(gist(images.astype(np.float64)), features)
    np.testing.assert_array_equal(gist(images.astype(np.float32)), features)
    np.testing.assert_array_equal(gist(images.tolist()), features)
    planes = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(gist(planes), features)
    planes.flags.writeable = False
    np.testing.assert_array_equal(gist(planes), features)
    grey = images[..., 0]
    np.testing.assert_array_equal(gist(grey), gist(grey[..., None].repeat(3, axis=3)))


def test_order_of_the_features():
    """Texture in one cell is found in that cell, stripes in the filters of their orientation."""
    image = np.full((1, 32, 32), 100)
    image[0, 8:16:2, 16:24] = 200  # cell in row 1, column 2; lines from left to right
    features = gist(image).reshape(4, 8, 4, 4)
    assert np.unravel_index(features.sum((0, 1)).argmax(), (4, 4)) == (1, 2)
    assert features.sum((0, 2, 3)).argmax() == 4  # brightness changes from top to bottom
    wide = np.tile([0, 0, 0, 0, 255, 255, 255, 255], (1, 32, 4))
    narrow = np.tile([0, 255], (1, 32, 16))
    for picture, scale in ((narrow, 0), (wide, 1)):
        strength = gist(picture).reshape(4, 8, 16).sum(2)
        assert np.unravel_index(strength.argmax(), strength.shape) == (scale, 0)


def test_filters_are_bells_around_their_frequency():
    bank = np.fft.fftshift(gabor_bank(96), axes=(1, 2))
    assert bank.shape == (32, 96, 96)
    assert bank.min() >= 0
    assert bank.max() <= 1
    for index in range(32):
        scale, orientation = divmod(index, 8)
        row, column = np.unravel_index(bank[index].argmax(), (96, 96))
        peak = complex(column - 48, row - 48) / 96
        expected = cmath.rect(0.3 / 1.85**scale, -math.pi * orientation / 8)
        assert abs(peak - expected) < 1 / 96


def test_contrast_normalise_removes_shading():
    images = pictures(3)
    result = contrast_normalise(images)
    assert result.shape == (3, 32, 32)
    assert result.dtype == np.float64
    assert np.abs(contrast_normalise(np.full((1, 32, 32, 3), 9))).max() < 1e-12
    ramp = np.linspace(20, 200, 32).astype(int)
    shaded = images[:1, ..., 0] // 8 + ramp
    before = np.ptp(np.log1p(shaded).mean(1))
    assert np.ptp(contrast_normalise(shaded).mean(1)) < before / 2


def test_parameters_name_every_constant_that_was_used(monkeypatch):
    """Whoever turns a parameter gets other features: none of them is only decoration."""
    images = pictures(2)
    features = gist(images)
    for name in set(GIST_PARAMETERS) - {"version", "scales", "orientations", "grid", "padding"}:
        with monkeypatch.context() as patch:
            patch.setitem(GIST_PARAMETERS, name, GIST_PARAMETERS[name] * 1.25)
            assert np.abs(gist(images) - features).max() > 1e-3, name
    for name, value, width in (("scales", 3, 384), ("orientations", 4, 256), ("grid", 2, 128)):
        with monkeypatch.context() as patch:
            patch.setitem(GIST_PARAMETERS, name, value)
            assert gist(images).shape == (2, width)
    monkeypatch.setitem(GIST_PARAMETERS, "padding", 4)
    assert np.abs(gist(images) - features).max() > 1e-3


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((32, 32)), "image\\[None\\]"),
        (np.zeros((1, 30, 32)), "multiples of 4, got 30 x 32"),
        (np.zeros((1, 32, 33, 3)), "multiples of 4, got 32 x 33"),
        (np.zeros((1, 0, 32)), "multiples of 4"),
        (np.zeros((1, 32, 32), dtype=complex), "numbers from 0 to 255"),
        (np.zeros((1, 32, 32), dtype=bool), "numbers from 0 to 255"),
        (np.full((1, 32, 32), "a"), "numbers from 0 to 255"),
        (np.full((1, 32, 32), np.nan), "numbers from 0 to 255"),
        (np.full((1, 32, 32), np.inf), "numbers from 0 to 255"),
        (np.full((1, 32, 32), -1), "numbers from 0 to 255"),
    ],
)
def test_bad_images_are_named(images, message):
    with pytest.raises(ValueError, match=message):
        gist(images)
    with pytest.raises(ValueError, match=message):
        contrast_normalise(images)


def test_no_jobs_are_refused():
    with pytest.raises(ValueError, match="n_jobs == 0"):
        gist(pictures(1), n_jobs=0)


def test_progress_bar_on_terminals_only(capsys, monkeypatch):
    gist(pictures(40), progress=True)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    gist(pictures(40))
    assert capsys.readouterr() == ("", "")
    gist(pictures(40), progress=True)
    assert "3/3" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:.*tasks which were still being processed")  # by joblib
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_interrupt_cancels_the_blocks_that_wait(monkeypatch, n_jobs):
    def bar(blocks, *args, **kwargs):
        next(blocks)
        raise KeyboardInterrupt

    done = []
    describe = module._normalised
    monkeypatch.setattr(module, "tqdm", bar)
    monkeypatch.setattr(module, "_normalised", lambda block: done.append(1) or describe(block))
    with pytest.raises(KeyboardInterrupt):
        gist(pictures(1600), n_jobs=n_jobs, progress=True)
    finished = len(done)
    assert finished < 50  # of 100 blocks
    time.sleep(0.2)
    assert len(done) <= finished + n_jobs  # nobody goes on


def test_errors_in_a_thread_reach_the_caller(monkeypatch):
    def fail(block):
        raise MemoryError("no room")

    monkeypatch.setattr(module, "_normalised", fail)
    with pytest.raises(MemoryError, match="no room"):
        gist(pictures(9))


def test_one_job_needs_no_threads(monkeypatch):
    expected = gist(pictures(40))

    def no_threads(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_threads)
    assert np.array_equal(gist(pictures(40), n_jobs=1), expected)


def test_pictures_in_the_unit_interval_are_refused():
    with pytest.raises(ValueError, match="from 0 to 1; multiply them by 255"):
        gist(np.eye(32)[None])
    for dark in (np.zeros((1, 32, 32)), np.ones((1, 32, 32), int), np.zeros((0, 32, 32))):
        assert gist(dark).shape == (len(dark), 512)
