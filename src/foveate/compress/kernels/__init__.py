"""Kernels for GPUs. Importing one imports Triton, which is not everywhere: do so where it is of use."""
