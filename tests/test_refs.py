from __future__ import annotations

import pytest

from promptctl.errors import InvalidName
from promptctl.store.refs import Ref, check_name


def test_a_reference_is_a_name_and_perhaps_a_version():
    assert Ref.parse("birds") == Ref("birds", None)
    assert Ref.parse("birds@3") == Ref("birds", 3)
    assert str(Ref.parse("garden_birds-2@12")) == "garden_birds-2@12"


@pytest.mark.parametrize(
    ("name", "sentence", "hint"),
    [
        ("", "'' is not a context name: it is empty", "use letters, digits, '-' and '_'"),
        (
            "../x",
            "'../x' is not a context name: only letters, digits, '-' and '_' may be in it, a letter or digit first",
            "try 'x'",
        ),
        (
            "My Pets",
            "'My Pets' is not a context name: only letters, digits, '-' and '_' may be in it, a letter or digit first",
            "try 'My-Pets'",
        ),
        ("CON", "'CON' is not a context name: Windows keeps that name for a device", "try 'my-CON'"),
        ("lpt1", "'lpt1' is not a context name: Windows keeps that name for a device", "try 'my-lpt1'"),
        ("a" * 65, f"{'a' * 65!r} is not a context name: it is 65 characters long, 64 at most", f"try '{'a' * 64}'"),
        (
            "vögel",
            "'vögel' is not a context name: only letters, digits, '-' and '_' may be in it, a letter or digit first",
            "try 'vogel'",
        ),
        (
            "птицы",
            "'птицы' is not a context name: only letters, digits, '-' and '_' may be in it, a letter or digit first",
            "use letters, digits, '-' and '_'",
        ),
    ],
)
def test_a_bad_name_is_refused_with_a_suggestion(name, sentence, hint):
    with pytest.raises(InvalidName) as refused:
        check_name(name)
    assert (str(refused.value), refused.value.hint) == (sentence, hint)


@pytest.mark.parametrize("text", ["birds@", "birds@0", "birds@x", "birds@-1", "birds@²"])
def test_a_version_is_a_number_from_1(text):
    with pytest.raises(InvalidName, match="the version after '@' is a number from 1"):
        Ref.parse(text)


@pytest.mark.parametrize("name", [".", "..", "-x", "a/b", "a\\b", "a\nb", "a\x1b[31m", "nul", "com1", "a@b"])
def test_every_suggestion_is_itself_a_name(name):
    with pytest.raises(InvalidName) as refused:
        check_name(name)
    hint = refused.value.hint
    if hint.startswith("try "):
        check_name(hint.removeprefix("try '").removesuffix("'"))
