"""Codes: rows of bits, the machine words that they are kept in, and Hamming distances."""

from numbers import Integral

import numpy as np

__all__ = ["check_codes", "hamming", "pack_bits", "pack_words", "unpack_bits"]


def pack_bits(bits: np.ndarray) -> np.ndarray:
    """Read each row of bits as one unsigned number, the first bit being the most significant.

    Built by hand in chapter 2.

    Parameters
    ----------
    bits : array of shape (n, n_bits), bool or 0/1 integers

    Returns
    -------
    array of shape (n,) of the smallest unsigned type that fits, or for more than 64 bits
        of shape (n, words), uint64, most significant word first.

    Raises
    ------
    ValueError
        If `bits` is not such an array.

    Examples
    --------
    >>> pack_bits(np.array([[False, True, False, True]]))
    array([5], dtype=uint8)
    """
    words = pack_words(bits)
    return words[:, 0] if words.shape[1] == 1 else words


def pack_words(bits: np.ndarray, n_bits: int | None = None) -> np.ndarray:
    """Pack bits as `pack_bits` does, always into an array of shape (n, n_words).

    With `n_bits`, raises ValueError if the codes have another number of bits.
    """
    bits = check_codes(bits, n_bits)
    size = next(size for size in (8, 16, 32, 64) if bits.shape[1] <= size or size == 64)
    if bits.shape[1] % size:  # zeros in front
        bits = np.pad(bits, ((0, 0), (-bits.shape[1] % size, 0)))
    # Packed bytes, read as big-endian words: some twenty times as fast as bits @ powers of two.
    words = np.packbits(np.ascontiguousarray(bits).ravel()).view(f">u{size // 8}")
    return words.astype(f"u{size // 8}").reshape(len(bits), bits.shape[1] // size)


def unpack_bits(keys: np.ndarray, n_bits: int) -> np.ndarray:
    """Undo `pack_bits`.

    Used in chapter 10.

    Parameters
    ----------
    keys : array of shape (n,) or, for more than 64 bits, (n, words), unsigned integers
    n_bits : int

    Returns
    -------
    array of shape (n, n_bits), bool

    Raises
    ------
    ValueError
        If the keys are not unsigned integers or have fewer than `n_bits` bits.

    Examples
    --------
    >>> unpack_bits(np.array([5], dtype=np.uint8), 4).astype(int)
    array([[0, 1, 0, 1]])
    """
    keys = np.asarray(keys)
    if keys.dtype.kind != "u" or keys.ndim not in (1, 2):
        raise ValueError("Keys must be unsigned integers as pack_bits returns them, others given.")
    keys = keys[:, None] if keys.ndim == 1 else keys
    n_bits = check_whole("n_bits", n_bits, 1, keys.shape[1] * keys.itemsize * 8)
    octets = np.ascontiguousarray(keys, keys.dtype.newbyteorder(">")).view(np.uint8)
    return np.unpackbits(octets, axis=1)[:, -n_bits:].astype(bool)


def hamming(words: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Count the bits in which codes differ: the ones of their XOR.

    Built by hand in chapter 3.

    Parameters
    ----------
    words, others : arrays of shapes (..., n_words) that broadcast, unsigned integers
        Codes as `pack_bits` writes them; give codes of one word a last axis of length 1.

    Returns
    -------
    array of shape (...), the smallest unsigned type that fits
        Hamming distances, in bits.

    Examples
    --------
    >>> hamming(np.array([[5], [7]], dtype=np.uint8), np.array([4], dtype=np.uint8))
    array([1, 2], dtype=uint8)
    """
    # Word by word, because a sum over a short last axis takes several times as long.
    n_words = words.shape[-1]
    counts = [np.bitwise_count(words[..., j] ^ others[..., j]) for j in range(n_words)]
    return sum(counts[1:], counts[0].astype(np.min_scalar_type(64 * n_words), copy=False))


def check_codes(codes: np.ndarray, n_bits: int | None = None) -> np.ndarray:
    """Return codes as a bool array of shape (n, n_bits), or say what is wrong with them.

    Parameters
    ----------
    codes : array-like of shape (n, n_bits), bool or 0/1 integers
    n_bits : int, optional
        The number of bits that they must have.

    Returns
    -------
    array of shape (n, n_bits), bool

    Raises
    ------
    ValueError
        If `codes` is not such an array.
    """
    codes = np.asarray(codes)
    if codes.ndim != 2 or codes.shape[1] < 1:
        raise ValueError(f"Codes need the shape (n, n_bits), n_bits at least 1, got {codes.shape}.")
    if codes.dtype != bool and (codes.dtype.kind not in "iu" or not np.isin(codes, (0, 1)).all()):
        raise ValueError("Codes must be bool or the integers 0 and 1; use projections >= 0.")
    if n_bits not in (None, codes.shape[1]):
        lengths = f"has codes of {n_bits} bits, the given ones have {codes.shape[1]}"
        raise ValueError(f"The database {lengths}; use the same hash function for both.")
    return codes.astype(bool, copy=False)


def check_whole(name: str, value: int, low: int, high: float = np.inf) -> int:
    """Return a whole number from `low` to `high` as Python's int, which no sum wraps around."""
    if isinstance(value, bool) or not (isinstance(value, Integral) and low <= value <= high):
        limits = f"of at least {low}" if high == np.inf else f"from {low} to {high}"
        raise ValueError(f"{name} must be a whole number {limits}, got {value!r}.")
    return int(value)
