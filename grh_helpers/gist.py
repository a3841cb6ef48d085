"""The GIST descriptor: the rough layout of a picture in 512 numbers.

A picture is reduced to its local contrasts, passed through a bank of Gabor filters (4 scales x
8 orientations), and the strength of each response is averaged over the cells of a 4 x 4 grid.

References
----------
A. Oliva and A. Torralba, "Modeling the shape of the scene: a holistic representation of the
spatial envelope", International Journal of Computer Vision 42(3), 2001,
doi:10.1023/A:1011139631724.
"""

import numpy as np
from joblib import Parallel, delayed
from scipy import fft
from tqdm import tqdm

tqdm.monitor_interval = 0  # the monitor of a progress bar is a thread, and a browser has none

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

# Pixels per block, 16 images of 32 x 32 with their margins. Their complex responses to one filter
# take 0.6 MB, about what stays in a processor's cache.
_BLOCK_PIXELS = 16 * 48 * 48


def gist(images: np.ndarray, *, n_jobs: int = 2, progress: bool = False) -> np.ndarray:
    """Describe each image by the mean response of 32 Gabor filters in 16 cells.

    Parameters
    ----------
    images : array of shape (n, rows, columns) or (n, rows, columns, channels)
        Intensities from 0 to 255, integers or floats; channels are averaged to grey. Both sides
        must be multiples of 4.
    n_jobs : int
        Number of threads, as joblib counts them: -1 means one per core. The result does not depend
        on it. One job runs without threads, and so does any number in a browser.
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
    grid, padding = GIST_PARAMETERS["grid"], GIST_PARAMETERS["padding"]
    n, rows, columns = images.shape[:3]
    size = (rows + 2 * padding, columns + 2 * padding)
    bank = gabor_bank(size)
    features = np.empty((n, len(bank), grid * grid))
    step = max(1, _BLOCK_PIXELS // (size[0] * size[1]))
    starts = range(0, n, step)

    def describe(start: int) -> None:
        block = images[start : start + step]
        transform = fft.fft2(_normalised(block))
        for number, gabor in enumerate(bank):
            # The inverse transform in two steps: the second can leave out the margin's rows.
            strip = fft.ifft(transform * gabor, axis=1, overwrite_x=True)
            strip = strip[:, padding : padding + rows]
            response = fft.ifft(strip, axis=2, overwrite_x=True)[..., padding : padding + columns]
            # Twice as fast as np.abs, which guards against overflow that cannot happen here.
            magnitude = np.sqrt(response.real**2 + response.imag**2)
            # One axis after the other: three times as fast as a mean over both.
            strips = magnitude.reshape(-1, grid, rows // grid, columns).mean(axis=2)
            cells = strips.reshape(len(block), grid * grid, columns // grid).mean(axis=2)
            features[start : start + step, number] = cells

    run = Parallel(n_jobs, prefer="threads", return_as="generator")
    blocks = run(delayed(describe)(start) for start in starts)
    for _ in tqdm(blocks, "GIST", len(starts), unit="block", disable=None if progress else True):
        pass
    return features.reshape(n, len(bank) * grid * grid)


def gabor_bank(size: int | tuple[int, int]) -> np.ndarray:
    """Transfer functions of the 32 Gabor filters, sampled at the frequencies of an FFT.

    Parameters
    ----------
    size : int or pair of int
        Side or (rows, columns) of the pictures to filter, padding included.

    Returns
    -------
    array of shape (32, rows, columns), float64
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
    bank = np.empty((p["scales"] * p["orientations"], rows, columns))
    for number in range(len(bank)):
        scale, orientation = divmod(number, p["orientations"])
        centre = p["finest_frequency"] / p["scale_ratio"] ** scale
        radial = p["radial_sharpness"] * (frequency / centre - 1) ** 2
        turned = (angle + np.pi / p["orientations"] * orientation + np.pi) % (2 * np.pi) - np.pi
        bank[number] = np.exp(-radial - p["angular_sharpness"] * turned**2)
    return bank


def contrast_normalise(images: np.ndarray) -> np.ndarray:
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
    p = GIST_PARAMETERS["padding"]
    return _normalised(_checked(images))[:, p:-p, p:-p]


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


def _checked(images: np.ndarray) -> np.ndarray:
    """Images as an array, or a sentence on why they are none."""
    images = np.asarray(images)
    grid, shape = GIST_PARAMETERS["grid"], images.shape
    if images.ndim not in (3, 4):
        raise ValueError(f"images must be (n, rows, columns), got {shape}; one needs image[None].")
    if 0 in shape[1:] or shape[1] % grid or shape[2] % grid:
        got = f"{shape[1]} x {shape[2]} pixels; crop or pad them first"
        raise ValueError(f"The sides of the images must be multiples of {grid}, got {got}.")
    numbers = images.dtype.kind in "uif"
    if not (numbers and images.min(initial=0) >= 0 and images.max(initial=0) < np.inf):
        raise ValueError("images must hold numbers from 0 to 255, none of them NaN or infinite.")
    if images.dtype.kind == "f" and 0 < images.max(initial=0) <= 1:
        raise ValueError("images hold intensities from 0 to 1; multiply them by 255.")
    return images
