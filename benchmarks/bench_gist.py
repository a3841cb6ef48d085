"""GIST, images a second a core: the package against a plain loop over images and filters."""

import time

import numpy as np
import pandas as pd

from grh_helpers.gist import gabor_bank, gist

__all__ = ["plain_gist", "run"]


def plain_gist(images: np.ndarray) -> np.ndarray:
    """Filter one image after the other with one filter after the other, as a reader would."""
    rows, columns = images.shape[1:3]
    bank = gabor_bank((rows + 16, columns + 16))
    fy, fx = np.meshgrid(
        np.fft.fftfreq(rows + 16) * rows, np.fft.fftfreq(columns + 16) * columns, indexing="ij"
    )
    low_pass = 0.5 ** ((fy**2 + fx**2) / 16)
    features = []
    for image in images:
        grey = np.pad(np.log(1 + image.mean(axis=-1)), 8, mode="symmetric")
        detail = grey - np.fft.ifft2(np.fft.fft2(grey) * low_pass).real
        variance = np.abs(np.fft.ifft2(np.fft.fft2(detail**2) * low_pass).real)
        spectrum = np.fft.fft2(detail / (0.2 + np.sqrt(variance)))
        row = []
        for gabor in bank:
            response = np.abs(np.fft.ifft2(spectrum * gabor))[8 : 8 + rows, 8 : 8 + columns]
            for strip in np.split(response, 4, axis=0):
                row += [cell.mean() for cell in np.split(strip, 4, axis=1)]
        features.append(row)
    return np.array(features)


def run(n_images: int = 300, repeats: int = 5) -> pd.DataFrame:
    """Measure both in turn, one thread each, after asserting that they agree.

    Parameters
    ----------
    n_images : int
        Random colour images of 32 x 32.
    repeats : int
        The figures are medians; `ratio_low` and `ratio_high` are the extremes of ours / peer.

    Returns
    -------
    DataFrame
        One row with the columns what, ours, peer, ratio, ratio_low, ratio_high, unit.
    """
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n_images, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_allclose(gist(images[:40], n_jobs=1), plain_gist(images[:40]), rtol=1e-9)
    speed = {gist: [], plain_gist: []}
    for _ in range(repeats):
        for function, options in ((gist, {"n_jobs": 1}), (plain_gist, {})):
            start = time.perf_counter()
            function(images, **options)
            speed[function].append(n_images / (time.perf_counter() - start))
    ratios = np.divide(speed[gist], speed[plain_gist])
    return pd.DataFrame(
        {
            "what": ["GIST, one thread, against a loop over images and filters"],
            "ours": np.median(speed[gist]),
            "peer": np.median(speed[plain_gist]),
            "ratio": np.median(ratios),
            "ratio_low": ratios.min(),
            "ratio_high": ratios.max(),
            "unit": "images a second",
        }
    )


if __name__ == "__main__":
    print(run().to_string(index=False, float_format="{:.1f}".format))
