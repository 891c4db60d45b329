from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from controlplane.cli.svid import svid

ID = "spiffe://example.org/ns/shop/sa/orders"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("PYLIS_STATE_DIR", "PYLIS_KUBECONFIG", "PYLIS_SERVER"):
        monkeypatch.delenv(name, raising=False)


def run(*args: str, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(svid, args, input=stdin, catch_exceptions=False)


def answer(*args: str, code: int = 0) -> Any:
    result = run(*args, "-o", "json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def minted(out: str = "D", *more: str) -> Path:
    assert run("mint", "--spiffe-id", ID, "--out", out, *more).exit_code == 0
    return Path(out)


def test_openssl_believes_what_is_minted() -> None:
    minted()
    command = [
        "openssl",
        "verify",
        "-x509_strict",
        "-CAfile",
        "D/bundle.pem",
        "-untrusted",
        "D/svid.pem",
        "D/svid.pem",
    ]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0


def test_the_key_is_private_and_the_authority_too() -> None:
    assert minted().joinpath("key.pem").stat().st_mode & 0o777 == 0o600
    assert Path(".pylis/ca/example.org").stat().st_mode & 0o777 == 0o700


def test_a_new_authority_is_announced_once() -> None:
    first, second = (run("mint", "--spiffe-id", ID, "--out", out) for out in ("A", "B"))
    assert "made a new authority" in first.stderr
    assert "made a new authority" not in second.stderr
    assert Path("A/bundle.pem").read_text() == Path("B/bundle.pem").read_text()
    assert Path("A/key.pem").read_text() != Path("B/key.pem").read_text()


def test_minting_again_replaces_the_files_and_follows_no_link() -> None:
    Path("theirs").write_text("theirs")
    Path("D").mkdir()
    Path("D/key.pem").symlink_to(Path("theirs").absolute())
    minted()
    assert Path("theirs").read_text() == "theirs"
    assert sorted(path.name for path in Path("D").iterdir()) == ["bundle.pem", "key.pem", "svid.pem"]


@pytest.mark.parametrize(
    ("identity", "reason"),
    [("spiffe://example.org/pylis/server", "reserved"), ("spiffe://example.org", "needs a path"),
     ("x", "scheme"), ("spiffe://../a", "local authority")],
)  # fmt: skip
def test_ids_no_workload_may_have_are_refused(identity: str, reason: str) -> None:
    result = run("mint", "--spiffe-id", identity, "--out", "D")
    assert (result.exit_code, Path("D").exists()) == (2, False)
    assert reason in result.stderr


@pytest.mark.parametrize(
    "more",
    [
        ("--ttl", "soon"),
        ("--ttl", "0s"),
        ("--ttl", "-1h"),
        ("--dns", "a b"),
        ("--dns", "server.pylis.internal"),
        ("--dns", "é"),
    ],
)
def test_other_mistakes_are_refused(more: tuple[str, str]) -> None:
    assert run("mint", "--spiffe-id", ID, "--out", "D", *more).exit_code == 2
    assert not Path("D").exists()


def test_one_of_id_and_file_is_needed() -> None:
    assert run("mint", "--out", "D").exit_code == 2
    Path("ids").write_text(ID)
    assert run("mint", "--out", "D", "--spiffe-id", ID, "--ids-file", "ids").exit_code == 2


def test_many_at_once_in_the_files_order() -> None:
    ids = [f"spiffe://example.org/ns/shop/sa/{name}" for name in ("c", "a", "b")]
    Path("ids").write_text("# shop\n" + "\n\n".join(ids) + "\n")
    found = answer("mint", "--ids-file", "ids", "--out", "D")["svids"]
    assert [one["spiffeId"] for one in found] == ids
    for number, identity in enumerate(ids):
        assert answer("show", f"D/{number}/svid.pem")["certificates"][0]["spiffeId"] == identity


def test_every_bad_line_is_named_and_nothing_is_written() -> None:
    Path("ids").write_text(f"{ID}\nnonsense\nspiffe://example.org/pylis/x\n")
    result = run("mint", "--ids-file", "ids", "--out", "D")
    assert (result.exit_code, Path("D").exists()) == (2, False)
    assert "ids:2" in result.stderr
    assert "ids:3" in result.stderr


def test_a_ttl_beyond_the_authoritys_is_clipped_and_said() -> None:
    result = run("mint", "--spiffe-id", ID, "--out", "D", "--ttl", "96h")
    assert result.exit_code == 0
    assert "valid only until" in result.stderr


def test_show_tells_what_the_certificates_say() -> None:
    minted("D", "--dns", "orders.shop")
    leaf, authority = answer("show", "D/svid.pem")["certificates"]
    assert (leaf["role"], leaf["spiffeId"], leaf["dnsNames"]) == ("leaf", ID, ["orders.shop"])
    assert (authority["role"], authority["spiffeId"]) == ("authority", "spiffe://example.org")
    assert leaf["profileProblems"] == authority["profileProblems"] == []
    assert ID in run("show", "D/svid.pem").stdout


def test_verify_says_yes() -> None:
    minted()
    assert answer("verify", "--bundle", "D/bundle.pem", "D/svid.pem")["valid"] is True


def test_verify_says_no_with_the_reasons() -> None:
    minted()
    found = answer("verify", "--bundle", "D/bundle.pem", "D/svid.pem", "--at", "2099-01-01T00:00:00Z", code=1)
    assert (found["valid"], found["spiffeId"]) == (False, ID)
    assert len(found["problems"]) >= 2
    assert (
        run("verify", "--bundle", "D/bundle.pem", "D/svid.pem", "--at", "2099-01-01T00:00:00Z").exit_code == 1
    )


def test_another_authority_of_the_same_trust_domain_is_not_believed() -> None:
    minted("A", "--state-dir", "one")
    minted("B", "--state-dir", "two")
    assert answer("verify", "--bundle", "A/bundle.pem", "B/svid.pem", code=1)["valid"] is False


def test_authorities_of_other_trust_domains_never_vouch() -> None:
    minted("A")
    other = "spiffe://other.org/x"
    assert run("mint", "--spiffe-id", other, "--out", "B").exit_code == 0
    only_other = answer("verify", "--bundle", "B/bundle.pem", "A/svid.pem", code=1)
    assert "its trust domain is example.org" in only_other["problems"][-1]
    Path("both.pem").write_text(Path("A/bundle.pem").read_text() + Path("B/bundle.pem").read_text())
    assert answer("verify", "--bundle", "both.pem", "A/svid.pem")["valid"] is True


def test_an_empty_bundle_revokes() -> None:
    minted()
    Path("empty.json").write_text('{"keys": []}')
    assert "revoked" in answer("verify", "--bundle", "empty.json", "D/svid.pem", code=1)["problems"][0]


@pytest.mark.spiffe("ID-22")
def test_what_cannot_be_read_is_a_mistake_not_a_no() -> None:
    minted()
    Path("nonsense").write_bytes(b"\xff\x00")
    Path("lines").write_text("a\nb\n")
    Path("cut.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n")
    for file in ("nonsense", "missing", "lines", "cut.pem"):
        assert run("show", file).exit_code == 2, file
        assert run("verify", "--bundle", "D/bundle.pem", file).exit_code == 2, file
    assert run("verify", "--bundle", "nonsense", "D/svid.pem").exit_code == 2
    without_zone = ("--at", "2026-01-01T00:00:00")
    assert run("verify", "--bundle", "D/bundle.pem", "D/svid.pem", *without_zone).exit_code == 2


def minted_jwt(out: str = "J", *more: str) -> Path:
    done = run("mint", "--spiffe-id", ID, "--out", out, "--jwt", "--audience", "db", *more)
    assert done.exit_code == 0, done.output
    return Path(out)


@pytest.mark.spiffe("J-08", "J-09", "J-11")
def test_a_jwt_svid_is_minted_shown_and_verified() -> None:
    assert minted_jwt().joinpath("svid.jwt").stat().st_mode & 0o777 == 0o600
    shown = answer("show", "J/svid.jwt")
    assert (shown["role"], shown["spiffeId"], shown["audience"]) == ("token", ID, ["db"])
    assert ID in run("show", "J/svid.jwt").stdout
    assert Path("J/svid.jwt").read_text().rpartition(".")[2].strip() not in run("show", "J/svid.jwt").stdout
    assert answer("verify", "--bundle", "J/bundle.json", "J/svid.jwt", "--audience", "db")["valid"] is True
    several = ("--audience", "web", "--audience", "db")
    assert answer("verify", "--bundle", "J/bundle.json", "J/svid.jwt", *several)["valid"] is True


def test_a_jwt_svid_is_refused_with_every_reason() -> None:
    minted_jwt()
    late = ("--audience", "web", "--at", "2099-01-01T00:00:00Z")
    found = answer("verify", "--bundle", "J/bundle.json", "J/svid.jwt", *late, code=1)
    assert (found["valid"], found["spiffeId"], len(found["problems"])) == (False, ID, 2)
    minted_jwt("K", "--state-dir", "other")
    key = answer("verify", "--bundle", "K/bundle.json", "J/svid.jwt", "--audience", "db", code=1)
    assert "no key of the bundle" in key["problems"][0]
    minted("D")
    by_pem = answer("verify", "--bundle", "D/bundle.pem", "J/svid.jwt", "--audience", "db", code=1)
    assert "no JWT keys" in by_pem["problems"][0]
    Path("text").write_text("hello\n")
    text = answer("verify", "--bundle", "J/bundle.json", "text", "--audience", "db", code=1)
    assert "compact" in text["problems"][0]
    assert run("show", "text").exit_code == 2


def test_a_jwt_without_a_place_is_printed() -> None:
    done = run("mint", "--spiffe-id", ID, "--jwt", "--audience", "db")
    assert (done.exit_code, done.stdout.count("."), done.stdout.count("\n")) == (0, 2, 1)


def test_many_jwts_at_once() -> None:
    Path("ids").write_text(f"{ID}\nspiffe://example.org/b\n")
    found = answer("mint", "--ids-file", "ids", "--out", "D", "--jwt", "--audience", "db")["svids"]
    assert [one["svid"] for one in found] == ["D/0/svid.jwt", "D/1/svid.jwt"]
    assert answer("show", "D/1/svid.jwt")["spiffeId"] == "spiffe://example.org/b"


@pytest.mark.parametrize(
    "args",
    [
        ("--jwt",),
        ("--audience", "db"),
        ("--jwt", "--audience", ""),
        ("--jwt", "--audience", "db", "--dns", "a.b"),
    ],
)
def test_options_that_do_not_go_together_are_refused(args: tuple[str, ...]) -> None:
    assert run("mint", "--spiffe-id", ID, "--out", "D", *args).exit_code == 2
    assert run("mint", "--spiffe-id", ID).exit_code == 2
    minted()
    assert run("verify", "--bundle", "D/bundle.pem", "D/svid.pem", "--audience", "db").exit_code == 2
    minted_jwt()
    assert run("verify", "--bundle", "J/bundle.json", "J/svid.jwt").exit_code == 2


def test_parse_id_answers_and_exits_by_the_answer() -> None:
    assert answer("parse-id", ID) == {
        "id": ID, "ok": True, "trustDomain": "example.org", "path": "/ns/shop/sa/orders", "reason": None
    }  # fmt: skip
    assert "dot segment" in answer("parse-id", "spiffe://a/..", code=1)["reason"]
    assert run("parse-id").exit_code == 2


def test_a_line_in_is_a_line_out_whatever_it_is() -> None:
    lines = [
        b'"spiffe://a/b"',
        b"",
        b"nonsense",
        b"1",
        b"\xff",
        b'"\\ud800"',
        b"[" * 5000,
        b'"' + b"x" * 5000 + b'"',
        b"\xef\xbb\xbf",
    ]
    result = run("parse-id", "--json-lines", stdin=b"\n".join(lines))
    assert result.exit_code == 0
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [one["ok"] for one in answers] == [True] + [False] * (len(lines) - 1)
    assert all(set(one) == {"id", "ok", "trustDomain", "path", "reason"} for one in answers)
