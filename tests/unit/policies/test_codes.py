import re

from policies import codes


def constants() -> dict[str, str]:
    return {name: value for name, value in vars(codes).items() if name.isupper() and isinstance(value, str)}


def test_every_code_is_in_the_table_once() -> None:
    assert sorted(constants().values()) == sorted(codes.CODES)
    assert all(re.fullmatch(r"PYL\d{4}", code) for code in codes.CODES)


def test_meanings_are_one_line_and_differ() -> None:
    meanings = list(codes.CODES.values())
    assert len(set(meanings)) == len(meanings)
    assert not any("\n" in meaning for meaning in meanings)


def test_the_12xx_codes_say_that_they_are_not_supported() -> None:
    for code, meaning in codes.CODES.items():
        assert codes.is_unsupported(code) == meaning.startswith("not supported by this version: ")


def test_codes_promised_to_users() -> None:
    assert (codes.UNKNOWN_FIELD, codes.DEFINED_TWICE, codes.UNKNOWN_ATTRIBUTE) == (
        "PYL1002",
        "PYL1005",
        "PYL1017",
    )
