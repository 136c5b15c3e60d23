#include <cstdint>

#include "../ops/ppeps_em.h"
#include "launch.cuh"
#include "reduce.cuh"
#include "support.cuh"

namespace lvlm_va {
namespace {

// E-step, first half: log sum_j share_j N(z_i | j) of each pixel; returns the log-likelihood.
template <typename scalar_t>
__device__ double marginals(
    const Image<scalar_t>& image, const LogDensity* densities, int n_components, double* log_marginal) {
  double log_likelihood = 0.0;
  for (int32_t i = threadIdx.x; i < image.n_support; i += kThreads) {
    const double row = image.row(i);
    const double column = image.column(i);
    double largest = densities[0](row, column);
    for (int j = 1; j < n_components; ++j) largest = fmax(largest, densities[j](row, column));
    double sum = 0.0;
    for (int j = 0; j < n_components; ++j) sum += exp(densities[j](row, column) - largest);
    log_marginal[i] = largest + log(sum);
    log_likelihood += image.weight(i) * log_marginal[i];
  }
  return block_sum(log_likelihood);
}

// E-step, second half: the moments of one component.
template <typename scalar_t>
__device__ Moments
moments_of(const Image<scalar_t>& image, const LogDensity& density, const double* log_marginal) {
  Moments sum = {};
  for (int32_t i = threadIdx.x; i < image.n_support; i += kThreads) {
    const double row = image.row(i);
    const double column = image.column(i);
    const double mass = image.weight(i) * exp(density(row, column) - log_marginal[i]);
    const double d_row = row - density.row;
    const double d_column = column - density.column;
    sum.mass += mass;
    sum.r += mass * d_row;
    sum.c += mass * d_column;
    sum.rr += mass * d_row * d_row;
    sum.rc += mass * d_row * d_column;
    sum.cc += mass * d_column * d_column;
  }
  return {block_sum(sum.mass), block_sum(sum.r),  block_sum(sum.c),
          block_sum(sum.rr),   block_sum(sum.rc), block_sum(sum.cc)};
}

template <typename scalar_t>
__device__ void write_labels(
    const Image<scalar_t>& image, const LogDensity* densities, int n_components, int64_t* labels) {
  for (int32_t i = threadIdx.x; i < image.n_support; i += kThreads) {
    int best = 0;
    double largest = densities[0](image.row(i), image.column(i));
    for (int j = 1; j < n_components; ++j) {
      const double joint = densities[j](image.row(i), image.column(i));
      if (joint > largest) {
        largest = joint;
        best = j;
      }
    }
    labels[image.support[i]] = best + 1;
  }
}

// One block per image. Dynamic shared memory: the components, then their log densities.
template <typename scalar_t>
__global__ void ppeps_em_kernel(
    const scalar_t* __restrict__ weights, EMStart start, EMFit fit, int32_t* support, double* log_marginal,
    EMSize size, EMOptions options) {
  extern __shared__ double shared[];
  auto* components = reinterpret_cast<Component*>(shared);
  auto* densities = reinterpret_cast<LogDensity*>(components + size.components);
  __shared__ bool present;
  const int64_t n = blockIdx.x;
  const int64_t pixels = size.height * size.width;
  const int n_components = static_cast<int>(size.components);
  const double* means = start.means + 2 * n * n_components;
  const double* covariances = start.covariances + 4 * n * n_components;
  const double* shares = start.shares + n * n_components;
  support += n * pixels;
  log_marginal += n * pixels;

  const int32_t count =
      list_support(weights + n * pixels, static_cast<int32_t>(pixels), support, fit.labels + n * pixels);
  if (threadIdx.x == 0) {
    load_components(components, means, covariances, shares, n_components, options);
    present = normalise_shares(components, n_components);
  }
  __syncthreads();
  const bool fitted = present && count > 0;
  double log_likelihood = 0.0;
  int64_t iteration = 0;
  if (fitted) {
    Image<scalar_t> image = {
        weights + n * pixels,
        support,
        count,
        1.0,
        1.0,
        static_cast<int32_t>(size.height),
        static_cast<int32_t>(size.width)};
    measure_weights(image);
    double previous = -INFINITY;
    while (true) {
      for (int j = threadIdx.x; j < n_components; j += kThreads) densities[j] = log_density(components[j]);
      __syncthreads();
      log_likelihood = marginals(image, densities, n_components, log_marginal);
      if (is_finished(iteration, log_likelihood, previous, options)) break;
      previous = log_likelihood;
      for (int j = 0; j < n_components; ++j) {
        const Moments moments = moments_of(image, densities[j], log_marginal);
        if (threadIdx.x == 0) maximise(components[j], moments, options.floor_row, options.floor_column);
      }
      if (threadIdx.x == 0) normalise_shares(components, n_components);
      __syncthreads();
      ++iteration;
    }
    write_labels(image, densities, n_components, fit.labels + n * pixels);
  }
  if (threadIdx.x == 0) {
    fit.log_likelihood[n] = log_likelihood;
    fit.n_iter[n] = iteration;
    store_components(
        components, means, covariances, shares, fit.means + 2 * n * n_components,
        fit.covariances + 4 * n * n_components, fit.shares + n * n_components, n_components, fitted);
  }
}

}  // namespace

template <typename scalar_t>
const char* launch_ppeps_em(
    const scalar_t* weights, const EMStart& start, const EMFit& fit, int32_t* support, double* log_marginal,
    const EMSize& size, const EMOptions& options, void* stream) {
  const size_t bytes = size.components * (sizeof(Component) + sizeof(LogDensity));
  const auto blocks = static_cast<unsigned int>(size.images);
  ppeps_em_kernel<<<blocks, kThreads, bytes, static_cast<cudaStream_t>(stream)>>>(
      weights, start, fit, support, log_marginal, size, options);
  return launch_error();
}

template const char* launch_ppeps_em(
    const float*, const EMStart&, const EMFit&, int32_t*, double*, const EMSize&, const EMOptions&, void*);
template const char* launch_ppeps_em(
    const double*, const EMStart&, const EMFit&, int32_t*, double*, const EMSize&, const EMOptions&, void*);

}  // namespace lvlm_va
