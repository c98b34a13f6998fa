"""How distances are computed: pure solvers, each with a certificate; the one entry is ``wasserstein``."""
