"""The ``hyprstream`` command line: ``entry`` starts ``main``; one file per verb (``list`` is ``listing``).

Verbs share: ``context`` (settings and plugins of this run), ``session`` (services of a running server, or here),
``options``, ``output``, ``progress``.
"""
