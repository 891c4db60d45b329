"""A whole machine (a VM) as one workload: agent, Envoy and interception as systemd units."""
