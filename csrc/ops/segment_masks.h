// masks[n, p] = 1 where the label l of pixel p is a segment, 1..J, with spurious[n, l - 1]; else 0.
#pragma once

#include <cstdint>

namespace lvlm_va {

struct MaskSize {
  int64_t images, pixels, segments;
};

// Pixels that one piece of work has.
constexpr int64_t kMaskPiece = 16384;

// A mask is written as bits, so that one kernel serves every dtype of a size: `one` holds those of 1. The
// pieces begin..end of kMaskPiece pixels, image by image. Returns false where a label lies outside 0..J.
template <typename bits_t>
bool segment_masks_cpu(
    const int64_t* labels,  // [n, p]
    const bool* spurious,   // [n, j]
    bits_t one,
    bits_t* masks,  // [n, p]
    MaskSize size, int64_t begin, int64_t end);

// The same on a CUDA stream (a cudaStream_t), for all images, not empty; a label outside 0..J counts as 0.
// Returns null, or the message of the error that kept the kernel from starting.
template <typename bits_t>
const char* launch_segment_masks(
    const int64_t* labels, const bool* spurious, bits_t one, bits_t* masks, MaskSize size, void* stream);

}  // namespace lvlm_va
