// multipliers[b, n, *] = grad_output[b, n, *] * (f(u) - f(r)) / (u - r) with u = input[0, n, *] and
// r = reference[b, n, *], for every pair of a reference b and an image n.
#pragma once

#include "../shared/activations.h"
#include "../shared/pairs.h"

namespace lvlm_va {

template <typename scalar_t>
struct RescaleArrays {
  PairRows<scalar_t> grad_output, input, reference;
  scalar_t* multipliers;  // [b, n, inner], contiguous
  PairSize size;
};

// How many pieces the work falls into, and the pieces begin..end of them.
int64_t rescale_multipliers_pieces(const PairSize& size);

template <typename scalar_t>
void rescale_multipliers_cpu(
    const Activation& activation, const RescaleArrays<scalar_t>& arrays, int64_t begin, int64_t end);

// The same on a CUDA stream (a cudaStream_t), for all pairs, not empty. Returns null, or the message of the
// error that kept the kernel from starting.
template <typename scalar_t>
const char* launch_rescale_multipliers(
    const Activation& activation, const RescaleArrays<scalar_t>& arrays, void* stream);

}  // namespace lvlm_va
