#include "../ops/segment_masks.h"

#include <algorithm>
#include <vector>

#include "clones.h"

namespace lvlm_va {
namespace {

// Returns the largest label, those below 0 taken as huge.
template <typename bits_t>
LVLM_VA_CPU_CLONES uint64_t
look_up(const int64_t* labels, const bits_t* bits_of_label, uint64_t highest, bits_t* masks, int64_t pixels) {
  uint64_t largest = 0;
#pragma omp simd reduction(max : largest)
  for (int64_t p = 0; p < pixels; ++p) {
    const auto label = static_cast<uint64_t>(labels[p]);
    masks[p] = bits_of_label[label <= highest ? label : 0];
    largest = label > largest ? label : largest;
  }
  return largest;
}

}  // namespace

template <typename bits_t>
bool segment_masks_cpu(
    const int64_t* labels, const bool* spurious, bits_t one, bits_t* masks, MaskSize size, int64_t begin,
    int64_t end) {
  const int64_t per_image = (size.pixels + kMaskPiece - 1) / kMaskPiece;
  const auto highest = static_cast<uint64_t>(size.segments);
  std::vector<bits_t> bits_of_label(size.segments + 1, 0);
  bool inside = true;
  for (int64_t piece = begin; piece < end; ++piece) {
    const int64_t n = piece / per_image, first = piece % per_image * kMaskPiece;
    for (int64_t j = 0; j < size.segments; ++j) {
      bits_of_label[j + 1] = spurious[n * size.segments + j] ? one : 0;
    }
    const int64_t at = n * size.pixels + first;
    inside &= look_up(
                  labels + at, bits_of_label.data(), highest, masks + at,
                  std::min(kMaskPiece, size.pixels - first)) <= highest;
  }
  return inside;
}

template bool segment_masks_cpu(
    const int64_t*, const bool*, uint8_t, uint8_t*, MaskSize, int64_t, int64_t);
template bool segment_masks_cpu(
    const int64_t*, const bool*, uint16_t, uint16_t*, MaskSize, int64_t, int64_t);
template bool segment_masks_cpu(
    const int64_t*, const bool*, uint32_t, uint32_t*, MaskSize, int64_t, int64_t);
template bool segment_masks_cpu(
    const int64_t*, const bool*, uint64_t, uint64_t*, MaskSize, int64_t, int64_t);

}  // namespace lvlm_va
