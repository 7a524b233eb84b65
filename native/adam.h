// Adam for some rows of a table: Kingma & Ba 2015, algorithm 1; Loshchilov & Hutter 2019, algorithm 2.
#pragma once
#include <cmath>
#include <cstdint>

namespace unspool {

struct AdamRows {
  void *table, *mean, *square;   // (V, width) of float, or with `wide` of double
  const int64_t* rows;           // (count): which
  int64_t count, width;
  bool wide;
};
struct AdamStep {
  const void* gradient;          // (count, width)
  const double* decays;          // (2, count): what is left of the moments before they take the gradient
  double beta1, beta2, eps, rate, kept;   // eps and rate with their corrections; kept: of the value, 1 without decay
};
struct AdamGap {
  const double* coefficients;    // (4, count): factor, mean, square, kept of estimators/tails.py
  int64_t* last;                 // (V): the step of each row's value
  int64_t step;
  double rate;
};

template <class T>
static void adam_step(const AdamRows& a, const AdamStep& s) {
  for (int64_t i = 0; i < a.count; i++) {
    const int64_t at = a.rows[i] * a.width;
    T *value = (T*)a.table + at, *mean = (T*)a.mean + at, *square = (T*)a.square + at;
    const T* g = (const T*)s.gradient + i * a.width;
    const T decay1 = s.decays[i], decay2 = s.decays[a.count + i], new1 = 1 - s.beta1, new2 = 1 - s.beta2;
    const T eps = s.eps, rate = s.rate, kept = s.kept;
#pragma GCC ivdep
    for (int64_t j = 0; j < a.width; j++) {
      const T m = mean[j] * decay1 + g[j] * new1, v = square[j] * decay2 + g[j] * g[j] * new2;
      mean[j] = m;
      square[j] = v;
      value[j] = value[j] * kept - rate * m / (std::sqrt(v) + eps);
    }
  }
}

// Steps without a gradient, all at once. A row that is named twice moves once.
template <class T>
static void adam_catch_up(const AdamRows& a, const AdamGap& gap) {
  for (int64_t i = 0; i < a.count; i++) {
    const int64_t row = a.rows[i], at = row * a.width;
    if (gap.last[row] == gap.step) continue;
    gap.last[row] = gap.step;
    T* value = (T*)a.table + at;
    const T *mean = (const T*)a.mean + at, *square = (const T*)a.square + at;
    const double* c = gap.coefficients + i;
    const T rate = c[0] * gap.rate, eps_mean = c[a.count], eps_square = c[2 * a.count], kept = c[3 * a.count];
#pragma GCC ivdep
    for (int64_t j = 0; j < a.width; j++) {
      const T root = std::sqrt(square[j]) + eps_mean;
      value[j] = (value[j] - rate * mean[j] / (root - eps_square / root)) * kept;
    }
  }
}

}  // namespace unspool
