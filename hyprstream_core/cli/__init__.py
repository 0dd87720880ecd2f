"""The ``hyprstream`` command line: ``main``, one file per verb (``list`` is ``listing``), and what verbs share.

Shared: ``context`` (settings and plugins of this run), ``session`` (services of a running server, or here),
``options``, ``output``, ``progress``.
"""
