#include "common_cuda.h"
#include "segment_masks_op.h"

namespace lvlm_va {
namespace {

Tensor segment_masks(const Tensor& labels, const Tensor& spurious, ScalarType dtype) {
  const auto run = [&](const int64_t* l, const bool* s, auto one, auto* masks, MaskSize size) {
    on_current_stream(labels, "segment_masks", [&](void* stream) {
      return launch_segment_masks(l, s, one, masks, size, stream);
    });
  };
  return segment_masks_op(labels, spurious, dtype, run);
}

}  // namespace
}  // namespace lvlm_va

STABLE_TORCH_LIBRARY_IMPL(lvlm_va, CUDA, library) {
  library.impl("segment_masks", TORCH_BOX(&lvlm_va::segment_masks));
}
