"""Plugin for hyprstream."""

api_version = "1.0"
