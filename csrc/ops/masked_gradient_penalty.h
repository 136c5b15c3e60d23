// penalty[n] = sum over c, p of (mask[n, p] * gradient[n, c, p])^2, and its derivative. All arrays
// contiguous.
#pragma once

#include <cstdint>

namespace lvlm_va {

struct PenaltySize {
  int64_t images, channels, pixels;
};

// Images begin..end of the batch; sums in double.
template <typename scalar_t>
void masked_gradient_penalty_cpu(
    const scalar_t* gradient,  // [n, c, p]
    const scalar_t* mask,      // [n, p]
    scalar_t* penalty,         // [n]
    PenaltySize size, int64_t begin, int64_t end);

// grad_gradient[n, c, p] = 2 * grad_output[n] * mask[n, p]^2 * gradient[n, c, p]
template <typename scalar_t>
void masked_gradient_penalty_backward_cpu(
    const scalar_t* grad_output,  // [n]
    const scalar_t* gradient,     // [n, c, p]
    const scalar_t* mask,         // [n, p]
    scalar_t* grad_gradient,      // [n, c, p]
    PenaltySize size, int64_t begin, int64_t end);

// The same on a CUDA stream (a cudaStream_t), for the whole batch, not empty. They return null, or the
// message of the error that kept the kernel from starting.
template <typename scalar_t>
const char* launch_masked_gradient_penalty(
    const scalar_t* gradient, const scalar_t* mask, scalar_t* penalty, PenaltySize size, void* stream);

template <typename scalar_t>
const char* launch_masked_gradient_penalty_backward(
    const scalar_t* grad_output, const scalar_t* gradient, const scalar_t* mask, scalar_t* grad_gradient,
    PenaltySize size, void* stream);

}  // namespace lvlm_va
