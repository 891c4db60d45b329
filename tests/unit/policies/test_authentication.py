from policies.authentication import DEFAULT_LOCATIONS, Authentication, JwtRule, Location, Where

X = Location(Where.HEADER, "x")


def test_rules_are_grouped_by_where_they_look() -> None:
    first, second = JwtRule("a", "a"), JwtRule("b", "b", locations=(X, DEFAULT_LOCATIONS[0]))
    assert Authentication((first, second)).by_location == {
        DEFAULT_LOCATIONS[0]: (first, second), DEFAULT_LOCATIONS[1]: (first,), X: (second,),
    }  # fmt: skip


def test_keys_come_from_the_rule_its_uri_or_its_issuer() -> None:
    assert JwtRule("a", "https://i/", jwks="{}").key_source == ""
    assert JwtRule("a", "https://i/", jwks_uri="https://k").key_source == "https://k"
    assert JwtRule("a", "https://i/").key_source == "https://i/.well-known/openid-configuration"
