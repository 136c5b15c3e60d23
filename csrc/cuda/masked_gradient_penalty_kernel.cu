#include <cstdint>

#include "../ops/masked_gradient_penalty.h"
#include "launch.cuh"
#include "reduce.cuh"

namespace lvlm_va {
namespace {

constexpr int kThreads = 512;
// Enough blocks to fill any GPU; each thread then strides over the rest.
constexpr int64_t kMostBlocks = 65536;

// One block per image.
template <typename scalar_t>
__global__ void penalty_kernel(
    const scalar_t* __restrict__ gradient, const scalar_t* __restrict__ mask, scalar_t* __restrict__ penalty,
    PenaltySize size) {
  const int64_t n = blockIdx.x;
  const scalar_t* image_mask = mask + n * size.pixels;
  double sum = 0.0;
  for (int64_t c = 0; c < size.channels; ++c) {
    const scalar_t* channel = gradient + (n * size.channels + c) * size.pixels;
    for (int64_t p = threadIdx.x; p < size.pixels; p += blockDim.x) {
      const double value = static_cast<double>(image_mask[p]) * static_cast<double>(channel[p]);
      sum += value * value;
    }
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) penalty[n] = static_cast<scalar_t>(sum);
}

template <typename scalar_t>
__global__ void penalty_backward_kernel(
    const scalar_t* __restrict__ grad_output, const scalar_t* __restrict__ gradient,
    const scalar_t* __restrict__ mask, scalar_t* __restrict__ grad_gradient, PenaltySize size) {
  const int64_t per_image = size.channels * size.pixels;
  const int64_t total = size.images * per_image;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < total; i += stride) {
    const int64_t n = i / per_image;
    const double weight = static_cast<double>(mask[n * size.pixels + i % size.pixels]);
    const double scale = 2.0 * static_cast<double>(grad_output[n]);
    grad_gradient[i] = static_cast<scalar_t>(scale * (weight * weight) * static_cast<double>(gradient[i]));
  }
}

}  // namespace

template <typename scalar_t>
const char* launch_masked_gradient_penalty(
    const scalar_t* gradient, const scalar_t* mask, scalar_t* penalty, PenaltySize size, void* stream) {
  const auto blocks = static_cast<unsigned int>(size.images);
  penalty_kernel<<<blocks, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(gradient, mask, penalty, size);
  return launch_error();
}

template <typename scalar_t>
const char* launch_masked_gradient_penalty_backward(
    const scalar_t* grad_output, const scalar_t* gradient, const scalar_t* mask, scalar_t* grad_gradient,
    PenaltySize size, void* stream) {
  const int64_t wanted = (size.images * size.channels * size.pixels + kThreads - 1) / kThreads;
  const auto blocks = static_cast<unsigned int>(wanted < kMostBlocks ? wanted : kMostBlocks);
  penalty_backward_kernel<<<blocks, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      grad_output, gradient, mask, grad_gradient, size);
  return launch_error();
}

template const char* launch_masked_gradient_penalty(const float*, const float*, float*, PenaltySize, void*);
template const char* launch_masked_gradient_penalty(
    const double*, const double*, double*, PenaltySize, void*);
template const char* launch_masked_gradient_penalty_backward(
    const float*, const float*, const float*, float*, PenaltySize, void*);
template const char* launch_masked_gradient_penalty_backward(
    const double*, const double*, const double*, double*, PenaltySize, void*);

}  // namespace lvlm_va
