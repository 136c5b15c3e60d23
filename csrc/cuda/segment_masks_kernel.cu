#include "../ops/segment_masks.h"
#include "launch.cuh"
#include "pairs.cuh"

namespace lvlm_va {
namespace {

template <typename bits_t>
__global__ void __launch_bounds__(kPairThreads) masks_kernel(
    const int64_t* __restrict__ labels, const bool* __restrict__ spurious, bits_t one,
    bits_t* __restrict__ masks, MaskSize size) {
  for_each_value({1, size.images, size.pixels}, [&](int64_t, int64_t n, int64_t p) {
    const int64_t label = labels[n * size.pixels + p];
    const bool is_segment = label >= 1 && label <= size.segments;
    masks[n * size.pixels + p] = is_segment && spurious[n * size.segments + label - 1] ? one : bits_t(0);
  });
}

}  // namespace

template <typename bits_t>
const char* launch_segment_masks(
    const int64_t* labels, const bool* spurious, bits_t one, bits_t* masks, MaskSize size, void* stream) {
  const dim3 grid = pair_grid({1, size.images, size.pixels});
  masks_kernel<<<grid, kPairThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      labels, spurious, one, masks, size);
  return launch_error();
}

template const char* launch_segment_masks(const int64_t*, const bool*, uint8_t, uint8_t*, MaskSize, void*);
template const char* launch_segment_masks(const int64_t*, const bool*, uint16_t, uint16_t*, MaskSize, void*);
template const char* launch_segment_masks(const int64_t*, const bool*, uint32_t, uint32_t*, MaskSize, void*);
template const char* launch_segment_masks(const int64_t*, const bool*, uint64_t, uint64_t*, MaskSize, void*);

}  // namespace lvlm_va
