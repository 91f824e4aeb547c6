"""Layer normalisation of rows, with the residual addition before it fused."""
