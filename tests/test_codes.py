"""Words against Python's integers, distances against a loop over bits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grh_helpers import pack_bits, unpack_bits
from grh_helpers.codes import check_codes, check_whole, hamming, pack_words

fast = settings(max_examples=60, deadline=None)


@fast
@given(st.integers(1, 200), st.integers(0, 20), st.integers(0, 2**32))
def test_keys_read_as_the_printed_code(n_bits, n, seed):
    bits = np.random.default_rng(seed).random((n, n_bits)) < 0.5
    keys, words = pack_bits(bits), pack_words(bits)
    size = next((s for s in (8, 16, 32, 64) if n_bits <= s), 64)
    assert keys.dtype == words.dtype == np.dtype(f"uint{size}")
    assert words.shape == (n, -(-n_bits // size))
    assert keys.shape == ((n,) if n_bits <= 64 else words.shape)
    assert np.array_equal(keys.reshape(words.shape), words)
    for row, key in zip(bits, words.tolist(), strict=True):
        value = sum(word << 64 * i for i, word in enumerate(reversed(key)))
        assert value == int("".join("01"[int(bit)] for bit in row), 2)
    for stored in (keys, words):
        unpacked = unpack_bits(stored, n_bits)
        assert unpacked.dtype == bool and np.array_equal(unpacked, bits)


def test_keys_by_hand():
    assert pack_bits(np.array([[0, 1, 0, 1], [1, 0, 0, 0]])).tolist() == [5, 8]
    assert pack_bits(np.eye(9, dtype=bool)).tolist() == [2**i for i in range(8, -1, -1)]


@fast
@given(st.integers(1, 400), st.integers(0, 2**32))
def test_hamming_counts_differing_bits(n_bits, seed):
    rng = np.random.default_rng(seed)
    ones, others = rng.random((2, 7, n_bits)) < rng.choice([0.5, 0.02], (2, 1, 1))
    words = pack_words(ones), pack_words(others)
    assert hamming(*words).tolist() == (ones != others).sum(axis=1).tolist()
    table = hamming(words[0][:, None], words[1])  # every one with every other
    assert table.tolist() == (ones[:, None] != others).sum(axis=2).tolist()


def test_hamming_counts_beyond_a_byte():
    assert hamming(pack_words(np.ones((1, 300), bool)), pack_words(np.zeros((1, 300), int))) == 300


EYE = np.eye(4, dtype=bool)
BAD = {
    "no bits": (lambda: pack_bits(EYE[:, :0]), "n_bits at least 1, got .4, 0."),
    "one code": (lambda: pack_bits(EYE[0]), r"shape \(n, n_bits\).*got \(4,\)"),
    "minus ones": (lambda: pack_bits(2 * EYE.astype(int) - 1), "bool or the integers 0 and 1"),
    "twos": (lambda: pack_bits(2 * EYE.astype(np.uint8)), "bool or the integers 0 and 1"),
    "projections": (lambda: check_codes(np.ones((2, 2))), "0 and 1; use projections >= 0"),
    "strings": (lambda: check_codes(np.array([["0", "1"]])), "bool or the integers 0 and 1"),
    "width": (lambda: check_codes(EYE, 3), "codes of 3 bits, the given ones have 4; use the same"),
    "signed keys": (lambda: unpack_bits(np.array([1, 2]), 2), "unsigned integers as pack_bits"),
    "many bits": (lambda: unpack_bits(np.array([1], np.uint8), 9), "n_bits must .* from 1 to 8"),
    "no key bits": (lambda: unpack_bits(np.array([1], np.uint8), 0), "n_bits must.*got 0."),
    "part": (lambda: check_whole("k", 1.5, 1), "k must be a whole number of at least 1, got 1.5."),
    "words": (lambda: check_whole("k", "2", 1), "k must be a whole number .*, got '2'."),
    "truth": (lambda: check_whole("k", True, 1), "k must be a whole number .*, got True."),
    "too low": (lambda: check_whole("k", 0, 1, 9), "k must be a whole number from 1 to 9, got 0."),
    "too high": (lambda: check_whole("k", np.int64(10), 1, 9), "from 1 to 9, got .*10"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_answered_in_a_sentence(case):
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()


def test_whole_numbers_of_any_type_pass():
    for value in (1, 9, np.int64(5), np.uint8(9)):
        check_whole("k", value, 1, 9)


def test_a_number_of_bits_may_be_a_small_integer_of_numpy():
    bits = np.arange(24).reshape(2, 12) % 5 < 2
    assert np.array_equal(unpack_bits(pack_bits(bits), np.uint8(12)), bits)
