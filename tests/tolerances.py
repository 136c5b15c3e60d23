"""Every tolerance of the tests, with its reason. Change one here, with a reason, or not at all."""

from __future__ import annotations

import torch

# One op against its float64 oracle: (rtol, atol). A few hundred additions in the op's own precision
# lose about two digits; atol covers sums that cancel to nearly zero.
OP: dict[torch.dtype, tuple[float, float]] = {
    torch.float32: (1e-4, 1e-6),
    torch.float64: (1e-10, 1e-12),
}

# A slope of an activation against its float64 oracle: (rtol, atol). Where the quotient and the derivative at the
# midpoint change over, both are off by about eps^(2/3) of the function's size, not of the slope's.
SLOPE: dict[torch.dtype, tuple[float, float]] = {
    torch.float32: (1e-4, 3e-5),
    torch.float64: (1e-10, 5e-10),
}

# Largest |sum(attributions) - (f(x) - mean f(b))| over mean |f(x) - f(b)|: the whole net's rounding.
COMPLETENESS: dict[torch.dtype, float] = {torch.float32: 1e-4, torch.float64: 1e-10}

# The same with multipliers in bfloat16 through convolutions: 8 bits, each net layer rounding once.
LOWERED_COMPLETENESS = 5e-2

# Attributions against captum's where captum is right: both in float64, eps rules at kinks differ.
CAPTUM_RELATIVE = 1e-5

# Moments of a fitted mixture against those of the Gaussian blobs that were drawn: the blobs are sampled at
# pixels, cut off in their tails, and EM stops at its tolerance.
BLOB_MOMENTS: dict[str, float] = {"rtol": 1e-2, "atol": 1e-3}

# EM against scikit-learn's, relative: it adds 10 eps to the weight of each component, at every step.
EM_SKLEARN = 1e-9

# How far a likelihood that theory says cannot fall may fall: rounding of a sum of logarithms.
EM_DROP = 1e-12

# Shares of effect at convergence against the shares: what EM still moves when it has long stopped growing.
EM_FIXED_POINT = 1e-8

# EM of a transposed map against the transposed EM: the Cholesky factor starts from the other axis, and
# covariances far below a pixel lose digits to it.
EM_TRANSPOSED = 1e-6

# Smallest eigenvalue of a covariance against its floor, relative to the largest: rounding moves it by that.
EM_FLOOR = 1e-12

# The recurrence of a block of pixels against the same one in long double, relative: 64 rows of two products,
# whose rounding adds up twice.
DESCENT = 1e-13

# The kernels' exp and log, in units in the last place: their series ends far below one, but a quotient,
# a product and a sum round one after the other.
VECTOR_MATH_ULPS = 2.5

# Their expm1 and log1p likewise, and erf in units in the last place of 1: one product and one sum more.
LONGER_VECTOR_MATH_ULPS = 4

# How far above the minimum, relatively, the l1 solvers of DFR may stop, and how far from the conditions of optimality,
# as a share of the penalty's slope: with more than two classes they are told to stop early.
L1_OBJECTIVE = 5e-3
L1_SLOPE = 0.2

# Curves and weights of training in two processes, or batches cut into parts, against one: sums in another order,
# carried on by the optimizer through some steps. In float64.
PROCESSES: dict[str, float] = {"rtol": 1e-5, "atol": 1e-9}

# Losses and their derivatives in bfloat16 against float32, relative: 8 bits, rounded once per layer and pass.
BF16 = 3e-2
