// exp, log and erf in plain arithmetic, so that the compiler turns a loop of them into vector instructions,
// which it cannot do with those of the C library. Within 4 units in the last place (erf: of 1), on the ranges
// that EM and DeepLIFT's slopes need. A NaN may come out as a number: who needs it has to carry it on.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#if defined(__GNUC__)
#define LVLM_VA_INLINE inline __attribute__((always_inline))
#else
#define LVLM_VA_INLINE inline
#endif

namespace lvlm_va {

LVLM_VA_INLINE int64_t bits_of(double x) {
  int64_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

LVLM_VA_INLINE double from_bits(int64_t bits) {
  double x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// Added to a double of moderate size, this leaves the nearest integer in the low bits of the sum.
constexpr double kRounder = 0x1.8p52;
constexpr double kLn2High = 0x1.62e42fefa38p-1;
constexpr double kLn2Low = 0x1.ef35793c7673p-45;

// x, |x| <= 708, as k ln(2) + r with an integer k and |r| <= ln(2) / 2.
struct Reduced {
  double r;
  double rounded;  // k + kRounder

  // value * 2^k: the low bits of `rounded` move into the exponent.
  LVLM_VA_INLINE double scale(double value) const {
    return from_bits(
        static_cast<int64_t>(
            static_cast<uint64_t>(bits_of(value)) + (static_cast<uint64_t>(bits_of(rounded)) << 52)));
  }
};

LVLM_VA_INLINE Reduced reduce(double x) {
  constexpr double kLog2E = 0x1.71547652b82fep0;
  const double rounded = x * kLog2E + kRounder;
  const double k = rounded - kRounder;
  return {(x - k * kLn2High) - k * kLn2Low, rounded};
}

// (exp(r) - 1) / r = 1 + r p(r), with p through (exp(r) - 1 - r) / r^2 at the Chebyshev nodes of |r| <= ln(2) / 2:
// the relative error of the exponential is below 2e-17.
LVLM_VA_INLINE double exp_series(double r) {
  double p = 0x1.af38a9b0ec855p-26;
  p = p * r + 0x1.289185613a3d6p-22;
  p = p * r + 0x1.71de0dae63bb3p-19;
  p = p * r + 0x1.a019b90d2ae7ap-16;
  p = p * r + 0x1.a01a01a7c41d5p-13;
  p = p * r + 0x1.6c16c1788bd90p-10;
  p = p * r + 0x1.11111111109b3p-7;
  p = p * r + 0x1.5555555553d63p-5;
  p = p * r + 0x1.5555555555556p-3;
  p = p * r + 0x1.0000000000001p-1;
  return p * r + 1.0;
}

// exp(x) for |x| <= 708.
LVLM_VA_INLINE double exp_of_moderate(double x) {
  const Reduced reduced = reduce(x);
  return reduced.scale(exp_series(reduced.r) * reduced.r + 1.0);
}

// exp(x) for x <= 0, -infinity included; no smaller than exp(-708), about 3e-308.
LVLM_VA_INLINE double exp_of_nonpositive(double x) {
  return exp_of_moderate(x > -708.0 ? x : -708.0);
}

// exp(x) for any x; infinite beyond 708.
LVLM_VA_INLINE double exp_of_any(double x) {
  const double power = exp_of_nonpositive(-std::fabs(x));
  const double beyond = x > 708.0 ? std::numeric_limits<double>::infinity() : 1.0 / power;
  return x > 0.0 ? beyond : power;
}

// exp(x) - 1 for x <= 0, to the last bits near 0 too: 2^k (e^r - 1) + (2^k - 1).
LVLM_VA_INLINE double expm1_of_nonpositive(double x) {
  const Reduced reduced = reduce(x > -708.0 ? x : -708.0);
  const double power = reduced.scale(1.0);
  return power * (exp_series(reduced.r) * reduced.r) + (power - 1.0);
}

// log(x) for finite x >= 1; a little less is no harm.
LVLM_VA_INLINE double log_of_at_least_one(double x) {
  // x = 2^k m with m in [sqrt(1/2), sqrt(2)).
  constexpr uint64_t kSqrtHalf = 0x3fe6a09e667f3bcd;
  // Unsigned, since it wraps for negative x, whose result the caller throws away.
  const uint64_t shifted = static_cast<uint64_t>(bits_of(x)) - kSqrtHalf;
  // The exponent k >= 0, as a double, by the rounder's low bits.
  const double k = from_bits(static_cast<int64_t>((shifted >> 52) | 0x4330000000000000)) - 0x1p52;
  const double m = from_bits(static_cast<int64_t>((shifted & 0x000fffffffffffff) + kSqrtHalf));
  // log(m) = 2 atanh(s) = 2 s + 2 s q p(q), with p through the rest of atanh's series at the Chebyshev nodes
  // of q <= 0.0295: the relative error is below 5e-18.
  const double s = (m - 1.0) / (m + 1.0);
  const double q = s * s;
  double p = 0x1.2b584aae78a57p-4;
  p = p * q + 0x1.39fe606542ddep-4;
  p = p * q + 0x1.7462b4ab2ef6bp-4;
  p = p * q + 0x1.c71c62e5800a1p-4;
  p = p * q + 0x1.2492492df148dp-3;
  p = p * q + 0x1.99999999952e2p-3;
  p = p * q + 0x1.5555555555558p-2;
  p = p * q;
  return k * kLn2High + (2.0 * s + (2.0 * s * p + k * kLn2Low));
}

// log(1 + x) for finite x >= 0. The factor makes good what rounding 1 + x lost (Higham 2002, section 1.14).
LVLM_VA_INLINE double log1p_of_nonnegative(double x) {
  const double w = 1.0 + x;
  const double log = log_of_at_least_one(w);
  return w == 1.0 ? x : log * (x / (w - 1.0));
}

// erf(x) = 1 - exp(-x^2) g(x) for x >= 0, where g(x) = exp(x^2) erfc(x) is a polynomial in t = 4 / (4 + x),
// interpolated at Chebyshev's points for x <= 6, beyond which erf(x) rounds to 1. The first term left out is
// below 1e-18.
LVLM_VA_INLINE double error_function(double x) {
  const double magnitude = std::fabs(x) < 6.0 ? std::fabs(x) : 6.0;
  const double y = (4.0 / (4.0 + magnitude) - 0.7) / 0.3;
  double p = -4.868322297166477e-13;
  p = p * y + 2.0813034355240175e-11;
  p = p * y + 1.46441923632205e-11;
  p = p * y - 6.313930979988944e-10;
  p = p * y - 8.634552068758454e-10;
  p = p * y + 1.648679324397335e-08;
  p = p * y + 5.58422882224548e-08;
  p = p * y - 3.49334672916577e-07;
  p = p * y - 2.99897571043269e-06;
  p = p * y - 2.049727284062024e-06;
  p = p * y + 9.612949174094587e-05;
  p = p * y + 0.0008244984060164637;
  p = p * y + 0.004160948981895034;
  p = p * y + 0.015418189713472417;
  p = p * y + 0.04501085509437996;
  p = p * y + 0.10664603114075659;
  p = p * y + 0.2074011779915091;
  p = p * y + 0.33072538002522917;
  p = p * y + 0.28972211632346423;
  return std::copysign(1.0 - p * exp_of_nonpositive(-magnitude * magnitude), x);
}

}  // namespace lvlm_va
