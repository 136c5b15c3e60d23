// No include guard: descend.cpp includes this per instruction set, with LVLM_VA_WIDTH columns to a vector.
// Compilers do not find these vectors by themselves: they would have to turn the loop over rows inside out.

// An extension that GCC and Clang share: the usual operators, lane by lane.
typedef double Lanes __attribute__((vector_size(LVLM_VA_WIDTH * sizeof(double))));

// The loops over components are unrolled, so that the state stays in registers as far as they reach.
template <int n_paths>
void descend_with(Path* paths, const double* weights, int64_t n_rows, double* sums) {
  for (int column = 0; column < kLanes; column += LVLM_VA_WIDTH) {
    Lanes density[n_paths], ratio[n_paths], mass[n_paths], running[n_paths], rr[n_paths];
    const double* row_square[n_paths];
    double factor[n_paths];
#pragma GCC unroll kMostPaths
    for (int i = 0; i < n_paths; ++i) {
      std::memcpy(&density[i], paths[i].density + column, sizeof(Lanes));
      std::memcpy(&ratio[i], paths[i].ratio + column, sizeof(Lanes));
      mass[i] = running[i] = rr[i] = Lanes{};
      row_square[i] = paths[i].row_square;
      factor[i] = paths[i].factor;
    }
    for (int64_t row = 0; row < n_rows; ++row) {
      Lanes sum = density[0];
#pragma GCC unroll kMostPaths
      for (int i = 1; i < n_paths; ++i) sum += density[i];
      Lanes scale;
      std::memcpy(&scale, weights + row * kLanes + column, sizeof(Lanes));
      scale /= sum;
      std::memcpy(sums + row * kLanes + column, &sum, sizeof(Lanes));
#pragma GCC unroll kMostPaths
      for (int i = 0; i < n_paths; ++i) {
        const Lanes of_row = density[i] * scale;
        mass[i] += of_row;
        running[i] += mass[i];
        rr[i] += of_row * row_square[i][row];
        density[i] *= ratio[i];
        ratio[i] *= factor[i];
      }
    }
#pragma GCC unroll kMostPaths
    for (int i = 0; i < n_paths; ++i) {
      std::memcpy(paths[i].mass + column, &mass[i], sizeof(Lanes));
      std::memcpy(paths[i].running + column, &running[i], sizeof(Lanes));
      std::memcpy(paths[i].rr + column, &rr[i], sizeof(Lanes));
    }
  }
}

template <int... zero_based>
void descend_by_number(
    std::integer_sequence<int, zero_based...>, Path* paths, int64_t n_paths, const double* weights, int64_t n_rows,
    double* sums) {
  using Walk = void (*)(Path*, const double*, int64_t, double*);
  static constexpr Walk walks[] = {descend_with<zero_based + 1>...};
  walks[n_paths - 1](paths, weights, n_rows, sums);
}

void descend(Path* paths, int64_t n_paths, const double* weights, int64_t n_rows, double* sums) {
  descend_by_number(std::make_integer_sequence<int, kMostPaths>{}, paths, n_paths, weights, n_rows, sums);
}
