import pytest

from policies import codes
from policies.authorizer import Authorizer, Speaks, read_authorizers
from policies.document import Document, Json
from policies.fields import Fields
from policies.mesh_settings import read_settings
from policies.workload import MeshSettings, PathNormalization


def read(*providers: Json) -> tuple[tuple[Authorizer, ...], list[tuple[str, str]]]:
    root = Fields.of(Document({"extensionProviders": list(providers)}))
    return read_authorizers(root), [(p.code, p.path) for p in root.problems]


def a_provider(speaks: str = "envoyExtAuthzHttp", **fields: Json) -> Json:
    return {"name": "guard", speaks: {"service": "shop/guard.shop", "port": 8000, **fields}}


def test_defaults_are_istios() -> None:
    [found], problems = read(a_provider())
    assert not problems
    assert found == Authorizer("guard", Speaks.HTTP, "guard.shop", 8000)
    assert (found.timeout_seconds, found.fail_open, found.status_on_error) == (600, False, 403)


def test_everything_written_is_read() -> None:
    [found], problems = read(
        a_provider(
            timeout="2s", failOpen=True, statusOnError="503", pathPrefix="/check",
            includeRequestHeadersInCheck=["x"], includeAdditionalHeadersInCheck={"y": "1"},
            headersToUpstreamOnAllow=["a*"], headersToDownstreamOnAllow=["b"], headersToDownstreamOnDeny=["*c"],
            includeRequestBodyInCheck={"maxRequestBytes": 10, "allowPartialMessage": True, "packAsBytes": True},
        )
    )  # fmt: skip
    assert not problems
    assert found == Authorizer(
        "guard", Speaks.HTTP, "guard.shop", 8000, 2.0, True, 503, "/check", ("x",), (("y", "1"),), ("a*",), ("b",),
        ("*c",), 10, True, True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("provider", "code", "path"),
    [
        ({"name": "x"}, codes.MISSING, ""),
        (a_provider(timeout="soon"), codes.BAD_FORMAT, ".envoyExtAuthzHttp.timeout"),
        (a_provider(statusOnError="200"), codes.OUT_OF_RANGE, ".envoyExtAuthzHttp.statusOnError"),
        (a_provider("envoyExtAuthzGrpc", pathPrefix="/"), codes.UNKNOWN_FIELD, ".envoyExtAuthzGrpc.pathPrefix"),
        (
            a_provider(includeRequestBodyInCheck={}), codes.MISSING,
            ".envoyExtAuthzHttp.includeRequestBodyInCheck.maxRequestBytes",
        ),
    ],
)  # fmt: skip
def test_mistakes(provider: Json, code: str, path: str) -> None:
    assert read(provider)[1] == [(code, f"extensionProviders[0]{path}")]


def test_a_name_is_given_once() -> None:
    assert read(a_provider(), a_provider())[1] == [(codes.DEFINED_TWICE, "extensionProviders[1].name")]


def test_settings_say_instead_of_defaults_what_they_name() -> None:
    base = MeshSettings("td", ("old",), "root", PathNormalization.BASE)
    root = Fields.of(
        Document({"numTrustedProxies": 2, "explainDenials": True, "extensionProviders": [a_provider()]})
    )
    found = read_settings(root, defaults=base)
    assert not root.problems
    assert (found.trust_domain, found.trust_domain_aliases, found.root_namespace) == ("td", ("old",), "root")
    assert (found.path_normalization, found.trusted_proxies, found.explain_denials) == ("BASE", 2, True)
    guard = found.authorizer("guard")
    assert guard is not None
    assert found.authorizer("other") is None
    wrong = Fields.of(Document({"rootNamespace": "No", "trustdomain": "x"}))
    read_settings(wrong)
    assert {p.code for p in wrong.problems} == {codes.BAD_NAME, codes.UNKNOWN_FIELD}
