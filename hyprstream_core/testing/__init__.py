"""For plugin authors: conformance suites to subclass, fakes, random checkpoints."""
