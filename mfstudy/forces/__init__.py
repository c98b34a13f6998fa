"""Sums over sources: what particles, quadrature nodes and tracers feel."""
