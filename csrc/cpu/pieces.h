// How the attribution kernels share out their work: in pieces of each pair's values.
#pragma once

#include <algorithm>

#include "../shared/pairs.h"

namespace lvlm_va {

inline int64_t n_pieces(const PairSize& size, int64_t length) {
  return size.references * size.images * ((size.inner + length - 1) / length);
}

// Calls function(reference, image, first, count) for the pieces begin..end of n_pieces(size, length). All
// pairs' pieces of one place follow each other: what they share is fetched from memory once.
template <typename Function>
void for_each_piece(
    const PairSize& size, int64_t length, int64_t begin, int64_t end, const Function& function) {
  const int64_t pairs = size.references * size.images;
  for (int64_t piece = begin; piece < end; ++piece) {
    const int64_t first = piece / pairs * length;
    const int64_t pair = piece % pairs;
    function(
        pair % size.references, pair / size.references, first, std::min(length, size.inner - first));
  }
}

}  // namespace lvlm_va
