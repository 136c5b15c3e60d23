// The pixels of one image that take part in its mixture: blocks where they are dense, a list where not.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "../ops/ppeps_em.h"
#include "descend.h"

namespace lvlm_va {

// A block is one vector of columns wide. Its rows follow one upon the other without a fresh exponential, so
// that their number bounds the rounding that piles up: see em_block.h.
constexpr int64_t kBlockRows = 64;
constexpr int64_t kBlockPixels = kBlockRows * kLanes;
// Pixels of positive weight from which on a block is cheaper than as many listed pixels.
constexpr int64_t kDensePixels = 64;
// Listed pixels that are worked on together: their scratch stays in the first cache.
constexpr int64_t kTile = 64;

// Centres of the pixels in [0, 1]; past the image's edge they go on to whole blocks.
struct Grid {
  std::vector<double> row, column;
  double row_step, column_step;

  explicit Grid(const EMSize& size)
      : row(centres(size.height, kBlockRows)),
        column(centres(size.width, kLanes)),
        row_step(1.0 / static_cast<double>(size.height)),
        column_step(1.0 / static_cast<double>(size.width)) {}

 private:
  static std::vector<double> centres(int64_t size, int64_t multiple) {
    std::vector<double> centre((size + multiple - 1) / multiple * multiple);
    for (size_t i = 0; i < centre.size(); ++i) {
      centre[i] = (static_cast<double>(i) + 0.5) / static_cast<double>(size);
    }
    return centre;
  }
};

struct Block {
  alignas(64) double weight[kBlockPixels];  // 0 past the image's edge
  int64_t row, column;                      // of the first pixel
};

// Listed pixels; in the last tile of an image, pixels of weight 0 make up the number.
struct alignas(64) Tile {
  double row[kTile], column[kTile], weight[kTile];
  int64_t pixel[kTile];
};

struct Support {
  std::vector<Block> blocks;
  std::vector<Tile> tiles;
};

// Calls function(weights, how many) for each run of weights.
template <typename Function>
void for_weights(Support& support, const Function& function) {
  for (Block& block : support.blocks) function(block.weight, kBlockPixels);
  for (Tile& tile : support.tiles) function(tile.weight, kTile);
}

// Divides by the sum, through the largest first, so that neither tiny nor huge weights leave the range of a
// double.
inline void normalise_weights(Support& support, double largest) {
  double total = 0.0;
  for_weights(support, [&](double* weight, int64_t n) {
    for (int64_t i = 0; i < n; ++i) total += weight[i] /= largest;
  });
  for_weights(support, [&](double* weight, int64_t n) {
    for (int64_t i = 0; i < n; ++i) weight[i] /= total;
  });
}

// The block's pixels of positive weight, `n_listed` having been listed before.
inline void list_pixels(
    const Block& block, const Grid& grid, int64_t width, int64_t& n_listed, Support& support) {
  for (int64_t i = 0; i < kBlockPixels; ++i) {
    if (!(block.weight[i] > 0.0)) continue;
    const int64_t row = block.row + i / kLanes, column = block.column + i % kLanes;
    const int64_t t = n_listed++ % kTile;
    if (t == 0) support.tiles.push_back({});
    Tile& tile = support.tiles.back();
    tile.row[t] = grid.row[row];
    tile.column[t] = grid.column[column];
    tile.weight[t] = block.weight[i];
    tile.pixel[t] = row * width + column;
  }
}

// Returns whether there is any.
template <typename scalar_t>
bool gather(const scalar_t* weights, const EMSize& size, const Grid& grid, Support& support) {
  support.blocks.clear();
  support.tiles.clear();
  double largest = 0.0;
  int64_t n_listed = 0;
  for (int64_t row = 0; row < size.height; row += kBlockRows) {
    const int64_t n_rows = std::min(kBlockRows, size.height - row);
    for (int64_t column = 0; column < size.width; column += kLanes) {
      const int64_t n_columns = std::min<int64_t>(kLanes, size.width - column);
      Block block = {{}, row, column};
      int64_t n_positive = 0;
      for (int64_t r = 0; r < n_rows; ++r) {
        const scalar_t* from = weights + (row + r) * size.width + column;
        double* to = block.weight + r * kLanes;
        for (int64_t c = 0; c < n_columns; ++c) {
          const double weight = static_cast<double>(from[c]);
          to[c] = weight > 0.0 ? weight : 0.0;
          n_positive += to[c] > 0.0;
          largest = std::max(largest, to[c]);
        }
      }
      if (n_positive >= kDensePixels) {
        support.blocks.push_back(block);
      } else if (n_positive > 0) {
        list_pixels(block, grid, size.width, n_listed, support);
      }
    }
  }
  normalise_weights(support, largest);
  return largest > 0.0;
}

}  // namespace lvlm_va
