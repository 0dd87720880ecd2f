"""Text: tokenizers, detokenising, stop strings, chat templates, response markup. No torch, no plugins."""
