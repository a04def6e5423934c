# SPDX-License-Identifier: LGPL-2.1-or-later
"""The peers that drover is measured beside. Each copies one file between two of the laboratory's hosts and gives the seconds it took."""
