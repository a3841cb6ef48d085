"""The GIST descriptor: the rough layout of a picture in 512 numbers.

A picture is reduced to its local contrasts, passed through a bank of Gabor filters (4 scales x
8 orientations), and the strength of each response is averaged over the cells of a 4 x 4 grid.

References
----------
A. Oliva and A. Torralba, "Modeling the shape of the scene: a holistic representation of the
spatial envelope", International Journal of Computer Vision 42(3), 2001,
doi:10.1023/A:1011139631724.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from functools import lru_cache, partial

import numpy as np
from numpy.typing import ArrayLike
from scipy import fft
from tqdm import tqdm

__all__ = ["GIST_PARAMETERS", "contrast_normalise", "gabor_bank", "gist"]

#: Everything that the numbers depend on. The name of the feature cache is a hash of it: whoever
#: changes what `gist` computes without changing a parameter must raise the version.
GIST_PARAMETERS = {
    "version": 1,
    "scales": 4,
    "orientations": 8,
    "grid": 4,
    "padding": 8,  # pixels mirrored at each border, so that filters do not see the opposite one
    "prefilter_cycles": 4.0,  # contrasts coarser than this many cycles an image are removed
    "contrast_floor": 0.2,  # keeps the noise of flat areas from being blown up
    "finest_frequency": 0.3,  # centre of the finest filters, cycles a pixel
    "scale_ratio": 1.85,  # between the centres of neighbouring scales
    "radial_sharpness": 3.5,
    "angular_sharpness": 2 * np.pi,
}

# Pixels per block, four images of 32 x 32 with their margins. Their 128 complex responses take
# 5 MB, about what stays in a processor's cache; larger blocks are slower.
_BLOCK_PIXELS = 4 * 48 * 48

# Pixels of the filters that are used at once: all 32 for pictures of 512 x 512 with their margins.
# For larger ones they are made and used group by group, or the responses would take gigabytes.
_BANK_PIXELS = 32 * 528 * 528


def gist(images: ArrayLike, *, n_jobs: int = 2, progress: bool = False) -> np.ndarray:
    """Describe each image by the mean response of 32 Gabor filters in 16 cells.

    Parameters
    ----------
    images : array of shape (n, rows, columns) or (n, rows, columns, channels)
        Intensities from 0 to 255, integers or floats; channels are averaged to grey. Both sides
        must be multiples of 4.
    n_jobs : int
        Number of threads; -1 means one per core. The result does not depend on it. One job runs
        without threads, and so does any number where none can be started, as in a browser.
    progress : bool
        Show a progress bar, on terminals only.

    Returns
    -------
    array of shape (n, 512), float64
        All entries are >= 0. The feature of filter f (scale * 8 + orientation, finest scale
        first) in the grid's cell (row, column) has the index ``f * 16 + row * 4 + column``. An
        image's features are the same bits whatever other images it is computed with.

    Raises
    ------
    ValueError
        If the array's shape or its values cannot be those of images; floats from 0 to 1 are
        refused, too.

    Notes
    -----
    Built by hand in chapter 1.

    References
    ----------
    Oliva and Torralba (2001), doi:10.1023/A:1011139631724.

    Examples
    --------
    >>> import numpy as np
    >>> stripes = np.tile([0, 0, 255, 255], (1, 32, 8))
    >>> features = gist(stripes)
    >>> features.shape
    (1, 512)
    >>> strength = features.reshape(4, 8, 16).mean(2)  # scale, orientation
    >>> [int(i) for i in np.unravel_index(strength.argmax(), strength.shape)]
    [0, 0]
    """
    images = _checked(images)
    n_jobs = os.cpu_count() or 1 if n_jobs == -1 else n_jobs
    if n_jobs < 1:
        raise ValueError(f"n_jobs must be at least 1, or -1 for one per core, got {n_jobs!r}.")
    grid, padding = GIST_PARAMETERS["grid"], GIST_PARAMETERS["padding"]
    n, rows, columns = images.shape[:3]
    size = (rows + 2 * padding, columns + 2 * padding)
    filters = range(GIST_PARAMETERS["scales"] * GIST_PARAMETERS["orientations"])
    step, at_once = (max(1, most // np.prod(size)) for most in (_BLOCK_PIXELS, _BANK_PIXELS))
    bank = lru_cache(1)(partial(gabor_bank, size))  # made once if all are used at once
    features = np.empty((n, len(filters), grid * grid))
    starts = range(0, n, step)

    def describe(start: int) -> int:
        block = images[start : start + step]
        transform = fft.fft2(_normalised(block))[:, None]
        for first in filters[::at_once]:
            spectrum = transform * bank(filters[first : first + at_once])
            # The inverse transform in two steps: the second can leave out the margin's rows.
            strip = fft.ifft(spectrum, axis=-2, overwrite_x=True)[..., padding : padding + rows, :]
            response = fft.ifft(strip, axis=-1, overwrite_x=True)[..., padding : padding + columns]
            # Twice as fast as np.abs, which guards against overflow that cannot happen here.
            magnitude = np.sqrt(response.real**2 + response.imag**2)
            # One axis after the other: three times as fast as a mean over both.
            strips = magnitude.reshape(-1, grid, rows // grid, columns).mean(axis=2)
            cells = strips.reshape(len(block), -1, grid * grid, columns // grid).mean(axis=3)
            features[start : start + step, first : first + at_once] = cells
        return len(block)

    pool = ThreadPoolExecutor(n_jobs) if n_jobs > 1 else None
    # Without progress no bar at all: tqdm starts a thread even for one that it does not show.
    bar = tqdm(total=n, unit="image", desc="GIST", disable=None) if progress else None
    try:
        blocks = map(describe, starts)
        if pool:
            with suppress(RuntimeError):  # no thread can be started
                blocks = pool.map(describe, starts)
        with bar or nullcontext():
            for done in blocks:
                if progress:
                    bar.update(done)
    finally:
        if pool:
            # After Ctrl-C only the blocks in work are finished, not the thousands that wait.
            pool.shutdown(cancel_futures=True)
    return features.reshape(n, len(filters) * grid * grid)


def gabor_bank(size: int | tuple[int, int], filters: range = range(32)) -> np.ndarray:
    """Transfer functions of the 32 Gabor filters, sampled at the frequencies of an FFT.

    Parameters
    ----------
    size : int or pair of int
        Side or (rows, columns) of the pictures to filter, padding included.
    filters : range
        Which filters, by default all.

    Returns
    -------
    array of shape (len(filters), rows, columns), float64
        Values from 0 to 1, scale by scale from fine to coarse, 8 orientations each. Frequency zero
        is at [0, 0]: ``np.fft.fftshift(bank, axes=(1, 2))`` moves it to the middle for drawing.
        Filters are one-sided, so responses are complex.

    Notes
    -----
    A filter is a bell in polar coordinates of the frequency plane, around frequency f0 and angle
    a0: exp(-3.5 (f / f0 - 1)^2 - 2 pi (a - a0)^2), with f0 = 0.3 / 1.85^scale cycles a pixel and
    a0 = -pi orientation / 8. Built by hand in chapter 1.

    Examples
    --------
    >>> gabor_bank(48).shape
    (32, 48, 48)
    """
    rows, columns = (size, size) if isinstance(size, int | np.integer) else size
    p = GIST_PARAMETERS
    fy, fx = np.meshgrid(np.fft.fftfreq(rows), np.fft.fftfreq(columns), indexing="ij")
    frequency, angle = np.hypot(fx, fy), np.arctan2(fy, fx)
    scale, orientation = np.divmod(np.reshape(filters, (-1, 1, 1)), p["orientations"])
    centre = p["finest_frequency"] / p["scale_ratio"] ** scale
    radial = p["radial_sharpness"] * (frequency / centre - 1) ** 2
    turned = (angle + np.pi / p["orientations"] * orientation + np.pi) % (2 * np.pi) - np.pi
    return np.exp(-radial - p["angular_sharpness"] * turned**2)


def contrast_normalise(images: ArrayLike) -> np.ndarray:
    """Remove coarse shading and even out contrasts: the first step of `gist`, for drawing.

    Parameters
    ----------
    images : array of shape (n, rows, columns) or (n, rows, columns, channels)
        As for `gist`.

    Returns
    -------
    array of shape (n, rows, columns), float64
        The logarithm of grey, low frequencies removed, divided by the local standard deviation:
        flat areas are near 0, edges near +-1 whatever the light was.

    Notes
    -----
    Built by hand in chapter 1.

    Examples
    --------
    >>> import numpy as np
    >>> flat = np.full((1, 32, 32), 200)
    >>> bool(np.allclose(contrast_normalise(flat), 0))
    True
    """
    images = _checked(images)
    p, (rows, columns) = GIST_PARAMETERS["padding"], images.shape[1:3]
    result = np.empty(images.shape[:3])
    step = max(1, 64 * _BLOCK_PIXELS // (rows * columns))  # so that the spectra stay small
    for start in range(0, len(images), step):
        block = _normalised(images[start : start + step])
        result[start : start + step] = block[:, p : p + rows, p : p + columns]
    return result


def _normalised(images: np.ndarray) -> np.ndarray:
    """Contrast-normalised grey images, still with their mirrored margins."""
    padding = GIST_PARAMETERS["padding"]
    rows, columns = images.shape[1:3]
    grey = images.mean(-1, dtype=np.float64) if images.ndim == 4 else images.astype(np.float64)
    margin = ((0, 0), (padding, padding), (padding, padding))
    grey = np.pad(np.log1p(grey), margin, mode="symmetric")
    # A Gaussian that lets half of the amplitude pass at the given number of cycles an image.
    fy = np.fft.fftfreq(grey.shape[1])[:, None] * rows
    fx = np.fft.fftfreq(grey.shape[2]) * columns
    low_pass = 0.5 ** ((fy**2 + fx**2) / GIST_PARAMETERS["prefilter_cycles"] ** 2)
    detail = grey - fft.ifft2(fft.fft2(grey) * low_pass).real
    variance = np.abs(fft.ifft2(fft.fft2(detail**2) * low_pass).real)
    return detail / (GIST_PARAMETERS["contrast_floor"] + np.sqrt(variance))


def _checked(images: ArrayLike) -> np.ndarray:
    """Images as an array, or a sentence on why they are none."""
    images = np.asarray(images)
    grid = GIST_PARAMETERS["grid"]
    if images.ndim not in (3, 4):
        raise ValueError(
            "images must have the shape (n, rows, columns) or (n, rows, columns, channels), "
            f"got {images.shape}; a single image needs image[None]."
        )
    if 0 in images.shape[1:] or images.shape[1] % grid or images.shape[2] % grid:
        got = f"{images.shape[1]} x {images.shape[2]} pixels; crop or pad them first"
        raise ValueError(f"The sides of the images must be multiples of {grid}, got {got}.")
    if images.dtype.kind not in "uif":
        raise ValueError(f"images must hold numbers from 0 to 255, got dtype {images.dtype}.")
    if images.dtype.kind == "u":
        return images  # cannot be wrong; looking at them would read a memory-mapped file twice
    if not (images.min(initial=0) >= 0 and np.isfinite(images).all()):
        raise ValueError("images must not contain negative, NaN or infinite intensities.")
    if images.dtype.kind == "f" and 0 < images.max(initial=0) <= 1:
        largest = f"the largest is {images.max():.3g}; multiply them by 255"
        raise ValueError(f"images must hold intensities from 0 to 255, but {largest}.")
    return images
