// contributions[n, *] = mean over b of (images[0, n, *] - references[b, n, *]) * multipliers[b, n, *], each
// mean added up in double and in the order of the references.
#pragma once

#include "../shared/pairs.h"

namespace lvlm_va {

template <typename scalar_t>
struct ReduceArrays {
  PairRows<scalar_t> multipliers, images, references;
  scalar_t* contributions;  // [n, inner], contiguous
  PairSize size;
};

// How many pieces the work falls into, and the pieces begin..end of them.
int64_t attribution_reduce_pieces(const PairSize& size);

template <typename scalar_t>
void attribution_reduce_cpu(const ReduceArrays<scalar_t>& arrays, int64_t begin, int64_t end);

// The same on a CUDA stream (a cudaStream_t), for all images, not empty. Returns null, or the message of the
// error that kept the kernel from starting.
template <typename scalar_t>
const char* launch_attribution_reduce(const ReduceArrays<scalar_t>& arrays, void* stream);

}  // namespace lvlm_va
