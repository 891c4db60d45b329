"""The rules of one container's network namespace, as nftables text: redirect, and guard. Pure.

    out_redirect   the app's TCP goes to the sidecar; the sidecar's own, marked, goes out
    in_redirect    all TCP from outside goes to the sidecar
    out_guard      what was not redirected and is not marked is reset: connections of before the rules, and a sidecar
    in_guard       that forgot its mark

Loaded in one transaction that also removes what was there, so open connections through the sidecar live on.
Loopback is left alone, and with it Docker's DNS: a namespace is one trust domain. UDP and ICMP are not covered.
Source: nft(8); hooks and priorities are numbers, for older nft knows their names on fewer hooks
"""

from __future__ import annotations

from typing import Final

TABLE: Final = "pylis"
MARK: Final = 0x50590001
PROXY_UID: Final = 61337
INBOUND_PORT: Final = 15006
OUTBOUND_PORT: Final = 15001


def removal() -> str:
    """Also right where there is nothing to remove."""
    return f"add table inet {TABLE}\ndelete table inet {TABLE}\n"


def container() -> str:
    """For `nft -f -` inside the namespace."""
    return f"""{removal()}table inet {TABLE} {{
  chain out_redirect {{
    type nat hook output priority -100; policy accept;
    meta l4proto != tcp return
    oif "lo" return
    meta mark {MARK:#x} ct mark set meta mark return
    meta skuid {PROXY_UID} return
    meta l4proto tcp redirect to :{OUTBOUND_PORT}
  }}
  chain in_redirect {{
    type nat hook prerouting priority -100; policy accept;
    meta l4proto != tcp return
    iif "lo" return
    fib daddr type != local return
    meta l4proto tcp redirect to :{INBOUND_PORT}
  }}
  chain out_guard {{
    type filter hook output priority 0; policy accept;
    meta l4proto != tcp return
    oif "lo" return
    ct mark {MARK:#x} return
    ct status dnat return
    tcp flags & rst == rst return
    meta l4proto tcp reject with tcp reset
  }}
  chain in_guard {{
    type filter hook input priority 0; policy accept;
    meta l4proto != tcp return
    iif "lo" return
    ct mark {MARK:#x} return
    ct status dnat return
    meta l4proto tcp reject with tcp reset
  }}
}}
"""
