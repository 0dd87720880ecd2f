"""What plugins implement: frozen records that hooks yield, and the classes that those records name.

Records are cheap data; their ``load`` is a ``"module:attribute"`` string, imported when the thing is
first used, so that listing plugins imports nothing heavy. No module here imports torch at run time.
"""
