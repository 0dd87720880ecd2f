"""Real servers that tests start on loopback: sshd, git daemon, giftless (a git-lfs server not written here)."""
