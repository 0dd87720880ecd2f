"""The hooks' first users: everything built in registers here exactly as a third party's plugin would."""

from __future__ import annotations

api_version = "1.0"
