# SPDX-License-Identifier: LGPL-2.1-or-later
"""The laboratory: real KVM hosts on one machine, out of namespaces."""
