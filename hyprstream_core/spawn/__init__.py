"""Starts services as a task, a thread or a subprocess, and stops them."""
