from __future__ import annotations

from controlplane.debugging import redacted


def test_what_envoy_marks_as_sensitive_is_left_out_wherever_it_stands() -> None:
    config = {
        "name": "c",
        "tls_certificates": [
            {"certificate_chain": {"filename": "a"}, "private_key": {"inline_string": "KEY"}}
        ],
        "nested": {"generic_secret": {"secret": {"inline_string": "TOKEN"}}, "password": "P"},
    }
    found = redacted(config)
    assert found == {
        "name": "c",
        "tls_certificates": [{"certificate_chain": {"filename": "a"}, "private_key": "[redacted]"}],
        "nested": {"generic_secret": "[redacted]", "password": "[redacted]"},
    }
    assert "KEY" in str(config), "what was given is not changed"
