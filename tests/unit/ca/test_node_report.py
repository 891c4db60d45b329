from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ca import node_report
from ca.errors import NodeProtocolError
from ca.node_codec import decode_from_agent, decode_from_server, encode
from ca.node_protocol import Report, Reported
from ca.node_report import FoundPort, FoundWorkload, NotTaken

WEB = FoundWorkload(
    "shop", "web", "web-1", ("web",), (FoundPort(80, "HTTP"),), {"app": "web"}, ("docker:container:web-1",),
    ("172.18.0.2",), ("172.18.0.0/16",),
)  # fmt: skip


def test_a_report_comes_out_as_it_went_in() -> None:
    report = Report((WEB, replace(WEB, name="web-2", ipv6=True, passthrough=True, observe=True)))
    assert decode_from_agent(encode([report])) == [report]
    told = Reported((NotTaken("shop/web-2", "no"),))
    assert decode_from_server(encode([told])) == [told]


@pytest.mark.parametrize(
    "wrong",
    [
        {"addresses": []}, {"addresses": ["web"]}, {"networks": ["172.18.0.1/16"]}, {"networks": []}, {"ports": [[0, "TCP"]]},
        {"ports": [[80, "UDP"]]}, {"ports": [80]}, {"labels": {"a": 1}}, {"ipv6": 1}, {"name": ""}, {"hosts": [""]},
    ],
)  # fmt: skip
def test_what_is_no_report_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(NodeProtocolError):
        node_report.from_json({**node_report.to_json(WEB), **wrong})
