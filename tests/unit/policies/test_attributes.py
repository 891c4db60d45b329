from policies.attributes import ROWS, Attribute, Key, Transport


def test_every_attribute_has_a_row() -> None:
    assert set(ROWS) == set(Attribute)


def test_only_http_attributes_are_http_only() -> None:
    http = {a for a in Attribute if ROWS[a].transport is Transport.HTTP_ONLY}
    token = {a for a in Attribute if ROWS[a].needs_token}
    assert http == {Attribute.HOST, Attribute.METHOD, Attribute.PATH, Attribute.HEADER} | token
    assert token == {a for a in Attribute if a.value.startswith("request.auth.")}


def test_a_key_reads_as_istio_writes_it() -> None:
    assert str(Key(Attribute.HEADER, "x-a")) == "request.headers[x-a]"
    assert str(Key(Attribute.SOURCE_IP)) == "source.ip"
