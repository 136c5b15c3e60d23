// Weighted EM of a two-dimensional Gaussian mixture for each image. All arrays contiguous.
//
// Maximises sum_i w_i log sum_j share_j N(z_i | mean_j, S_j) over S_j >= diag(floor), where pixel i in row r
// and column c has z = ((r + 0.5) / height, (c + 0.5) / width). Pixels of weight <= 0 take no part.
#pragma once

#include <cstdint>

#include "../shared/mixture2d.h"

namespace lvlm_va {

struct EMSize {
  int64_t images, height, width, components;
};

struct EMStart {
  const double* means;        // [n, j, 2]
  const double* covariances;  // [n, j, 2, 2]
  const double* shares;       // [n, j]
};

struct EMFit {
  double* means;           // [n, j, 2]
  double* covariances;     // [n, j, 2, 2]
  double* shares;          // [n, j]
  double* log_likelihood;  // [n], of these parameters
  int64_t* n_iter;         // [n], updates made
  int64_t* labels;         // [n, h, w], argmax_j r_ij + 1 under these parameters, 0 where the weight is 0
};

// Images begin..end of the batch.
template <typename scalar_t>
void ppeps_em_cpu(
    const scalar_t* weights,  // [n, h, w]
    const EMStart& start, const EMFit& fit, const EMSize& size, const EMOptions& options, int64_t begin,
    int64_t end);

// The most components that the CUDA kernel keeps in shared memory.
constexpr int64_t kMaxCudaComponents = 256;

// The same on a CUDA stream (a cudaStream_t), for the whole batch, not empty. Returns null, or the message of
// the error that kept the kernel from starting.
template <typename scalar_t>
const char* launch_ppeps_em(
    const scalar_t* weights, const EMStart& start, const EMFit& fit,
    int32_t* support,      // [n, h * w], scratch
    double* log_marginal,  // [n, h * w], scratch
    const EMSize& size, const EMOptions& options, void* stream);

}  // namespace lvlm_va
