"""What theorems state, as numbers: each statement as printed, and as corrected where the print has a counterexample."""
