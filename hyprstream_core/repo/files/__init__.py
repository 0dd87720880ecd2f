"""The files of a model on disk: large objects, worktrees, views, and what differs in them."""
