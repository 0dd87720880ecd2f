"""The inference engine: continuous batching over a paged KV cache with prefix reuse.

Read in this order: ``sequence`` (one answer's state), ``blocks`` (who owns which KV block), ``scheduler`` (what the
next step computes), ``sampler``, ``runner`` (one forward pass), ``engine`` (submit, step, cancel), ``loading`` (from
files to a running engine). The first three import no torch.
"""
