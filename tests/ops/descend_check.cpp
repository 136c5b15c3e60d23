// Prints, for each instruction set that this processor has, the largest relative error of the innermost loop
// of ppeps_em against the same recurrence in long double.
#include "descend.cpp"

#include <cmath>
#include <cstdio>

using namespace lvlm_va;

constexpr int kRows = 64;

static double error_of(Descend descend, int n_paths) {
  Path paths[kMostPaths];
  double weights[kRows * kLanes], sums[kRows * kLanes], row_square[kRows];
  for (int i = 0; i < kRows * kLanes; ++i) weights[i] = i % 3 == 0 ? 0.0 : 1.0 / (1 + i % 7);
  for (int r = 0; r < kRows; ++r) row_square[r] = 0.01 * r * r;
  for (int j = 0; j < n_paths; ++j) {
    for (int lane = 0; lane < kLanes; ++lane) {
      paths[j].density[lane] = 1.0 + 0.1 * j + 0.01 * lane;
      paths[j].ratio[lane] = 1.0 + 0.02 * (j - 3) + 0.001 * lane;
    }
    paths[j].factor = 1.0 - 0.0003 * (j + 1);
    paths[j].row_square = row_square;
  }
  descend(paths, n_paths, weights, kRows, sums);
  double worst = 0.0;
  const auto compare = [&](double value, long double exact) {
    worst = std::fmax(worst, std::fabs(static_cast<double>((value - exact) / exact)));
  };
  for (int lane = 0; lane < kLanes; ++lane) {
    long double density[kMostPaths], ratio[kMostPaths];
    long double mass[kMostPaths] = {}, running[kMostPaths] = {}, rr[kMostPaths] = {};
    for (int j = 0; j < n_paths; ++j) {
      density[j] = paths[j].density[lane];
      ratio[j] = paths[j].ratio[lane];
    }
    for (int r = 0; r < kRows; ++r) {
      long double sum = 0.0;
      for (int j = 0; j < n_paths; ++j) sum += density[j];
      compare(sums[r * kLanes + lane], sum);
      for (int j = 0; j < n_paths; ++j) {
        const long double of_row = weights[r * kLanes + lane] * density[j] / sum;
        mass[j] += of_row;
        running[j] += mass[j];
        rr[j] += of_row * row_square[r];
        density[j] *= ratio[j];
        ratio[j] *= paths[j].factor;
      }
    }
    for (int j = 0; j < n_paths; ++j) {
      compare(paths[j].mass[lane], mass[j]);
      compare(paths[j].running[lane], running[j]);
      compare(paths[j].rr[lane], rr[j]);
    }
  }
  return worst;
}

static void check(const char* name, Descend descend) {
  double worst = 0.0;
  for (int n = 1; n <= kMostPaths; ++n) worst = std::fmax(worst, error_of(descend, n));
  std::printf("%s %g\n", name, worst);
}

int main() {
  check("basic", basic::descend);
#if defined(LVLM_VA_HAS_TARGETS)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) check("avx2", avx2::descend);
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")) {
    check("avx512", avx512::descend);
  }
#endif
}
