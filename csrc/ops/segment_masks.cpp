#include "segment_masks_op.h"

#include <atomic>

namespace lvlm_va {
namespace {

Tensor segment_masks(const Tensor& labels, const Tensor& spurious, ScalarType dtype) {
  const auto run = [](const int64_t* l, const bool* s, auto one, auto* masks, MaskSize size) {
    const int64_t pieces = size.images * ((size.pixels + kMaskPiece - 1) / kMaskPiece);
    const int64_t operations = std::min(size.pixels, kMaskPiece) + size.segments;
    std::atomic<bool> inside{true};
    torch::stable::parallel_for(0, pieces, images_per_thread(operations), [&](int64_t begin, int64_t end) {
      if (!segment_masks_cpu(l, s, one, masks, size, begin, end)) inside = false;
    });
    STD_TORCH_CHECK(
        inside, "The 'labels' argument must lie in 0..", size.segments,
        ", the number of columns of 'spurious'.");
  };
  return segment_masks_op(labels, spurious, dtype, run);
}

}  // namespace
}  // namespace lvlm_va

STABLE_TORCH_LIBRARY_IMPL(lvlm_va, CPU, library) {
  library.impl("segment_masks", TORCH_BOX(&lvlm_va::segment_masks));
}
