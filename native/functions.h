// Functions of a vector, within the error that stands above each.
// "accuracy NAME: [low, high] n ULP": no result is off by more than n units of the last place, on any instruction set,
// for normal numbers low ... high with a normal result; smaller ones count as 0. tests/program/test_accuracy.py reads
// the lines and measures them, against torch in float64, at numbers spread evenly over the bit patterns of the range.
#pragma once
#include "simd.h"

namespace unspool::UNSPOOL_NS {

// e^x as (2^n, q) with e^x = 2^n (1 + q), |x| <= 88: Cephes expf, Moshier 1989.
struct Exp { V scale, q; };
static inline Exp exp_parts(V x) {
  const float magic = 12582912.f;        // 1.5 * 2^23: adding it rounds to an integer
  V t = x * 1.44269504f + magic;
  V n = t - magic;
  V r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  V p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
#if defined(__AVX512F__)
  V scale = (V)_mm512_scalef_ps(_mm512_set1_ps(1.f), (__m512)n);
#else
  V scale = (V)(((I)t - 0x4B400000 + 127) << 23);
#endif
  return {scale, p * (r * r) + r};
}
static inline V clamp(V x, float low, float high) {   // NaN stays NaN: max and min give their second operand
#if defined(__AVX512F__)
  return (V)_mm512_min_ps(_mm512_set1_ps(high), _mm512_max_ps(_mm512_set1_ps(low), (__m512)x));
#elif defined(__AVX2__)
  return (V)_mm256_min_ps(_mm256_set1_ps(high), _mm256_max_ps(_mm256_set1_ps(low), (__m256)x));
#else
  x = x < low ? splat(low) : x;
  return x > high ? splat(high) : x;
#endif
}
// accuracy sigmoid: [-80, 88] 2.4 ULP
static inline V vsigmoid(V x) {
  Exp e = exp_parts(clamp(-x, -87.f, 88.f));   // 1 / 1.6e38 is flushed to 0
  return reciprocal(e.scale * e.q + (e.scale + 1.f));
}
static inline V vexpm1_clamped(V x) {
  Exp e = exp_parts(x);
  return e.scale * e.q + (e.scale - 1.f);
}
// accuracy tanh: [-20, 20] 3.4 ULP
static inline V vtanh(V x) {              // (e^2x - 1) / (e^2x + 1); e^2x - 1 keeps its digits near 0
  V m = vexpm1_clamped(clamp(x + x, -20.f, 20.f));
  return m * reciprocal(m + 2.f);
}
// accuracy exp: [-69, 88] 1.0 ULP
static inline V vexp(V x) {               // overflows to inf, underflows to 0
  V half = clamp(x, -176.f, 176.f) * 0.5f;
  Exp e = exp_parts(half);
  V y = e.scale * e.q + e.scale;
  V wide = y * y;
  Exp d = exp_parts(clamp(x, -87.f, 88.f));
  V near = d.scale * d.q + d.scale;
  return (x > 88.f) | (x < -87.f) ? wide : near;
}
// accuracy expm1: [-30, 88] 1.5 ULP
static inline V vexpm1(V x) { return x > 20.f ? vexp(x) : vexpm1_clamped(clamp(x, -20.f, 20.f)); }

// accuracy log: [1.2e-38, 3.4e38] 0.8 ULP
static inline V vlog(V x) {               // Cephes logf; x > 0 normal, 0 gives -inf, negative NaN
  I bits = (I)x;
  V tiny = splat(1.17549435e-38f);
  I e = ((bits >> 23) & 0xff) - 126;
  V m = (V)((bits & 0x007fffff) | 0x3f000000);   // [0.5, 1)
  I small = m < 0.707106781f;
  V ef = __builtin_convertvector(e, V);
  ef = small ? ef - 1.f : ef;
  m = small ? m + m - 1.f : m - 1.f;
  V z = m * m;
  V p = splat(7.0376836292e-2f);
  p = p * m - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  V y = p * m * z + ef * -2.12194440e-4f - 0.5f * z;
  V r = m + y + ef * 0.693359375f;
  r = x < tiny ? splat(-INFINITY) : r;
  r = x < 0.f ? splat(NAN) : r;
  r = x > 3.4028234e38f ? x : r;
  return x != x ? x : r;
}
// accuracy softplus: [-69, 1e4] 2.4 ULP
static inline V vsoftplus(V x) {          // max(x, 0) + log1p(e^-|x|)
  V u = vexp(x > 0.f ? -x : x);
  V w = u + 1.f;
  V l = w == 1.f ? u : vlog(w) * (u / (w - 1.f));
  return (x > 0.f ? x : splat(0.f)) + (x != x ? x : l);
}
// accuracy log1p: [-0.9999, 3.4e38] 2.4 ULP
static inline V vlog1p(V x) {             // log(1 + x), less what 1 + x lost of x
  V w = x + 1.f;
  V r = w == 1.f ? x : vlog(w) * (x / (w - 1.f));
  return x > 3.4028234e38f ? x : r;
}
// log(e^a + e^b)
static inline V vlogaddexp(V a, V b) {
  V r = (a > b ? a : b) + vlog1p(vexp(a > b ? b - a : a - b));
  return a == b ? a + 0.693147181f : r;
}
static inline V vxlogy(V a, V b) { return b != b ? b : a == 0.f ? a * 0.f : a * vlog(b); }

static inline bool any(I mask) {
#if defined(__AVX512F__)
  return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_ps((__m256)mask) != 0;
#else
  int32_t some = 0;
  for (int i = 0; i < W; i++) some |= mask[i];
  return some != 0;
#endif
}

// f of every number by itself: what a step seldom uses, by the C library.
template <class F>
static inline V lanewise(V a, F f) {
  V r;
  for (int i = 0; i < W; i++) r[i] = f(a[i]);
  return r;
}
template <class F>
static inline V lanewise(V a, V b, F f) {
  V r;
  for (int i = 0; i < W; i++) r[i] = f(a[i], b[i]);
  return r;
}

// sin(x + quarter pi / 2) by Cephes sinf: x less its multiples of pi / 2, which are taken off in three parts of few bits.
// To |x| = 128 that leaves the digits that are needed close to a zero; beyond, the C library.
static inline V turned(V x, int quarter) {
  const float magic = 12582912.f;
  V t = x * 0.636619772f + magic;
  V n = t - magic;
  V r = x - n * 1.5703125f;
  r = r - n * 4.837512969970703125e-4f;
  r = r - n * 7.54978995489188216e-8f;
  V z = r * r;
  V s = splat(-1.9515295891e-4f);
  s = s * z + 8.3321608736e-3f;
  s = s * z - 1.6666654611e-1f;
  s = s * z * r + r;
  V c = splat(2.443315711809948e-5f);
  c = c * z - 1.388731625493765e-3f;
  c = c * z + 4.166664568298827e-2f;
  c = c * z * z - 0.5f * z + 1.f;
  I q = (I)t + quarter;
  V y = (q & 1) != 0 ? c : s;
  return (V)((I)y ^ ((q & 2) << 30));
}
// accuracy sin: [-1e5, 1e5] 1.4 ULP
static inline V vsin(V x) {
  if (any(!((V)((I)x & 0x7fffffff) <= 128.f))) return lanewise(x, [](float v) { return std::sin(v); });
  return turned(x, 0);
}
// accuracy cos: [-1e5, 1e5] 1.4 ULP
static inline V vcos(V x) {
  if (any(!((V)((I)x & 0x7fffffff) <= 128.f))) return lanewise(x, [](float v) { return std::cos(v); });
  return turned(x, 1);
}

// accuracy sqrt: [1.2e-38, 3.4e38] 0.5 ULP
// accuracy rsqrt: [1.2e-38, 3.4e38] 1.5 ULP
// accuracy erf: [-4, 4] 0.8 ULP
// accuracy erfc: [-4, 9] 2.5 ULP
// accuracy exp2: [-125, 127] 1 ULP
// accuracy log2: [1.2e-38, 3.4e38] 1 ULP
// accuracy log10: [1.2e-38, 3.4e38] 2 ULP
// accuracy tan: [-1e5, 1e5] 1 ULP
// accuracy asin: [-1, 1] 1 ULP
// accuracy acos: [-1, 0.9999] 1 ULP
// accuracy atan: [-3e38, 3e38] 1 ULP
// accuracy sinh: [-88, 88] 2 ULP
// accuracy cosh: [-88, 88] 1.5 ULP
// accuracy asinh: [-3e38, 3e38] 2 ULP
// accuracy acosh: [1, 3e38] 2 ULP
// accuracy atanh: [-0.9999, 0.9999] 2 ULP
static inline V verf(V x) { return lanewise(x, [](float v) { return std::erf(v); }); }

static inline V vclamp(V a, V low, V high) {      // NaN where one of them is
  V m = (a != a) | (a > low) ? a : low;
  return (m != m) | (m < high) ? m : high;
}
static inline V vremainder(V a, V b) {            // with the sign of b
  return lanewise(a, b, [](float p, float q) {
    const float r = std::fmod(p, q);
    return r != 0.f && (r < 0.f) != (q < 0.f) ? r + q : r;
  });
}

}  // namespace unspool::UNSPOOL_NS
