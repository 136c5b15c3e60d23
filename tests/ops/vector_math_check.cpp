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
  double worst_exp = 0.0, worst_log = 0.0, worst_expm1 = 0.0, worst_log1p = 0.0, worst_erf = 0.0;
  for (int i = 0; i <= 2000000; ++i) {
    const double x = -708.0 * std::pow(i / 2000000.0, 3);
    worst_exp = std::fmax(worst_exp, ulps(exp_of_nonpositive(x), std::exp(static_cast<long double>(x))));
    const double y = std::exp(12.0 * std::pow(i / 2000000.0, 3));
    if (y > 1.0)
      worst_log = std::fmax(worst_log, ulps(log_of_at_least_one(y), std::log(static_cast<long double>(y))));
    // From 1e-300 to 700, and from 1e-300 to 1e300.
    const double small = 700.0 * std::pow(10.0, -302.0 * (i / 2000000.0));
    worst_expm1 = std::fmax(
        worst_expm1, ulps(expm1_of_nonpositive(-small), std::expm1(-static_cast<long double>(small))));
    const double wide = std::pow(10.0, 600.0 * (i / 2000000.0) - 300.0);
    worst_log1p = std::fmax(
        worst_log1p, ulps(log1p_of_nonnegative(wide), std::log1p(static_cast<long double>(wide))));
    const double z = 14.0 * (i / 2000000.0) - 7.0;
    const long double error = std::erf(static_cast<long double>(z)) - error_function(z);
    worst_erf = std::fmax(worst_erf, static_cast<double>(std::fabs(error)) * 0x1p52);
  }
  std::printf("%.3f %.3f %.3f %.3f %.3f\n", worst_exp, worst_log, worst_expm1, worst_log1p, worst_erf);
  std::printf(
      "%g %g %g %g %g %g\n", exp_of_any(0.0), exp_of_any(700.0) / std::exp(700.0), exp_of_any(710.0),
      expm1_of_nonpositive(-0.0), error_function(-9.0),
      expm1_of_nonpositive(-std::numeric_limits<double>::infinity()));
  std::printf(
      "%g %g %g %g\n", exp_of_nonpositive(0.0), log_of_at_least_one(1.0),
      exp_of_nonpositive(-std::numeric_limits<double>::infinity()),
      log_of_at_least_one(256.0) / std::log(256.0));
}
