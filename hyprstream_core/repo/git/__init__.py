"""One git repository: its objects, index, references, configuration and history, beside stock git."""
