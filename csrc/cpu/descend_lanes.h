// No include guard: descend.cpp includes this per instruction set, with LVLM_VA_WIDTH columns to a vector.
// Compilers do not find these vectors by themselves: they would have to turn the loop over rows inside out.

// An extension that GCC and Clang share: the usual operators, lane by lane.
typedef double Lanes __attribute__((vector_size(LVLM_VA_WIDTH * sizeof(double))));

// The state of up to 8 components stays in registers: the loops over components are unrolled.
template <int n_paths>
void descend_with(Path* paths, const double* weights, int64_t n_rows, double* sums) {
  for (int column = 0; column < kLanes; column += LVLM_VA_WIDTH) {
    Lanes density[n_paths], ratio[n_paths], mass[n_paths], running[n_paths], rr[n_paths];
    const double* row_square[n_paths];
    double factor[n_paths];
#pragma GCC unroll 16
    for (int i = 0; i < n_paths; ++i) {
      std::memcpy(&density[i], paths[i].density + column, sizeof(Lanes));
      std::memcpy(&ratio[i], paths[i].ratio + column, sizeof(Lanes));
      mass[i] = running[i] = rr[i] = Lanes{};
      row_square[i] = paths[i].row_square;
      factor[i] = paths[i].factor;
    }
    for (int64_t row = 0; row < n_rows; ++row) {
      Lanes sum = density[0];
#pragma GCC unroll 16
      for (int i = 1; i < n_paths; ++i) sum += density[i];
      Lanes scale;
      std::memcpy(&scale, weights + row * kLanes + column, sizeof(Lanes));
      scale /= sum;
      std::memcpy(sums + row * kLanes + column, &sum, sizeof(Lanes));
#pragma GCC unroll 16
      for (int i = 0; i < n_paths; ++i) {
        const Lanes of_row = density[i] * scale;
        mass[i] += of_row;
        running[i] += mass[i];
        rr[i] += of_row * row_square[i][row];
        density[i] *= ratio[i];
        ratio[i] *= factor[i];
      }
    }
#pragma GCC unroll 16
    for (int i = 0; i < n_paths; ++i) {
      std::memcpy(paths[i].mass + column, &mass[i], sizeof(Lanes));
      std::memcpy(paths[i].running + column, &running[i], sizeof(Lanes));
      std::memcpy(paths[i].rr + column, &rr[i], sizeof(Lanes));
    }
  }
}

void descend(Path* paths, int64_t n_paths, const double* weights, int64_t n_rows, double* sums) {
  switch (n_paths) {
    case 1: return descend_with<1>(paths, weights, n_rows, sums);
    case 2: return descend_with<2>(paths, weights, n_rows, sums);
    case 3: return descend_with<3>(paths, weights, n_rows, sums);
    case 4: return descend_with<4>(paths, weights, n_rows, sums);
    case 5: return descend_with<5>(paths, weights, n_rows, sums);
    case 6: return descend_with<6>(paths, weights, n_rows, sums);
    case 7: return descend_with<7>(paths, weights, n_rows, sums);
    case 8: return descend_with<8>(paths, weights, n_rows, sums);
    case 9: return descend_with<9>(paths, weights, n_rows, sums);
    case 10: return descend_with<10>(paths, weights, n_rows, sums);
    case 11: return descend_with<11>(paths, weights, n_rows, sums);
    case 12: return descend_with<12>(paths, weights, n_rows, sums);
    case 13: return descend_with<13>(paths, weights, n_rows, sums);
    case 14: return descend_with<14>(paths, weights, n_rows, sums);
    case 15: return descend_with<15>(paths, weights, n_rows, sums);
    case 16: return descend_with<16>(paths, weights, n_rows, sums);
  }
}
