"""Weight files: strict reading of safetensors headers, the index over shards, and mapping into memory.

``header`` and ``index`` know names, shapes and offsets and import no torch; ``loader`` makes tensors.
"""
