"""NumPy's BLAS has one thread beside the engine's, and its own number again afterwards."""

from __future__ import annotations

import threading

import pytest

from zoo.orbnet.blas import LARGEST, one_thread


def threads() -> set[int]:
    from threadpoolctl import threadpool_info

    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@pytest.fixture
def two_threads():
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=2, user_api="blas"):
        if threads() != {2}:
            pytest.skip("this BLAS cannot be set to two threads")
        yield


def test_one_thread_within_and_what_was_afterwards(two_threads):
    with one_thread(50):
        assert threads() == {1}
        with one_thread(50):
            assert threads() == {1}
        assert threads() == {1}
    assert threads() == {2}


def test_large_matrices_keep_their_threads(two_threads):
    with one_thread(LARGEST + 1):
        assert threads() == {2}


def test_restored_after_an_error(two_threads):
    with pytest.raises(ZeroDivisionError), one_thread(50):
        raise ZeroDivisionError
    assert threads() == {2}


def test_a_second_thread_neither_limits_nor_restores(two_threads):
    seen = []

    def other():
        with one_thread(50):
            seen.append(threads())

    with one_thread(50):
        caller = threading.Thread(target=other)
        caller.start()
        caller.join(10)
        assert threads() == {1}
    assert seen == [{1}]
    assert threads() == {2}
