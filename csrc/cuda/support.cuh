// The pixels of one image that take part in its mixture, listed by one block.
#pragma once

#include <cstdint>

#include "reduce.cuh"

namespace lvlm_va {

// Threads of a block that works on one image.
constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;

// One image: its pixels of positive weight, listed in order.
template <typename scalar_t>
struct Image {
  const scalar_t* weights;
  const int32_t* support;
  int32_t n_support;
  double largest;  // of the weights
  double scale;    // makes weights / largest sum to 1
  int32_t height, width;

  // Through the largest weight first, so that neither tiny nor huge ones leave the range of a double.
  __device__ double weight(int32_t i) const {
    return static_cast<double>(weights[support[i]]) / largest * scale;
  }
  __device__ double row(int32_t i) const { return (support[i] / width + 0.5) / static_cast<double>(height); }
  __device__ double column(int32_t i) const {
    return (support[i] % width + 0.5) / static_cast<double>(width);
  }
};

// Lists the pixels of positive weight in order, sets the labels to 0, and returns how many there are.
template <typename scalar_t>
__device__ int32_t list_support(const scalar_t* weights, int32_t pixels, int32_t* support, int64_t* labels) {
  __shared__ int32_t of_warp[kWarps];
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  int32_t count = 0;
  for (int64_t first = 0; first < pixels; first += kThreads) {
    const int64_t pixel = first + threadIdx.x;
    const bool positive = pixel < pixels && static_cast<double>(weights[pixel]) > 0.0;
    if (pixel < pixels) labels[pixel] = 0;
    const unsigned int votes = __ballot_sync(0xffffffffu, positive);
    if (lane == 0) of_warp[warp] = __popc(votes);
    __syncthreads();
    int32_t position = count + __popc(votes & ((1u << lane) - 1u));
    for (int w = 0; w < kWarps; ++w) {
      if (w < warp) position += of_warp[w];
      count += of_warp[w];
    }
    if (positive) support[position] = static_cast<int32_t>(pixel);
    // Nobody may count the next pixels before all have read these counts.
    __syncthreads();
  }
  return count;
}

template <typename scalar_t>
__device__ void measure_weights(Image<scalar_t>& image) {
  double largest = 0.0;
  for (int32_t i = threadIdx.x; i < image.n_support; i += kThreads) {
    largest = fmax(largest, static_cast<double>(image.weights[image.support[i]]));
  }
  image.largest = block_reduce(largest, Largest{});
  image.scale = 1.0;
  double sum = 0.0;
  for (int32_t i = threadIdx.x; i < image.n_support; i += kThreads) sum += image.weight(i);
  image.scale = 1.0 / block_sum(sum);
}

}  // namespace lvlm_va
