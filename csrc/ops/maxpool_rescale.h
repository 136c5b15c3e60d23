// multipliers[b, n, p, s] = sum of grad_output[b, n, p, o] * share over the windows o that give their change
// to position s, for every pair of a reference b and an image n: see shared/window.h. Windows are added up in
// their order, so the same input gives the same bits every time.
#pragma once

#include "../shared/pairs.h"

namespace lvlm_va {

struct PoolSize {
  PairSize pairs;  // of planes of positions
  int64_t planes;  // p
  int64_t windows, positions;
};

template <typename scalar_t>
struct PoolArrays {
  PairRows<scalar_t> grad_output;                      // [b, n, p, o]
  PairRows<scalar_t> input, reference;                 // [b, n, p, s]
  PairRows<int64_t> input_indices, reference_indices;  // [b, n, p, o], positions
  scalar_t* multipliers;                               // [b, n, p, s], contiguous
  PoolSize size;
};

// Planes begin..end of all b * n * p, of which p vary fastest, then n. Returns false where an index lies
// outside the positions; nothing outside is read or written.
template <typename scalar_t>
bool maxpool_rescale_cpu(const PoolArrays<scalar_t>& arrays, int64_t begin, int64_t end);

// The same on a CUDA stream (a cudaStream_t), for all planes, not empty. A plane with an index outside the
// positions becomes NaN. Returns null, or the message of the error that kept the kernel from starting.
template <typename scalar_t>
const char* launch_maxpool_rescale(const PoolArrays<scalar_t>& arrays, void* stream);

}  // namespace lvlm_va
