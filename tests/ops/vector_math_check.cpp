// Prints the largest errors of the vector functions, in units in the last place, against long double.
#include "vector_math.h"

#include <cmath>
#include <cstdio>
#include <limits>

using namespace lvlm_va;

static double ulps(double value, long double exact) {
  const double nearest = static_cast<double>(exact);
  const double unit = std::nextafter(nearest, std::numeric_limits<double>::infinity()) - nearest;
  return static_cast<double>(std::fabs((static_cast<long double>(value) - exact) / unit));
}

int main() {
  double worst_exp = 0.0, worst_log = 0.0;
  for (int i = 0; i <= 2000000; ++i) {
    const double x = -708.0 * std::pow(i / 2000000.0, 3);
    worst_exp = std::fmax(worst_exp, ulps(exp_of_nonpositive(x), std::exp(static_cast<long double>(x))));
    const double y = std::exp(12.0 * std::pow(i / 2000000.0, 3));
    if (y > 1.0)
      worst_log = std::fmax(worst_log, ulps(log_of_at_least_one(y), std::log(static_cast<long double>(y))));
  }
  std::printf("%.3f %.3f\n", worst_exp, worst_log);
  std::printf(
      "%g %g %g %g\n", exp_of_nonpositive(0.0), log_of_at_least_one(1.0),
      exp_of_nonpositive(-std::numeric_limits<double>::infinity()),
      log_of_at_least_one(256.0) / std::log(256.0));
}
