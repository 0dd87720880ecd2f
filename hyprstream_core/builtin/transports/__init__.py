"""git over http(s), ssh, its own protocol, and from folders: one file each, and ``streams``, what two of them share."""

from __future__ import annotations
