"""Blocks that model families compose, and the differentiable operations behind them."""
