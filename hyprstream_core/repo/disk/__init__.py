"""Writing to disk so that crashes, other processes and planted links do no harm."""
