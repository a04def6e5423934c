"""The laboratory: real KVM hosts on one machine, out of namespaces."""
