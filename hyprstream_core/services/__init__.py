"""Composition: what joins git's bytes to the engine's tensors, as services that RPC hosts."""
