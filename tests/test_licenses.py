from __future__ import annotations

import pytest

from reinforced.licenses import FAMILIES, License, parse_license


@pytest.mark.parametrize(
    ("text", "family", "version"),
    [
        ("http://creativecommons.org/licenses/by/2.0/", "by", "2.0"),
        ("https://www.creativecommons.org/licenses/by-nc-sa/4.0/deed.de", "by-nc-sa", "4.0"),
        ("//creativecommons.org/publicdomain/zero/1.0/", "cc0", "1.0"),
        ("https://creativecommons.org/publicdomain/mark/1.0", "public-domain-mark", "1.0"),
        ("https://creativecommons.org/licenses/by/", "by", None),
        ("CC-BY-4.0", "by", "4.0"),
        ("cc by-nc 2.0", "by-nc", "2.0"),
        ("CC BY SA 3.0", "by-sa", "3.0"),
        ("BY-ND", "by-nd", None),
        ("CC0", "cc0", None),
        ("CC0-1.0", "cc0", "1.0"),
        ("Attribution-NonCommercial-ShareAlike License", "by-nc-sa", None),
        ("Creative Commons Attribution 4.0 International", "by", "4.0"),
    ],
)
def test_the_usual_ways_to_write_a_licence_are_understood(text: str, family: str, version: str | None) -> None:
    assert parse_license(text) == License(family, version)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "All rights reserved",
        "not CC BY",
        "by the author",
        "CC BY, except the logo",
        "http://example.org/licenses/by/2.0/",
        "http://creativecommons.org.example.org/licenses/by/2.0/",
        "http://example.org/?of=http://creativecommons.org/licenses/by/2.0/",
        "http://creativecommons.org/licenses/sampling/1.0/",
        "http://creativecommons.org/licenses/by-nc-evil/2.0/",
    ],
)
def test_what_is_not_understood_does_not_pass_for_a_free_licence(text: str | None) -> None:
    assert parse_license(text) is None


@pytest.mark.parametrize("family", FAMILIES)
def test_a_licence_is_read_back_from_its_url(family: str) -> None:
    made = License(family, "4.0")  # type: ignore[arg-type]
    assert parse_license(made.url) == made
    assert License(made.family, None).url is None


def test_names_are_those_that_people_write() -> None:
    assert [License("by-sa", "2.0").name, License("cc0", None).name] == ["CC BY-SA 2.0", "CC0"]
