// Arithmetic of one component of a two-dimensional mixture, the same on CPU and GPU.
#pragma once

#include <cmath>

#include "host_device.h"

namespace lvlm_va {

// Below this share of the image's weight a component is dead.
constexpr double kDeadMass = 1e-12;
// Variance under every floor, in squared image extents: a std far below a pixel's. It keeps densities finite.
constexpr double kLeastVariance = 1e-12;

struct Covariance {
  double rr, rc, cc;
};

struct Component {
  double share;
  double row, column;
  Covariance covariance;
};

// Sums over the pixels of mass, mass * d and mass * d d^T, where d is the distance to the component's mean.
// Around the mean itself, not the origin, so that little cancels when the covariance is taken from them.
struct Moments {
  double mass;
  double r, c;
  double rr, rc, cc;

  LVLM_VA_HOST_DEVICE Moments& operator+=(const Moments& other) {
    mass += other.mass;
    r += other.r;
    c += other.c;
    rr += other.rr;
    rc += other.rc;
    cc += other.cc;
    return *this;
  }
};

// log(share) + log N(z | mean, covariance) = offset - (u^2 + v^2) / 2 with u, v from the Cholesky factor.
struct LogDensity {
  double row, column;
  double u_row, v_row, v_column;
  double offset;

  LVLM_VA_HOST_DEVICE double operator()(double z_row, double z_column) const {
    const double d_row = z_row - row;
    const double d_column = z_column - column;
    const double u = u_row * d_row;
    const double v = v_row * d_row + v_column * d_column;
    return offset - 0.5 * (u * u + v * v);
  }
};

// A component of share 0 gets a density of -infinity everywhere, and never NaN.
LVLM_VA_HOST_DEVICE inline LogDensity log_density(const Component& component) {
  constexpr double kLogTwoPi = 1.8378770664093454836;
  const Covariance& s = component.covariance;
  const double slope = s.rc / s.rr;
  // The variance of the column given the row; no less than the smallest eigenvalue.
  const double conditional = fmax(s.cc - slope * s.rc, kLeastVariance);
  LogDensity density;
  density.row = component.row;
  density.column = component.column;
  density.u_row = 1.0 / sqrt(s.rr);
  density.v_column = 1.0 / sqrt(conditional);
  density.v_row = -slope * density.v_column;
  density.offset = log(component.share) - 0.5 * (log(s.rr) + log(conditional)) - kLogTwoPi;
  return density;
}

// The maximiser of the expected log-likelihood among the covariances S >= F = diag(floor_row, floor_column).
// In the coordinates in which F is the identity, eigenvalues below 1 become 1; the closed form needs no
// eigenvectors: F + k (S - least F) with k = (largest - 1) / (largest - least).
LVLM_VA_HOST_DEVICE inline Covariance raise_to_floor(
    const Covariance& s, double floor_row, double floor_column) {
  const double rr = s.rr / floor_row;
  const double cc = s.cc / floor_column;
  const double rc = s.rc / sqrt(floor_row * floor_column);
  const double largest = 0.5 * (rr + cc) + hypot(0.5 * (rr - cc), rc);
  if (largest <= 1.0) return {floor_row, 0.0, floor_column};
  // Through the determinant: their difference would cancel.
  const double least = (rr * cc - rc * rc) / largest;
  if (least >= 1.0) return s;
  const double k = (largest - 1.0) / (largest - least);
  return {
      floor_row + k * (s.rr - least * floor_row),
      k * s.rc,
      floor_column + k * (s.cc - least * floor_column),
  };
}

// M-step of one component; the share is still to be divided by the sum of the living ones. A dead component
// stays where it was.
LVLM_VA_HOST_DEVICE inline void maximise(
    Component& component, const Moments& moments, double floor_row, double floor_column) {
  if (!(moments.mass >= kDeadMass)) {
    component.share = 0.0;
    return;
  }
  const double r = moments.r / moments.mass;
  const double c = moments.c / moments.mass;
  component.share = moments.mass;
  component.row += r;
  component.column += c;
  component.covariance = raise_to_floor(
      {moments.rr / moments.mass - r * r, moments.rc / moments.mass - r * c,
       moments.cc / moments.mass - c * c},
      floor_row, floor_column);
}

}  // namespace lvlm_va
