"""A string that does not print itself."""

import pickle
import traceback

import pytest

from pmcredd.secret import Secret

VALUE = "very-secret-value"


def test_it_does_not_print_itself() -> None:
    """No way of turning a Secret into text tells it: only reveal() does."""
    secret = Secret(VALUE)

    for text in (str(secret), repr(secret), f"{secret}", f"{secret!r}", "%s" % secret, str([secret])):  # noqa: UP031 - one of the ways
        assert VALUE not in text
    assert secret.reveal() == VALUE


def test_it_cannot_be_pickled() -> None:
    """A Secret is written to no pickle."""
    with pytest.raises(TypeError, match="cannot be pickled") as caught:
        pickle.dumps(Secret(VALUE))

    assert VALUE not in "".join(traceback.format_exception(caught.value))


def test_equality_and_fingerprint() -> None:
    """Equal values are equal secrets with one fingerprint of 16 hexadecimal digits; a plain string is no Secret."""
    assert Secret(VALUE) == Secret(VALUE)
    assert hash(Secret(VALUE)) == hash(Secret(VALUE))
    assert Secret(VALUE) != Secret("other")
    assert Secret(VALUE) != VALUE
    assert Secret("abc").fingerprint() == "ba7816bf8f01cfea"
